"""Everything that draws with a run draws with one of the third generation, through the commands."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ncsn_tf.backend.compat import raw_variables
from ncsn_tf.backend.devices import mirrored_strategy
from ncsn_tf.commands import classifier as classifier_command
from ncsn_tf.commands import evaluate, export, import_reference, neighbors, report, sample
from ncsn_tf.errors import ConfigError
from ncsn_tf.models.layers import Convolution
from ncsn_tf.models.noisy_classifier import NoisyClassifier
from ncsn_tf.sampling import (
    ConditionalPredictorCorrector,
    Known,
    Measurement,
    Rows,
    draw,
    to_uint8,
)
from ncsn_tf.schedule.sde import score_fn_of
from ncsn_tf.settings.config import Config
from ncsn_tf.training import checkpoints
from ncsn_tf.training.checkpoints import save_network
from ncsn_tf.training.classifier import read_classifier, save_classifier
from ncsn_tf.training.run_conditions import completion_chain
from ncsn_tf.training.run_equation import equation_of, ladder_of, score_on_ladder
from ncsn_tf.training.run_network import build_network
from ncsn_tf.training.run_sampler import chain_of, chain_score, sampler_of

NETWORK = {"multipliers": "1,2", "num_res_blocks": 1, "attention_sizes": "none"}
# Of each equation, the published chain but for its number of steps.
EQUATIONS = {
    "ve": {
        "sigma_begin": 0.5,
        "num_levels": 3,
        "predictor": "reverse",
        "corrector": "langevin",
    },
    "vp": {"beta_max": 1.0, "num_levels": 3, "predictor": "ancestral", "corrector": "none"},
    "subvp": {"beta_max": 1.0, "num_levels": 3, "predictor": "euler", "corrector": "none"},
}
REAL, STAND_IN = 4, 8  # features of a run whose network is built, and of one that has `StandIn`
FIRST_SEED, COUNT = 2**40, 3
SEEDS = FIRST_SEED + np.arange(COUNT)
PLACE = [f"--num_samples={COUNT}", f"--seed={FIRST_SEED}"]


def config_of(model, sde, **changes):
    settings = {
        "dataset": "digits",
        "image_size": 8,
        "channels": 1,
        "random_flip": False,
        "features": 32 if model == "ddpm" else REAL,
        "continuous": sde == "subvp" or (sde, model) == ("ve", "ncsnpp"),
        "sampler": "pc",
        "num_steps_each": 1,
        "denoise": True,
        "sampling_tile": 2,
        **NETWORK,
        **EQUATIONS[sde],
    }
    return Config(model=model, sde=sde, **{**settings, **changes})


def network_of(config):
    """A network whose answer is not almost nothing, as that of a fresh one is."""
    keras.utils.set_random_seed(3)
    network = either_network(config)
    generator = np.random.default_rng(4)
    for variable in raw_variables(network):
        shape = variable.shape
        fan = max(int(np.prod(shape[:-1])), 1)
        variable.assign(variable + generator.normal(0, 0.5 / np.sqrt(fan), shape))
    return network


class StandIn(keras.Model):
    """A network of few weights in place of `build_network`'s: traced in no time."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.begin = Convolution(4)
        self.begin.build((None, 8, 8, config.channels))
        self.tell = keras.layers.Dense(4)
        self.tell.build((None, 1))
        self.end = Convolution(config.channels)
        self.end.build((None, 8, 8, 4))
        self.built = True

    @property
    def image_shape(self):
        return self.config.image_shape

    def deepest(self, x, condition):
        told = self.tell(tf.math.log1p(tf.cast(condition, tf.float32))[:, None])
        return tf.nn.elu(self.begin(x) + told[:, None, None])

    def call(self, x, condition):
        return self.end(self.deepest(x, condition))


