"""The best checkpoint: kept apart from the last ones, chosen as a run trains, opened by name."""

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from training_helpers import FakeStep, TinyNetwork, assert_same_run, cut_back, numbers, train

import ncsn_tf
from ncsn_tf.backend import signals
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.training import (
    best_files,
    checkpoint_choice,
    checkpoint_files,
    checkpoints,
    hooks,
    loop,
)
from ncsn_tf.training import state as state_module
from ncsn_tf.training.best_files import Measured
from ncsn_tf.training.checkpoints import open_config, open_run

VALUES = {2: 5.0, 4: 3.0, 6: float("nan"), 8: 4.0, 10: 3.0}  # step: figure


class Figures:
    """A `Metric` whose figures are made up; it notes the weights that it is given."""

    def __init__(self, values, name="FID", is_lower_better=True, then=lambda step: None):
        self.values, self.name, self.is_lower_better = values, name, is_lower_better
        self.then = then
        self.opened, self.weights = 0, {}

    def open(self, config):
        self.opened += 1

    def __call__(self, network, step):
        self.weights[step] = np.concatenate([w.numpy().ravel() for w in network.variables])
        self.then(step)
        return Measured(self.name, self.values[step], self.is_lower_better, {"seeds": (0, 9)})


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setattr(state_module, "build_network", TinyNetwork)
    monkeypatch.setattr(checkpoints, "build_network", TinyNetwork)


@pytest.fixture
def only_counts(monkeypatch):
    """Steps of training take no time."""
    monkeypatch.setattr(loop, "TrainingStep", FakeStep)


@pytest.fixture(scope="module")
def settings(tiny_config):
    return tiny_config(
        ema_decay=0.5,
        num_steps=10,
        log_every=5,
        checkpoint_every=2,
        keep_checkpoints=2,
        metric_every=2,
        eval_every=0,
        sample_every=0,
        deterministic=True,
    )


@pytest.fixture
def config(settings, tmp_path):
    return dataclasses.replace(settings, workdir=str(tmp_path / "run"))


def best_names(config):
    return sorted(os.listdir(config.run_dir / "checkpoints" / "best"))


NAMES_OF_4 = [
    *("checkpoint", "step-4.data-00000-of-00001", "step-4.figure.json", "step-4.index"),
]


@pytest.fixture(scope="module")
def original(settings, tmp_path_factory):
    """(settings, metric, what was said) of a run; the tests get copies of it."""
    folder = tmp_path_factory.mktemp("original")
    config = dataclasses.replace(settings, workdir=str(folder / "run"))
    metric = Figures(VALUES)
    with pytest.MonkeyPatch.context() as patch, open(folder / "said", "w") as file:
        patch.setattr(state_module, "build_network", TinyNetwork)
        with contextlib.redirect_stderr(file):
            train(config, metric=metric)
    return config, metric, (folder / "said").read_text()


@pytest.fixture
def trained(original, config, only_counts):
    """(metric, what was said) of a copy of the run."""
    shutil.copytree(original[0].run_dir, config.run_dir)
    return original[1:]


def test_the_best_checkpoint_outlives_the_last_ones(trained, config):
    metric, said = trained
    assert metric.opened == 1
    assert best_names(config) == NAMES_OF_4
    steps = [Path(path).name for path in checkpoint_files.listed(config.run_dir)]
    assert steps == ["step-10", "step-8"]
    lines = [line for line in said.splitlines() if " FID " in line]
    ends = [
        "5, the best so far",
        "3, the best so far",
        "cannot be had yet, the chains diverge, the best so far is 3",
    ]
    ends += ["4, the best so far is 3", "3, the best so far is 3"]
    for line, step, end in zip(lines, VALUES, ends, strict=True):
        assert line.startswith(f"step {step} of 10  FID {end} (")
    best = json.loads((config.run_dir / "checkpoints/best/step-4.figure.json").read_text())
    assert best == {
        "name": "FID",
        "value": 3.0,
        "is_lower_better": True,
        "about": {"seeds": [0, 9]},
    }


