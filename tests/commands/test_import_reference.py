"""Checkpoint files of the reference trainers: settings, weights, their average; runs of them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ncsn_tf.commands import import_reference
from ncsn_tf.commands.console import run_command
from ncsn_tf.errors import UserError
from ncsn_tf.models.ncsnpp import NCSNpp
from ncsn_tf.pytorch import _numpy_scalar as numpy_scalar
from ncsn_tf.pytorch import load_reference_weights, network_settings, read_checkpoint
from ncsn_tf.settings.flags import parse_config
from ncsn_tf.training import checkpoint_choice, checkpoints

torch = pytest.importorskip("torch")

GOLDEN = Path(__file__).parent.parent / "golden" / "sde"
BASE = "ncsnv2_32px_ngf8"
NAMES = [BASE, "ncsnv2_deeper_64px_ngf4", "ncsnv2_deepest_64px_ngf4"]


def tensors(arrays, prefix="module."):
    return {prefix + name: torch.tensor(array) for name, array in arrays.items()}


def state_of(golden, golden_params, name):
    """The reference's state dict: parameters, and the noise levels as a buffer."""
    return {**golden_params(name), "sigmas": golden(name)["sigmas"]}


def raw_weights(params):
    """Other weights than the averaged ones."""
    return {name: 0.5 * array for name, array in params.items()}


@pytest.fixture
def write(golden, golden_params, tmp_path):
    """Writes [model, optimizer, epoch, step(, average)] whose average is the golden network."""

    def write(name=BASE, prefix="", average=True, **changes):
        params = golden_params(name)
        weights = raw_weights(params) if average else params
        state = {**weights, "sigmas": golden(name)["sigmas"], **changes}
        parts = [tensors(state), {"state": {}, "param_groups": []}, 3, 1234]
        parts += [tensors(params, prefix)] * average
        path = tmp_path / "checkpoint.pth"
        torch.save(parts, path)
        return path

    return write


def convert(path, out, *flags):
    with pytest.raises(SystemExit) as end:
        run_command(import_reference.main, ["ncsn import", str(path), str(out), *flags])
    return end.value.code