def either_network(config, recompute=False):
    return StandIn(config) if config.features == STAND_IN else build_network(config)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(model, sde, settings) -> settings of a run with a checkpoint; each is made once."""
    made = {}

    def run(model="ncsnpp", sde="ve", **changes):
        key = (model, sde, *changes.values())
        if key not in made:
            folder = str(tmp_path_factory.mktemp("third") / "run")
            config = config_of(model, sde, **{"features": STAND_IN, "workdir": folder, **changes})
            save_network(network_of(config), config)
            made[key] = config
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "build_network", either_network)
        yield run


def drawn(config, folder, *flags, name="samples.npz"):
    """Images of `ncsn sample`."""
    out = folder / name
    source = [f"--workdir={config.run_dir}"] * (not any("--saved_model" in flag for flag in flags))
    place = [] if any("--interpolate" in flag for flag in flags) else PLACE
    sample.main(["ncsn sample", *source, *place, "--format=npz", f"--out={out}", *flags])
    with np.load(out) as arrays:
        return arrays["images"]


# --- one evaluation of each pair ---


PAIRS = [(model, sde) for model in ("ncsnpp", "ddpmpp", "ddpm") for sde in EQUATIONS]
FIRST = [("ncsnpp", "ve"), ("ddpmpp", "vp"), ("ncsnpp", "subvp")]


@pytest.mark.parametrize(
    "model, sde",
    [pytest.param(*pair, marks=[] if pair in FIRST else pytest.mark.slow) for pair in PAIRS],
)
def test_the_score_of_a_chain_is_the_networks(model, sde):
    config = config_of(model, sde)
    network, equation = network_of(config), equation_of(config)
    x = np.random.default_rng(0).normal(0.3, 0.5, (2, 8, 8, 1)).astype(np.float32)
    t = tf.constant([0.5, 1.0])
    expected = score_fn_of(network, equation, config.continuous)(x, t)
    np.testing.assert_array_equal(chain_score(network, config)(x, t), expected)
    chain = chain_of(config)
    assert chain.num_steps(1) == 3
    assert chain.num_evaluations(1) == (6 if sde == "ve" else 3)
    # The same on the ladder, in units of images from 0 to 1: s(y) = 2 m s(x), x = m (2 y - 1).
    scale = 1.0 if sde == "ve" else equation.mean_scale(t)[:, None, None, None].numpy()
    y, unit = (x / scale, 1.0) if sde == "ve" else ((x / scale + 1) / 2, 2.0)
    sigma = equation.std(t) / (1.0 if sde == "ve" else equation.mean_scale(t)) / unit
    on_ladder = score_on_ladder(network, config).at_sigma(y, sigma)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(on_ladder / (unit * scale), expected, atol=3e-3 * largest)


@pytest.mark.parametrize("sde", EQUATIONS)
def test_the_ladder_of_a_run(sde):
    config = config_of("ddpmpp", sde)
    sigmas = ladder_of(config).numpy()
    assert len(sigmas) == 3 and (np.diff(sigmas) < 0).all()
    assert sigmas[-1] == pytest.approx(0.01 if sde == "ve" else min(0.01, 0.01 * sigmas[0]))
    published = ladder_of(dataclasses.replace(config, num_levels=1000)).numpy()
    np.testing.assert_allclose(published[[0, -1]], sigmas[[0, -1]], rtol=1e-6)


def test_steps_of_an_equation_are_its_own():
    config = config_of("ncsnpp", "ve", num_steps_each=20)
    message = "--num_steps_each=20 must be 1 with --sampler=pc: .* its equation, --num_levels=3"
    with pytest.raises(ConfigError, match=message):
        chain_of(config)
    assert chain_of(dataclasses.replace(config, sampler="ald")).num_steps(20) == 60


def test_a_flow_of_1000_discrete_steps_is_asked_at_all_times():
    config = config_of("ddpmpp", "vp", num_levels=1000, beta_max=20.0, sampler="ode")
    asked = []

    def network(x, condition):
        asked.append(condition.numpy().tolist())
        return x

    for changes in ({}, {"num_levels": 100}, {"sampler": "pc"}):
        changed = dataclasses.replace(config, **changes)
        chain_score(network, changed)(tf.ones([1, 8, 8, 1]), tf.constant([0.5]))
    assert asked == [[499.5], [49.5], [499.5]]
    scores = [
        chain_score(lambda x, _: x, dataclasses.replace(config, sampler=sampler))(
            tf.ones([2, 1, 1, 1]), tf.constant([0.5, 0.5004])
        ).numpy()
        for sampler in ("ode", "pc")
    ]
    assert scores[0][0] != scores[0][1]  # smooth
    assert scores[1][0] == scores[1][1]  # a step


# --- through the commands ---


@pytest.mark.parametrize(
    "model, sde, features",
    [
        ("ncsnpp", "ve", STAND_IN),
        pytest.param("ddpmpp", "vp", STAND_IN, marks=pytest.mark.slow),
        pytest.param("ddpmpp", "subvp", STAND_IN, marks=pytest.mark.slow),
        pytest.param("ncsnpp", "ve", REAL, marks=pytest.mark.slow),
    ],
)
def test_an_export_draws_the_images_of_the_checkpoint(run, model, sde, features, tmp_path, capsys):
    config = run(model, sde, features=features)
    images = drawn(config, tmp_path)
    assert f"{6 if sde == 've' else 3} network evaluations an image" in capsys.readouterr().out
    assert len(np.unique(images)) > 20
    shard = ["--shard=1/2", "--block=2", f"--out={tmp_path / 'shards'}"]
    sample.main(["ncsn sample", f"--workdir={config.run_dir}", *PLACE, *shard])
    (file,) = (tmp_path / "shards").glob("*.npz")  # of the last seed, alone in its batch
    with np.load(file) as arrays:
        np.testing.assert_array_equal(arrays["images"], images[2:])
    # Exported.
    export.main(["ncsn export", f"--workdir={config.run_dir}"])
    folder = config.run_dir / "export" / "1"
    assert not (folder / "assets.extra").exists()  # a warm-up would be a whole image
    np.testing.assert_array_equal(drawn(config, tmp_path, f"--saved_model={folder}"), images)
    loaded = tf.saved_model.load(str(folder)).signatures
    answer = loaded["sample"](
        seed=tf.constant(SEEDS),
        steps_per_level=tf.constant([0, 1, 20]),
        step_lr=tf.zeros(COUNT),
    )
    np.testing.assert_array_equal(answer["image"], images)
    assert answer["steps_per_level"].numpy().tolist() == [1, 1, 1]
    x = np.linspace(-1, 2, 192, dtype=np.float32).reshape(3, 8, 8, 1)
    levels = tf.constant([0, 1, 2])
    score = loaded["score"](x=tf.constant(x), label=levels)["score"]
    expected = score_on_ladder(network_of(config), config)(x, levels).numpy()
    np.testing.assert_allclose(score, expected, atol=1e-4 * np.abs(expected).max())
    with pytest.raises(ConfigError, match="--num_steps_each=20 is more than the 1 that"):
        drawn(config, tmp_path, f"--saved_model={folder}", "--num_steps_each=20")
    with pytest.raises(ConfigError, match="--max_steps_each=5 must be 1 with --sampler=pc"):
        export.main(["ncsn export", f"--workdir={config.run_dir}", "--max_steps_each=5"])


@pytest.mark.slow
def test_states_of_centred_images_on_several_devices():
    config, states = config_of("ddpmpp", "vp"), []
    with mirrored_strategy(["CPU:0", "CPU:1"]).scope():
        sampler = sampler_of(lambda x, condition: 0.0 * x, config)
        sampler.draw(SEEDS, lambda state: states.append(state()))
    assert [state.shape for state in states] == [(COUNT, 8, 8, 1)] * 3


def picture(folder, channels=1):
    pixels = np.random.default_rng(5).integers(0, 256, (8, 8, channels), dtype=np.uint8)
    path = folder / "picture.png"
    Image.fromarray(pixels.squeeze()).save(path)
    return path, pixels


def test_a_picture_is_completed(run, tmp_path):
    config = run()
    path, pixels = picture(tmp_path)
    images = drawn(config, tmp_path, f"--inpaint={path}")
    np.testing.assert_array_equal(images[:, :, :4], np.repeat(pixels[None, :, :4], COUNT, 0))
    assert (images[:, :, 4:] != pixels[:, 4:]).mean() > 0.5
    # By the published updates, of the library.
    network = network_of(config)
    chain = completion_chain(config, Measurement())
    assert type(chain) is ConditionalPredictorCorrector
    places = np.zeros([COUNT, 8, 8, 1], np.float32)
    places[:, :, :4] = 1.0
    known = Known(np.repeat(pixels[None] / np.float32(255), COUNT, 0), places)
    rows = Rows.fill(SEEDS, 0.0, 1, known)
    expected = to_uint8(draw(chain, chain_score(network, config), rows, (8, 8, 1)))
    assert np.abs(images.astype(int) - expected.numpy().astype(int)).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("model, sde, sampler", [("ncsnpp", "ve", "ald"), ("ddpmpp", "vp", "pc")])
def test_conditional_modes(run, model, sde, sampler, tmp_path):
    config = run(model, sde, channels=3)
    chain = [f"--sampler={sampler}"]
    path, pixels = picture(tmp_path, 3)
    colours = drawn(config, tmp_path, *chain, f"--colorize={path}")
    assert np.abs(colours.mean(-1) - pixels.mean(-1)).max() < 1.0
    larger = drawn(config, tmp_path, *chain, f"--super_resolve={path}", "--factor=2")
    means = pixels.reshape(4, 2, 4, 2, 3).mean((1, 3))
    assert np.abs(larger.reshape(COUNT, 4, 2, 4, 2, 3).mean((2, 4)) - means).max() < 1.0
    between = drawn(config, tmp_path, *chain, "--interpolate=3,8", "--num_samples=3")
    np.testing.assert_array_equal(between[0], drawn(config, tmp_path, *chain, "--seed=3")[0])
    assert (between[0] != between[2]).any()
    file = tmp_path / "classifier.npz"
    save_classifier(file, NoisyClassifier(config.image_shape, 2, ladder_of(config).numpy(), 3))
    flags = [f"--classifier={file}", "--classifier_scale=5"]
    classes = [drawn(config, tmp_path, *chain, *flags, f"--label={label}") for label in (0, 2)]
    assert (classes[0] != classes[1]).any()
    without = drawn(config, tmp_path, *chain, flags[0], "--classifier_scale=0", "--label=1")
    np.testing.assert_array_equal(without, drawn(config, tmp_path, *chain))


@pytest.mark.slow
@pytest.mark.parametrize("model, sde, sampler", [("ddpmpp", "subvp", "pc")])
def test_signatures_of_conditional_modes(run, model, sde, sampler, tmp_path):
    config = run(model, sde, channels=3)
    chain = [f"--sampler={sampler}"]
    path, pixels = picture(tmp_path, 3)
    fills = drawn(config, tmp_path, *chain, f"--inpaint={path}")
    file = tmp_path / "classifier.npz"
    save_classifier(file, NoisyClassifier(config.image_shape, 2, ladder_of(config).numpy(), 3))
    flags = [f"--classifier={file}", "--classifier_scale=5"]
    ones = drawn(config, tmp_path, *chain, *flags, "--label=2")
    flags = ["--conditional", "--factor=2", *flags, *chain]
    export.main(["ncsn export", f"--workdir={config.run_dir}", *flags])
    folder = max((config.run_dir / "export").iterdir(), key=lambda path: int(path.name))
    served = tf.saved_model.load(str(folder)).signatures
    seed, image = tf.constant(SEEDS), tf.constant(np.repeat(pixels[None], COUNT, 0))
    mask = np.zeros([COUNT, 8, 8, 1], np.uint8)
    mask[:, :, 4:] = 255
    answers = {
        "inpaint": (fills, {"image": image, "mask": tf.constant(mask)}),
        "sample_class": (ones, {"label": tf.constant([2] * COUNT)}),
    }
    for name, (expected, inputs) in answers.items():
        found = served[name](seed=seed, **inputs)["image"].numpy()
        np.testing.assert_array_equal(found, expected, err_msg=name)
    assert {"colorize", "super_resolve", "interpolate"} <= set(served)


@pytest.mark.slow
@pytest.mark.usefixtures("graphs_as_written")
@pytest.mark.parametrize("model, sde", FIRST[1:2])
def test_other_samplers_and_movies(run, model, sde, tmp_path):
    config = run(model, sde)
    own = drawn(config, tmp_path, f"--movie={tmp_path / 'chain.gif'}")
    assert (tmp_path / "chain.gif").exists()
    flow = ["--probability_flow", "--predictor=euler", "--corrector=none"]
    for flags in (
        ["--sampler=ode", "--ode_tolerance=0.1"],
        ["--sampler=cas"],
        ["--sampler=ald"],
        flow,
    ):
        images = drawn(config, tmp_path, *flags)
        assert (images != own).any() and len(np.unique(images)) > 2


@pytest.mark.slow
@pytest.mark.usefixtures("graphs_as_written")
@pytest.mark.parametrize("model, sde", FIRST[1:2])
def test_likelihoods_neighbours_and_classifiers(run, model, sde, tmp_path, capsys):
    config = run(model, sde)
    place = f"--workdir={config.run_dir}"
    flags = ["--bits_per_dim", "--num_images=1", "--ode_tolerance=0.1"]
    evaluate.main(["ncsn evaluate", place, *flags])
    assert "bits/dim" in capsys.readouterr().out
    out = f"--out={tmp_path / 'near.png'}"
    neighbors.main(["ncsn neighbors", place, "--space=features", "--num_samples=2", out])
    assert (tmp_path / "near.npz").exists()
    file = tmp_path / "classifier.npz"
    training = ["--num_steps=1", "--batch_size=4", "--features=2"]
    classifier_command.main(["ncsn classifier", place, *training, f"--out={file}"])
    np.testing.assert_array_equal(read_classifier(file).sigmas, ladder_of(config))


@pytest.mark.slow
@pytest.mark.usefixtures("graphs_as_written")
def test_a_report(run):
    config = run()
    report.main(["ncsn report", f"--workdir={config.run_dir}"])
    assert "<html" in (config.run_dir / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("graphs_as_written")
def test_a_checkpoint_of_the_reference_is_sampled(run, tmp_path):
    pytest.importorskip("torch")
    source = Path(__file__).parents[1] / "golden" / "sde" / "checkpoint_ncsnpp_ve.pth"
    out = tmp_path / "imported"
    import_reference.main(["ncsn import", str(source), str(out), "--image_size=16"])
    config = dataclasses.replace(config_of("ncsnpp", "ve"), workdir=str(out))
    flow = ["--sampler=ode", "--ode_tolerance=0.1"]
    images = drawn(config, tmp_path, *flow)
    assert images.shape == (COUNT, 16, 16, 3)
    assert len(np.unique(images)) > 5