def test_averaged_weights_are_measured_and_stored(trained, config):
    run = open_run(config.run_dir, checkpoint="best")
    assert (run.step, run.origin) == (4, "averaged weights of step 4, the best")
    found = np.concatenate([w.numpy().ravel() for w in run.network.variables])
    np.testing.assert_array_equal(found, trained[0].weights[4])
    raw = open_run(config.run_dir, average=False, checkpoint="best")
    assert raw.origin == "weights of step 4, the best"


def test_the_figures_are_curves_and_change_no_number_of_training(original, tmp_path):
    config = original[0]
    plain = dataclasses.replace(config, workdir=str(tmp_path / "plain"), metric_every=0)
    train(plain)
    assert_same_run(numbers(plain.run_dir), numbers(config.run_dir))
    assert not (plain.run_dir / "checkpoints" / "best").exists()
    curve = {}
    for path in (config.run_dir / "tensorboard").iterdir():
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                if value.tag == "quality/FID":
                    curve[event.step] = float(tf.make_ndarray(value.tensor))
    assert curve == {2: 5.0, 4: 3.0, 8: 4.0, 10: 3.0}


def test_a_resumed_run_keeps_the_best_so_far(trained, config, tmp_path):
    run_dir = cut_back(config.run_dir, 8, tmp_path / "resumed")
    resumed = dataclasses.replace(config, workdir=str(run_dir))
    train(resumed, metric=Figures({10: 3.5}))
    assert best_names(resumed) == NAMES_OF_4
    longer = dataclasses.replace(resumed, num_steps=12)
    train(longer, metric=Figures({12: 2.5}))
    assert best_names(resumed)[1] == "step-12.data-00000-of-00001"
    assert len(best_names(resumed)) == 4


def test_the_higher_figure_may_be_the_better(config, only_counts):
    train(config, metric=Figures(VALUES, "IS", is_lower_better=False))
    assert best_names(config)[-1] == "step-2.index"


def test_another_metric_begins_anew(trained, config, capsys):
    longer = dataclasses.replace(config, num_steps=14)
    metric = Figures({12: 9.0, 14: 10.0}, "KID")
    train(longer, metric=metric)
    said = capsys.readouterr().err
    assert said.count("was chosen by another figure, FID: the choice begins anew") == 1
    assert best_names(config)[-1] == "step-12.index"


def test_a_damaged_one_is_set_aside_by_training(trained, config, capsys):
    flip(config.run_dir / "checkpoints/best/step-4.data-00000-of-00001")
    train(dataclasses.replace(config, num_steps=12), metric=Figures({12: 9.0}))
    assert "is damaged (" in capsys.readouterr().err
    names = best_names(config)
    assert "step-12.index" in names
    assert "damaged-step-4.index" in names and "damaged-step-4.figure.json" in names


def test_what_a_killed_writer_left_is_removed(trained, config):
    folder = config.run_dir / "checkpoints" / "best"
    for name in ("writing-step-9.index", "step-9.figure.json", "step-9.data-00000-of-00001"):
        (folder / name).write_text("a")
    (folder / ".step-9.figure.json.999999999.tmp").write_text("a")
    best_files.remove_remains(config.run_dir)
    assert best_names(config) == NAMES_OF_4
    # Killed before it removed the one before: the later written one counts.
    for path in folder.glob("step-4.*"):
        other = folder / path.name.replace("step-4", "step-2")
        other.write_bytes(path.read_bytes())
        os.utime(other, (2e9, 2e9))
    best_files.remove_remains(config.run_dir)
    assert best_names(config)[-1] == "step-2.index"
    assert len(best_names(config)) == 4


