"""`--pretrained`: the trained networks that come with the package."""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.commands import evaluate, sample
from ncsn_tf.commands.evaluate import EvaluateOptions
from ncsn_tf.commands.export import ExportOptions
from ncsn_tf.commands.sample import SampleOptions
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.files import read_arrays
from ncsn_tf.settings import pretrained
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.pretrained import PRETRAINED, pretrained_run
from ncsn_tf.training import averages
from ncsn_tf.training.checkpoint_choice import latest
from ncsn_tf.training.checkpoint_files import files_of
from ncsn_tf.training.checkpoints import load_network, saved_config

MOST_BYTES = 8_000_000


@pytest.mark.parametrize("name", PRETRAINED)
def test_a_folder_of_the_zoo(name):
    folder = pretrained_run(name)
    path = latest(folder)
    config = Config.load(folder / "config.json")
    assert saved_config(path) == config
    assert sum(os.path.getsize(file) for file in files_of(path)) < MOST_BYTES
    # Nothing of the machine on which it was made.
    assert (config.data_dir, config.cache_dir, config.inception) == ("", "", "")
    assert config.workdir == f"zoo/{folder.name}"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"--pretrained={name}" in card and path.rpartition("-")[2] in card.replace(",", "")


@pytest.mark.slow
def test_the_weights_are_averages_of_a_network_that_has_learned():
    network, config, step, is_average = load_network(latest(pretrained_run("mnist")))
    assert (step, is_average) == (config.num_steps, True)
    # The score of noise alone, of the largest level, leads to the mean of the digits.
    sigma = config.sigma_begin
    noise = sigma * np.random.default_rng(0).normal(size=[4, 28, 28, 1]).astype(np.float32)
    score = network(tf.constant(noise), tf.zeros([4], tf.int32))
    mean = (noise + sigma**2 * score).numpy().mean((0, 3))
    assert mean[:3].mean() < 0.1 < 0.3 < mean[10:18, 10:18].mean() < 0.8


def test_the_command_opens_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sample, "start_for_sampling", lambda *_: tf.distribute.get_strategy())
    asked = {}

    def open_weights(workdir, **arguments):
        asked["workdir"] = workdir
        raise UserError("enough")

    monkeypatch.setattr(averages, "open_weights", open_weights)
    with pytest.raises(UserError, match="enough"):
        sample.main(["sample", "--pretrained=mnist", "--num_samples=1"])
    assert asked["workdir"] == pretrained_run("mnist")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UserError, match="enough"):
        sample.main(["sample", "--workdir=elsewhere"])
    assert asked["workdir"] == "elsewhere"


@pytest.mark.slow
def test_samples_in_one_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sample, "start_for_sampling", lambda *_: tf.distribute.get_strategy())
    zoo = pretrained_run("mnist")
    before = {path: path.stat().st_mtime_ns for path in zoo.rglob("*")}
    flags = ("--num_steps_each=1", "--num_samples=1", "--format=npz")
    sample.main(["sample", "--pretrained=mnist", *flags])
    said = capsys.readouterr().out
    assert "zoo/mnist-ncsnv2, averaged weights of step" in said
    assert read_arrays("samples.npz")["images"].shape == (1, 28, 28, 1)
    # It is only read.
    assert {path: path.stat().st_mtime_ns for path in zoo.rglob("*")} == before
    assert os.listdir() == ["samples.npz"]


def test_an_export_goes_to_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    export = importlib.import_module("ncsn_tf.commands.export")
    serving = importlib.import_module("ncsn_tf.serving.export")
    asked = {}

    def save(network, config, folder, about, **settings):
        asked.update(folder=folder, about=about, config=config)
        return Path(folder, "1")

    monkeypatch.setattr(serving, "save_sampler", save)
    export.main(["export", "--pretrained=mnist-ncsn", "--num_steps_each=2"])
    assert asked["folder"] == Path("runs", "mnist-ncsn", "export")
    assert asked["about"]["weights"] == "average" and asked["config"].num_steps_each == 2
    assert "Exported runs/mnist-ncsn/export/1" in capsys.readouterr().out


@pytest.mark.parametrize("options", [SampleOptions, ExportOptions, EvaluateOptions])
@pytest.mark.parametrize(
    "flags, message",
    [
        (
            {"pretrained": "minst"},
            "--pretrained=minst is not there; known: mnist, mnist-ncsn, cifar10",
        ),
        ({"workdir": "a"}, "--workdir=a cannot be used with --pretrained=mnist"),
        ({"checkpoint": "best"}, "--checkpoint=best cannot be used with --pretrained=mnist"),
        ({"average": False}, "--average=false cannot be used with --pretrained=mnist"),
    ],
)
def test_what_goes_not_with_it(options, flags, message):
    with pytest.raises(ConfigError) as error:
        options(**{"pretrained": "mnist", **flags}).validate()
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("other", [{"saved_model": "newest"}, {"server": "a:1"}])
def test_no_other_origin(other):
    (name,) = other
    message = f"^--pretrained=mnist cannot be used with --{name}"
    with pytest.raises(ConfigError, match=message):
        SampleOptions(pretrained="mnist", **other).validate()


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"samples": "a.npz", "metrics": "kid"}, "cannot be used with --samples"),
        ({"saved_model": "newest", "metrics": "kid"}, "cannot be used with --saved_model"),
        ({"every_checkpoint": True}, "cannot be used with --every_checkpoint"),
    ],
)
def test_what_is_measured_of_other_things(flags, message):
    with pytest.raises(ConfigError, match=f"^--pretrained=mnist {message}$"):
        EvaluateOptions(pretrained="mnist", **flags).validate()


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Runs `ncsn evaluate --pretrained=mnist-ncsn` without the measuring: what it would measure."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "start_for_sampling", lambda *_: tf.distribute.get_strategy())
    asked = {}
    measurements = importlib.import_module("ncsn_tf.commands.measurements")
    tuning = importlib.import_module("ncsn_tf.evaluation.tuning.run")
    monkeypatch.setattr(measurements, "evaluate_quality", lambda _, **given: asked.update(given))
    monkeypatch.setattr(tuning, "sweep_chain", lambda run, *_, **__: asked.update(run._asdict()))

    def run(*flags):
        evaluate.main(["ncsn evaluate", "--pretrained=mnist-ncsn", *flags])
        return asked

    return run


@pytest.mark.parametrize("what", ["--metrics", "--sweep=num_steps_each=1:2:2"])
def test_what_is_measured_goes_to_runs(what, measured, capsys):
    asked = measured(what)
    assert asked["run_dir"] == Path("runs", "mnist-ncsn")
    assert "zoo/mnist-ncsn, averaged weights of step" in capsys.readouterr().out


def test_an_installation_without_them(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "shipped", lambda name: tmp_path / name)
    with pytest.raises(UserError, match="zoo/mnist-ncsnv2 is missing, install the package again"):
        pretrained_run("mnist")
