"""evaluate.py: likelihoods of a run, continued where they stopped; its test loss."""

import functools
import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import runs
import tensorflow as tf
from training_helpers import TinyNetwork

from ncsn_tf import likelihood
from ncsn_tf.commands.console import run_command
from ncsn_tf.commands.evaluate import EvaluateOptions, main
from ncsn_tf.data.batches import load_pixels
from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.evaluation import bits as bits_module
from ncsn_tf.evaluation import measure
from ncsn_tf.evaluation.measure import evaluate_run
from ncsn_tf.evaluation.record import Record, sentence
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.settings.config import Config
from ncsn_tf.training import checkpoint_choice, checkpoints
from ncsn_tf.training.run_network import build_network

ROOT = Path(__file__).resolve().parents[2]
CHOICES = {"bits_per_dim": True, "ode_tolerance": 0.1, "num_dequantizations": 2}


@pytest.fixture(scope="module")
def run_dir(tiny_config, tmp_path_factory):
    """A run of digits that was never trained; images of 4 x 4."""
    workdir = str(tmp_path_factory.mktemp("runs") / "digits")
    config = tiny_config(image_size=4, batch_size=16, workdir=workdir)
    checkpoints.save_network(TinyNetwork(config), config, step=7)
    return config.run_dir


@pytest.fixture(scope="module", autouse=True)
def traces_once(loads_once):
    """A likelihood of the same, tiny network and choices is traced once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "build_network", TinyNetwork)
        patch.setattr(bits_module, "_bits_fn", functools.cache(bits_module._bits_fn))
        yield


def measured(run_dir, out, **choices):
    lines = []
    result = evaluate_run(run_dir, out=out, say=lines.append, **{**CHOICES, **choices})
    with np.load(out.with_suffix(".npz")) as content:
        return result["bits_per_dim"], dict(content), lines


@pytest.fixture(scope="module")
def whole(run_dir, tmp_path_factory):
    """Five images at once: (summary, arrays, lines, path of the .json file)."""
    out = tmp_path_factory.mktemp("whole") / "bits.json"
    return *measured(run_dir, out, num_images=5, batch_size=5), out


def test_the_answer_and_its_files(run_dir, whole):
    summary, arrays, lines, out = whole
    bits = arrays["bits_per_dim"].astype(np.float64)
    assert bits.shape == (5, 2, 1)
    assert len(np.unique(bits)) == 10
    means = bits.mean((1, 2))
    assert summary["bits_per_dim"] == pytest.approx(means.mean())
    assert summary["standard_error"] == pytest.approx(means.std(ddof=1) / math.sqrt(5))
    assert summary["num_images"] == 5
    assert summary["evaluations"] == arrays["evaluations"].mean()
    assert lines[0] == f"Evaluating {run_dir}, weights of step 7"
    assert lines[1] == sentence(summary)
    assert lines[2] == f"Wrote {out}"
    written = json.loads(out.read_text())
    assert {key: written[key] for key in summary} == summary
    assert written["settings"]["step"] == 7
    assert sorted(os.listdir(out.parent)) == ["bits.json", "bits.npz"]


def test_the_numbers_are_those_of_the_library(run_dir, whole):
    network, config, *_ = checkpoints.load_network(checkpoint_choice.latest(run_dir))
    source = load_source("digits", "test", image_size=4, channels=1)
    # The tile that image 3 is in: another batch would round its scores differently, and where the
    # network jumps from level to level that can cost the solver a step.
    pixels = load_pixels(source, 5)[2:4]
    seeds = tf.constant([2, 3], tf.int64)
    counters = (1, 0)
    sigmas = geometric_sigmas(1.0, 0.01, 3).numpy()

    @tf.function(autograph=False)
    def compute():
        x = likelihood.dequantize(pixels, seeds, counters)
        probes = likelihood.Probes(counters=counters)
        return likelihood.log_likelihood(network, x, seeds, sigmas, probes, 0.1, jumps=True)

    result = compute()
    expected = likelihood.bits_per_dim(result.log_probs, 16)
    np.testing.assert_allclose(whole[1]["bits_per_dim"][2:4, 1], expected, rtol=1e-5)


def test_continued_is_uninterrupted(run_dir, whole, tmp_path, monkeypatch):
    """Stopped while the second batch is written, and continued: the same bits."""
    out = tmp_path / "bits.json"
    add = Record.add

    def stop(self, bits, *others):
        if len(self.bits):
            raise KeyboardInterrupt
        add(self, bits, *others)

    monkeypatch.setattr(Record, "add", stop)
    with pytest.raises(KeyboardInterrupt):
        measured(run_dir, out, num_images=5, batch_size=3)
    assert json.loads(out.read_text())["num_images"] == 3
    seen = []
    monkeypatch.setattr(
        Record, "add", lambda self, bits, *n: (seen.append(len(bits)), add(self, bits, *n))
    )
    _, arrays, _ = measured(run_dir, out, num_images=5, batch_size=4)
    assert seen == [2]
    for name in ("bits_per_dim", "evaluations", "images"):
        np.testing.assert_array_equal(arrays[name], whole[1][name])
    summary, arrays, _ = measured(run_dir, out, num_images=2)  # fewer: nothing is lost
    assert (summary["num_images"], len(arrays["bits_per_dim"])) == (2, 5)
    assert json.loads(out.read_text())["num_images"] == 2
    assert seen == [2]


@pytest.mark.slow
def test_a_run_of_many_levels(tiny_config, tmp_path, monkeypatch):
    """Of the real network."""
    monkeypatch.setattr(checkpoints, "build_network", build_network)
    config = tiny_config(
        **{"image_size": 4, "model": "ncsnv2", "sigma_begin": 2.0, "num_levels": 200},
        **{"sampling_tile": 1, "workdir": str(tmp_path / "run")},
    )
    checkpoints.save_network(build_network(config), config, step=1)
    choices = {"num_images": 1, "num_dequantizations": 1}
    summary, *_ = measured(config.run_dir, tmp_path / "bits.json", **choices)
    assert math.isfinite(summary["bits_per_dim"])


@pytest.mark.parametrize(
    "choices, message",
    [
        ({"seed": 1}, "seed: it has 0, this would be 1"),
        ({"num_probes": 3}, "num_probes: it has 1, this would be 3"),
        ({"split": "train"}, "split: it has test, this would be train"),
    ],
)
def test_other_settings_do_not_continue(run_dir, whole, choices, message):
    with pytest.raises(ConfigError, match=message):
        measured(run_dir, whole[3], num_images=5, **choices)


def copied(whole, folder, but=(), **changed):
    """The record of the five images in another folder, without some arrays and with others."""
    arrays = {name: array for name, array in whole[1].items() if name not in but} | changed
    np.savez(folder / "bits.npz", **arrays)
    return folder / "bits.json"


def test_likelihoods_of_other_images_do_not_continue(run_dir, whole, tmp_path):
    """Of another folder of as many pictures, say; also where nothing is left to measure."""
    images = np.where(np.arange(5) == 3, 7, whole[1]["images"]).astype(np.uint32)
    out = copied(whole, tmp_path, images=images)
    assert measured(run_dir, out, num_images=3)[0]["num_images"] == 3
    for count in (4, 5, 6):
        with pytest.raises(ConfigError, match=r"bits\.npz holds the likelihoods of other images"):
            measured(run_dir, out, num_images=count)


def test_likelihoods_of_another_network_do_not_continue(run_dir, whole, tmp_path):
    """Of a run that was trained anew, to the same step."""
    settings = json.loads(str(whole[1]["settings"]))
    out = copied(whole, tmp_path, settings=json.dumps({**settings, "network": 5}))
    with pytest.raises(ConfigError, match="network: it has 5, this would be "):
        measured(run_dir, out, num_images=5)


def test_a_record_of_before_there_were_checksums_is_continued(run_dir, whole, tmp_path):
    settings = json.loads(str(whole[1]["settings"]))
    del settings["network"]
    two = {name: whole[1][name][:2] for name in ("bits_per_dim", "evaluations")}
    out = copied(whole, tmp_path, ["images"], settings=json.dumps(settings), **two)
    _, arrays, _ = measured(run_dir, out, num_images=5, batch_size=2)
    np.testing.assert_array_equal(arrays["bits_per_dim"], whole[1]["bits_per_dim"])
    assert (arrays["images"] == 0).tolist() == [True, True, False, False, False]


def test_two_evaluations_do_not_write_one_record(run_dir, whole, tmp_path, monkeypatch):
    """The second one is told who writes it, and changes nothing; afterwards it goes on."""
    out, add, told = tmp_path / "bits.json", Record.add, []

    def meanwhile(self, *arrays):
        add(self, *arrays)
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(UserError) as error:
            measured(run_dir, out, num_images=5, seed=1)
        told.append(str(error.value))
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

    monkeypatch.setattr(Record, "add", meanwhile)
    _, arrays, _ = measured(run_dir, out, num_images=5, batch_size=5)
    assert [line.split(" on host ")[0] for line in told] == [
        f"{out} is being written by process {os.getpid()}"
    ]
    assert told[0].endswith("; wait for it to end, or name another --out")
    np.testing.assert_array_equal(arrays["bits_per_dim"], whole[1]["bits_per_dim"])
    assert sorted(os.listdir(tmp_path)) == ["bits.json", "bits.npz"]


def test_a_damaged_record(run_dir, tmp_path):
    (tmp_path / "bits.npz").write_bytes(b"PK not a zip file")
    with pytest.raises(UserError, match=r"bits\.npz cannot be read"):
        measured(run_dir, tmp_path / "bits.json", num_images=1)


def test_a_likelihood_that_is_not_finite(run_dir, tmp_path, monkeypatch):
    def spoilt(network, x, *_, **__):
        bad = tf.where(tf.range(tf.shape(x)[0]) == 1, math.nan, 0.0)
        return likelihood.Likelihood(bad[:, None], tf.zeros_like(bad, tf.int32))

    monkeypatch.setattr(likelihood, "log_likelihood", spoilt)
    monkeypatch.setattr(bits_module, "_bits_fn", bits_module._bits_fn.__wrapped__)
    with pytest.raises(UserError, match="the likelihood of image 1 is not .* with another --out"):
        measured(run_dir, tmp_path / "bits.json", num_images=3)
    assert not os.listdir(tmp_path)


def test_probe_error():
    """Known probes: of two images with deviations 1 and 2 over probes, one dequantisation."""
    settings = {"num_dequantizations": 1, "num_probes": 2}
    record = Record(Path("nowhere.json"), settings)
    record.bits = np.array([[[3 - 0.5**0.5, 3 + 0.5**0.5]], [[5 - 2**0.5, 5 + 2**0.5]]])
    record.evaluations = np.array([[7], [13]])
    summary = record.summary(2)
    assert summary["bits_per_dim"] == pytest.approx(4.0)
    assert summary["standard_error"] == pytest.approx(1.0)
    assert summary["probe_error"] == pytest.approx(math.sqrt(1 / 2 + 4 / 2) / 2)
    assert sentence(summary) == (
        "4.0000 +- 1.0000 (of which 0.7906 from the probes) bits/dim over 2 images, "
        "10 network evaluations an image"
    )
    assert sentence(record.summary(1)).startswith("3.0000 bits/dim over 1 images, 7 network")


def test_another_place_holds_what_was_measured(run_dir, whole, tmp_path):
    before = sorted(run_dir.rglob("*"))
    place = tmp_path / "elsewhere"
    choices = {**CHOICES, "num_images": 5, "batch_size": 5}
    result = evaluate_run(run_dir, place=place, say=lambda line: None, **choices)
    summary, *_ = whole
    assert result["bits_per_dim"] == summary
    assert (place / "evaluation" / "bits_per_dim.json").is_file()
    assert sorted(run_dir.rglob("*")) == before


def test_the_test_loss_is_that_of_training(run_dir, monkeypatch):
    losses, lines = [], []

    class Watched(measure.TestLoss):
        def __init__(self, network, source, config):
            super().__init__(network, source, config)
            losses.append(self)

    monkeypatch.setattr(measure, "TestLoss", Watched)
    result = evaluate_run(run_dir, test_loss=True, num_images=40, say=lines.append)
    (loss,) = losses
    assert result == {"test_loss": pytest.approx(loss.compute(), rel=1e-6)}
    assert (loss.config.batch_size, loss.config.eval_batches) == (16, 2)
    network, *_ = checkpoints.load_network(checkpoint_choice.latest(run_dir), True)
    assert loss.network is network
    source = load_source("digits", "test", image_size=4, channels=1)
    expected = load_pixels(source, 32).astype(np.float32) / 255
    np.testing.assert_array_equal(np.concatenate(loss.batches), expected)
    assert lines[-1] == f"Loss {result['test_loss']:.3f} over 32 test images"


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "say what to measure"),
        ({"bits_per_dim": True, "divergence": "exact", "num_probes": 2}, "--num_probes=2 must be"),
        ({"bits_per_dim": True, "seed": 2**62}, r"must be below 2\*\*62"),
        ({"bits_per_dim": True, "out": "bits.npz"}, "--out=bits.npz must end in .json"),
    ],
)
def test_flags_that_contradict_each_other(options, message):
    with pytest.raises(ConfigError, match=message):
        EvaluateOptions(**options).validate()


def test_runs_that_cannot_be_measured():
    one_level = Config(num_levels=1, sigma_end=1.0)
    with pytest.raises(ConfigError, match="at least two noise levels"):
        measure._check_likelihood(one_level, "rademacher")
    with pytest.raises(ConfigError, match="for images of 3072 numbers"):
        measure._check_likelihood(Config(), "exact")


# --- as a process ---


def run(*flags, cwd, before=()):
    command = [sys.executable, *before, str(ROOT / "evaluate.py"), *flags]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


def test_the_command(run_dir, whole, command_server, tmp_path, monkeypatch, capsys):
    """Of the newest run below the folder; a command with another seed does not continue."""
    (tmp_path / "runs").symlink_to(run_dir.parent, target_is_directory=True)
    flags = ["--bits_per_dim", "--ode_tolerance=0.1", "--num_dequantizations=2"]
    done = command_server.run([runs.NCSN, "evaluate", *flags, "--num_images=2"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    place = Path("runs/digits/evaluation/bits_per_dim.json")
    lines = done.stdout.splitlines()
    assert lines[0] == "Evaluating runs/digits, weights of step 7"
    assert lines[1].endswith("network evaluations an image")
    assert lines[2] == f"Wrote {place}"
    with np.load((tmp_path / place).with_suffix(".npz")) as content:
        found = content["bits_per_dim"]
    np.testing.assert_allclose(found, whole[1]["bits_per_dim"][:2], rtol=1e-5)

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        run_command(main, ["evaluate.py", *flags, "--num_images=2", "--seed=1"])
    said = capsys.readouterr()
    assert (end.value.code, said.out.count("\n"), said.err.count("\n")) == (2, 1, 1)
    assert said.err.startswith("error: runs/digits/evaluation/bits_per_dim.npz holds other")


def test_help_and_mistakes_come_at_once_without_tensorflow(tmp_path):
    block = "import runpy, sys; sys.modules['tensorflow'] = sys.modules['keras'] = None; "
    block += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run("--help", cwd=tmp_path, before=("-c", block))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: evaluate.py [--flag=value ...]\n")
    assert after.ru_utime - before.ru_utime < 2.0
    done = run(cwd=tmp_path, before=("-c", block))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr == "error: say what to measure: --metrics, --bits_per_dim or --test_loss\n"