def test_a_full_disk_leaves_the_best_before(trained, config, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_files, "sync", full)
    parts = tf.train.Checkpoint(step=tf.Variable(12, dtype=tf.int64))
    with pytest.raises(UserError, match="step 12 cannot be written to .*best: No space left"):
        best_files.write_best(parts, config.run_dir, 12, Measured("FID", 1.0, True, {}))
    assert best_names(config) == NAMES_OF_4


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_step_that_is_not_there(trained, config):
    there = "there are steps 8, 10 and best, of step 4"
    with pytest.raises(UserError, match=f"--checkpoint=6: .* no checkpoint of step 6; {there}$"):
        open_run(config.run_dir, checkpoint=6)
    assert open_run(config.run_dir, checkpoint=8).step == 8
    assert open_run(config.run_dir, checkpoint="4").step == 4  # though the rotation removed it
    with pytest.raises(ConfigError, match="--checkpoint=last must be best, newest or a step"):
        open_run(config.run_dir, checkpoint="last")
    with pytest.raises(UserError, match="holds no checkpoint: train first"):
        open_run(config.run_dir / "gone", checkpoint="best")


def test_a_run_without_a_best_one(trained, config):
    shutil.rmtree(config.run_dir / "checkpoints" / "best")
    message = "--checkpoint=best: .* no best checkpoint, .* --metric_every; there are steps 8, 10$"
    with pytest.raises(UserError, match=message):
        open_run(config.run_dir, checkpoint="best")


@pytest.mark.parametrize("name", ["best", "10"])
def test_a_damaged_one_that_is_named_is_not_replaced_by_another(name, trained, config, capsys):
    place = "best/step-4" if name == "best" else "step-10"
    flip(config.run_dir / f"checkpoints/{place}.data-00000-of-00001")
    message = f"{place} cannot be read .*: name another one with --checkpoint; there are steps 8"
    with pytest.raises(UserError, match=message):
        open_run(config.run_dir, checkpoint=name)
    assert capsys.readouterr().err == ""
    assert open_config(config.run_dir).num_steps == 10


def test_a_best_one_that_training_replaces_while_it_is_read(trained, config, monkeypatch):
    load = checkpoints.load_network

    def replaced(path, average):
        if path.endswith("-4"):
            source = checkpoint_files.path_of(config.run_dir, 8)
            best_files.copy_best(source, config.run_dir, Measured("FID", 1.0, True, {}))
        return load(path, average)

    monkeypatch.setattr(checkpoints, "load_network", replaced)
    assert open_run(config.run_dir, checkpoint="best").step == 8


def test_a_signal_in_a_metric_saves_the_step(config, only_counts, capsys):
    def kill(step):
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            signals.check()

    train(dataclasses.replace(config, checkpoint_every=100), metric=Figures(VALUES, then=kill))
    assert capsys.readouterr().err.splitlines()[-1].startswith("SIGTERM: saved step 4;")
    assert checkpoint_choice.latest(config.run_dir).endswith("step-4")
    assert best_names(config)[-1] == "step-2.index"


def test_other_workers_stop_where_the_chief_measures(config):
    """So that all make the same number of steps in a call."""
    state = SimpleNamespace(step=tf.Variable(0), evaluation_network=None)
    make = functools.partial(hooks.make_hooks, state, config, None, None, None)
    kept = []
    chief, other = make(True, kept.append), make(False)
    for step in range(1, 11):
        due = [sorted(h.interval for h in all_ if h.is_due(step, False)) for all_ in (chief, other)]
        assert due[0] == due[1]
        assert len({min(h.steps_until(step) for h in all_) for all_ in (chief, other)}) == 1
    other[-1].action(2)
    chief[-1].action(2)
    assert kept == [2] and chief[-1].is_long


def test_a_figure_of_ones_own(tmp_path, only_counts):
    """Which is what users of the library hand in."""
    images = np.random.default_rng(0).random([16, 8, 8])
    seen = []

    def mine(network, config):
        seen.append(config.image_shape)
        return -float(len(seen))

    tiny = {"features": 2, "num_levels": 2, "batch_size": 8, "sample_every": 0}
    with pytest.raises(ConfigError, match="metric_every=N and measure="):
        ncsn_tf.train(images, tmp_path / "run", num_steps=4, metric_every=2, **tiny)
    ncsn_tf.train(images, tmp_path / "run", measure=mine, num_steps=4, metric_every=2, **tiny)
    assert seen == [(8, 8, 1)] * 2
    run = open_run(tmp_path / "run", checkpoint="best")
    assert run.step == 4
    assert best_files.read_figure(run.path) == Measured("mine", -2.0, True, {})