def assert_score(network, vectors):
    score, expected = network(vectors["x"], vectors["labels"]), vectors["score"]
    for one, expected_one in zip(score.numpy(), expected, strict=True):
        assert np.abs(one - expected_one).max() < 1e-5 * np.abs(expected_one).max()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_average_is_taken(prefix, write, golden, golden_params, tmp_path, capsys):
    out = tmp_path / "run"
    assert convert(write(prefix=prefix), out) == 0, capsys.readouterr().err
    assert "117,323 weights and their average of ncsnv2, step 1234" in capsys.readouterr().out
    path = checkpoint_choice.latest(out)
    network, config, step, is_average = checkpoints.load_network(path)
    assert (step, is_average) == (1234, True)
    assert_score(network, golden(BASE))
    expected = parse_config(["x", "--flagfile=cifar10_ncsnv2", "--features=8", f"--workdir={out}"])
    assert config == dataclasses.replace(expected, precision="float32")

    raw, _, _, is_average = checkpoints.load_network(path, use_average=False)
    assert not is_average
    kernel = golden_params(BASE)["begin_conv.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(raw.begin_conv.kernel, 0.5 * kernel)


@pytest.mark.parametrize("name, depth", [(NAMES[1], "deeper"), (NAMES[2], "deepest")])
def test_depth_and_noise_levels_are_those_of_the_file(name, depth, write, golden, tmp_path, capsys):
    out = tmp_path / "run"
    assert convert(write(name, average=False), out, "--image_size=64") == 0
    assert "weights of ncsnv2, step 1234" in capsys.readouterr().out
    network, config, _, is_average = checkpoints.load_network(checkpoint_choice.latest(out))
    assert not is_average and config.ema_decay == 0
    assert (config.model, config.depth, config.num_levels, config.features) == (
        *("ncsnv2", depth),
        *(20, 4),
    )
    assert_score(network, golden(name))


def test_the_experiment_is_that_of_the_largest_noise_level(write, tmp_path, capsys):
    out = tmp_path / "run"
    assert convert(write(NAMES[2]), out) == 0, capsys.readouterr().err
    _, config, _, _ = checkpoints.load_network(checkpoint_choice.latest(out))
    ffhq = parse_config(["train.py", "--flagfile=ffhq_256_ncsnv2"])
    for setting in ("dataset", "image_size", "step_lr", "num_steps_each", "denoise", "ema_decay"):
        assert getattr(config, setting) == getattr(ffhq, setting)
    assert (config.sigma_begin, config.sigma_end, config.num_levels) == (348.0, 0.01, 20)


def test_flags_win_over_the_experiment(write, tmp_path, capsys):
    out = tmp_path / "run"
    flags = ["--flagfile=cifar10_ncsnv2", "--step_lr=1e-6", "--nodenoise"]
    assert convert(write(), out, *flags) == 0, capsys.readouterr().err
    _, config, _, _ = checkpoints.load_network(checkpoint_choice.latest(out))
    assert (config.step_lr, config.denoise) == (1e-6, False)


@pytest.mark.parametrize("dataset", ["cifar10", "celeb_a"])
def test_a_data_set_does_not_bring_the_first_generations_chain(dataset, write, tmp_path, capsys):
    """NCSNv2's experiment first, the flags over it; the data set's own flagfile is NCSN's."""
    out = tmp_path / "run"
    flags = [f"--dataset={dataset}", "--image_size=32", "--num_steps_each=2"]
    assert convert(write(), out, *flags) == 0, capsys.readouterr().err
    _, config, _, _ = checkpoints.load_network(checkpoint_choice.latest(out))
    expected = ["--flagfile=cifar10_ncsnv2", *flags, "--features=8", f"--workdir={out}"]
    expected = parse_config(["x", *expected])
    assert config == dataclasses.replace(expected, precision="float32")
    assert (config.dataset, config.step_lr, config.denoise) == (dataset, 6.2e-6, True)


def test_another_data_set_needs_its_image_size(write, tmp_path, capsys):
    assert convert(write(), tmp_path / "run", "--dataset=celeb_a") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == (
        "error: --dataset=celeb_a needs an explicit --image_size, for --flagfile=cifar10_ncsnv2 "
        "has another data set"
    )
    assert convert(write(), tmp_path / "run", "--dataset=cifar10") == 0


def test_a_file_of_the_first_generation_has_no_average(golden_params, tmp_path):
    path = tmp_path / "v1.pth"
    torch.save([tensors(golden_params("ncsn_mnist_ngf8")), {}], path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.average is None and checkpoint.step == 0
    settings = {"model": "ncsn", "features": 8, "channels": 1, "num_levels": 10}
    assert network_settings(checkpoint.weights, path) == settings


def test_settings_without_noise_levels(golden_params):
    settings = network_settings(golden_params(NAMES[1]), "file")
    assert settings == {"model": "ncsnv2", "depth": "deeper", "features": 4, "channels": 3}


@pytest.mark.parametrize(
    "sigmas, message",
    [
        (np.linspace(1.0, 0.1, 10), "its 10 noise levels are not a geometric sequence"),
        (np.geomspace(0.1, 1.0, 10), "must be below"),
    ],
)
def test_noise_levels_that_are_no_ladder(sigmas, message, golden_params):
    arrays = {**golden_params(BASE), "sigmas": sigmas.astype(np.float32)}
    with pytest.raises(UserError, match=f"file: .*{message}"):
        network_settings(arrays, "file")


@pytest.mark.parametrize("kind", ["average", "missing", "kernel"])
def test_files_that_do_not_fit_are_one_line(kind, write, golden_params, tmp_path, capsys):
    path, out = write(), tmp_path / "run"
    parts = torch.load(path, weights_only=True)
    if kind == "average":
        parts[4] = [1, 2]
    elif kind == "missing":
        del parts[4]["refine3.crp.convs.1.weight"]
    else:
        parts[0]["module.res2.1.conv1.weight"] = torch.zeros(3, 3, 3, 3)
    torch.save(parts, path)
    assert convert(path, out) == 1
    (line,) = capsys.readouterr().err.splitlines()
    expected = {
        "average": "its fifth part is not the averaged weights",
        "missing": "have no parameter 'refine3.crp.convs.1.weight'",
        "kernel": "'res2.1.conv1.weight' has shape (3, 3, 3, 3)",
    }
    assert line.startswith(f"error: {path}: ") and expected[kind] in line
    assert not out.exists()


def test_noise_levels_must_be_those_of_the_network(golden, golden_params, golden_network):
    from ncsn_tf.models.reference_weights import load_reference_weights

    network = type(golden_network(BASE)).from_config(golden_network(BASE).get_config())
    before = network.get_weights()
    state = state_of(golden, golden_params, BASE)
    for sigmas, shown in [(state["sigmas"][:-1], "231 from 50"), (2 * state["sigmas"], "from 100")]:
        with pytest.raises(ValueError, match=f"noise levels, .*{shown}.* are not the network's"):
            load_reference_weights(network, {**state, "sigmas": sigmas})
    with pytest.raises(ValueError, match="'normalizer.gamma' has shape .7,.* needs .8,."):
        load_reference_weights(network, {**state, "normalizer.gamma": np.zeros(7, np.float32)})
    for weight, old in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    load_reference_weights(network, state)
    gamma, alpha, beta = (state[f"normalizer.{part}"] for part in ("gamma", "alpha", "beta"))
    expected = np.concatenate([gamma, alpha, beta])[None]
    np.testing.assert_array_equal(network.end_conv.norm.table, expected)


@pytest.fixture
def third():
    """The checkpoint of the third generation's trainer."""
    return GOLDEN / "checkpoint_ncsnpp_ve.pth"


def test_a_checkpoint_of_the_third_generation(third, golden):
    """Weights and averages, which have no names there, give the reference's outputs."""
    vectors = golden("sde/checkpoint_ncsnpp_ve_outputs")
    checkpoint = read_checkpoint(third)
    assert checkpoint.step == vectors["step"] == 4
    assert checkpoint.weights["sigmas"].shape == (1000,)
    network = NCSNpp(
        *((16, 16, 3), 4, (1, 2), 1, (8,)),
        progressive_input="residual",
    )
    outputs = []
    for arrays in checkpoint[:2]:
        load_reference_weights(network, arrays)
        outputs.append(network(vectors["x"], vectors["time_cond"]).numpy())
    for output, name in zip(outputs, ("output_model", "output_ema"), strict=True):
        for one, expected in zip(output, vectors[name], strict=True):
            assert np.abs(one - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-4 * np.abs(outputs[0]).max()


@pytest.mark.parametrize("change", ["fewer", "shape", "none", "kind"])
def test_averages_of_other_weights(change, third, tmp_path):
    with torch.serialization.safe_globals(numpy_scalar()):
        content = torch.load(third, weights_only=True)
    shadow = content["ema"]["shadow_params"]
    if change == "fewer":
        del shadow[3]
    elif change == "shape":
        shadow[0], shadow[1] = shadow[1], shadow[0]
    elif change == "none":
        content["ema"] = {}
    else:
        shadow[2] = "weights"
    path = tmp_path / "changed.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match="changed.pth: its averaged weights are not those of its"):
        read_checkpoint(path)


class Evil:
    def __reduce__(self):
        return print, ("unpickled",)


def test_nothing_else_is_unpickled(third, tmp_path, capsys):
    with torch.serialization.safe_globals(numpy_scalar()):
        content = torch.load(third, weights_only=True)
    assert type(content["optimizer"]["param_groups"][0]["lr"]) is np.float64
    path = tmp_path / "evil.pth"
    for what in (Evil(), np.zeros(3)):
        content["optimizer"] = what
        torch.save(content, path)
        with pytest.raises(UserError, match="evil.pth is not a checkpoint of tensors"):
            read_checkpoint(path)
    assert "unpickled" not in capsys.readouterr().out
    # Nor is the numpy scalar, by anyone else.
    with pytest.raises(Exception, match="numpy"):
        torch.load(third, weights_only=True)


def test_the_third_generation_becomes_a_run(third, golden, tmp_path, capsys):
    """Network and noise are those of the weights, all else that of CIFAR-10 or of the flags."""
    out = tmp_path / "run"
    assert convert(third, out, "--image_size=16", "--snr=0.2") == 0, capsys.readouterr().err
    assert "weights and their average of ncsnpp, step 4" in capsys.readouterr().out
    path = checkpoint_choice.latest(out)
    vectors = golden("sde/checkpoint_ncsnpp_ve_outputs")
    for use_average, name in ((True, "output_ema"), (False, "output_model")):
        network, config, step, _ = checkpoints.load_network(path, use_average)
        assert step == 4
        output = network(vectors["x"], vectors["time_cond"]).numpy()
        for one, expected in zip(output, vectors[name], strict=True):
            assert np.abs(one - expected).max() < 1e-5 * np.abs(expected).max()
    flags = ["--model=ncsnpp", "--sde=ve", "--continuous", "--image_size=16", "--features=4"]
    flags += ["--multipliers=1,2", "--num_res_blocks=1", "--attention_sizes=8", "--snr=0.2"]
    expected = parse_config(["x", *flags, f"--workdir={out}"])
    assert config == dataclasses.replace(expected, precision="float32")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--image_size=15"], "--image_size=15 must be a multiple of 2"),
        (["--sde=vp"], "--embedding=fourier must be positional with --sde=vp and --continuous"),
        (["--image_size=16", "--multipliers=1,1"], "which becomes"),
    ],
)
def test_flags_that_do_not_fit_the_weights(flags, message, third, tmp_path, capsys):
    assert convert(third, tmp_path / "run", *flags) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "run").exists()


def test_modules_of_no_network(third, tmp_path, capsys):
    with torch.serialization.safe_globals(numpy_scalar()):
        content = torch.load(third, weights_only=True)
    names = [name for name in content["model"] if name.startswith("module.all_modules.5.")]
    trained = [name for name in content["model"] if not name.endswith((".sigmas", ".0.W"))]
    shadow = dict(zip(trained, content["ema"]["shadow_params"], strict=True))
    for name in names:
        del content["model"][name], shadow[name]
    content["ema"]["shadow_params"] = list(shadow.values())
    path = tmp_path / "other.pth"
    torch.save(content, path)
    assert convert(path, tmp_path / "run") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: {path}: its modules are not those of an NCSN++, DDPM++ or DDPM"
