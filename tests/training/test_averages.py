"""Averages by powers of time in training: kept, written, resumed; networks made of them."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf
from training_helpers import TinyNetwork, assert_same_run, cut_back, numbers, replicas, train

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.training import average_files, average_summary, checkpoint_choice, checkpoints
from ncsn_tf.training import state as state_module
from ncsn_tf.training.averages import average_of, open_weights
from ncsn_tf.training.power_average import gamma_of
from ncsn_tf.training.state import TrainingState, copies
from ncsn_tf.training.step import TrainingStep

SETTINGS = {
    "features": 4,
    "batch_size": 16,
    "learning_rate": 0.03,
    "ema_decay": 0.9,
    "ema_power": "0.05,0.1",
    "ema_every": 3,
    "num_steps": 40,
    "log_every": 10,
    "eval_every": 0,
    "sample_every": 0,
    "checkpoint_every": 20,
    "deterministic": True,
}


@pytest.fixture(scope="module", autouse=True)
def tiny_network():
    """Networks of five weights, whose step is compiled in no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_module, "build_network", TinyNetwork)
        patch.setattr(checkpoints, "build_network", TinyNetwork)
        yield


@pytest.fixture(scope="module")
def settings(tiny_config):
    return lambda **changes: tiny_config(**{**SETTINGS, **changes})


@pytest.fixture(scope="module")
def run_dir(settings, tmp_path_factory):
    """The folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(settings(workdir=str(folder)))
    return folder


@pytest.fixture
def copy(run_dir, tmp_path):
    """A copy of the run, to be spoilt."""
    return shutil.copytree(run_dir, tmp_path / "copy")


def stored(folder, step):
    about = average_files.read_about(folder, step)
    return dict(zip(about.lengths, average_files.read(folder, about), strict=True))


def flat(network):
    return np.concatenate([np.ravel(weight) for weight in network.trainable_variables])


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_each_good_step_has_its_share(settings, count):
    """A step that is not finite is no time at all; replicas keep the same averages.

    They are those of one replica that has the same weights, bit for bit.
    """
    strategy = replicas(count)
    config = settings(batch_size=4)
    state = TrainingState(config, strategy)
    step = TrainingStep(state, config, strategy)
    draw = np.random.default_rng(0)
    rows = []
    for number in range(6):
        images = draw.random([4, 8, 8, 1], np.float32)
        if number == 2:
            images[:] = np.nan
        data = tf.data.Dataset.from_tensors(images)
        data = data.unbatch().batch(4, drop_remainder=True)
        step.run(next(iter(strategy.experimental_distribute_dataset(data))))
        if number != 2:
            rows.append(copies(state.weights.vector)[0].numpy().astype(np.float64))
    assert int(state.skipped_steps.numpy()) == 1
    one = TrainingState(config, replicas(1))
    move = tf.function(one.average_by_power, autograph=False)
    for number, row in enumerate(rows, 1):
        one.weights.vector.assign(row.astype(np.float32))
        move(tf.constant(number, tf.int64))
    ends = np.arange(1, 6) / 5
    for length, average in state.power_averages.items():
        power = gamma_of(length) + 1
        expected = (ends**power - (ends - 0.2) ** power) @ rows
        for replica in copies(average.vector):
            np.testing.assert_allclose(replica, expected, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(replica, copies(one.power_averages[length].vector)[0])


@pytest.mark.slow
def test_replicas_write_the_same_snapshots(settings, run_dir, tmp_path):
    """As near as weights are, which differ by the order of sums; a resumed run is exact."""
    whole = tmp_path / "whole"
    train(settings(workdir=str(whole)), replicas(2))
    resumed = cut_back(whole, 20, tmp_path / "resumed")
    train(settings(workdir=str(resumed)), replicas(2))
    assert_same_run(numbers(whole), numbers(resumed))
    steps = average_files.listed(run_dir)
    assert average_files.listed(whole) == average_files.listed(resumed) == steps
    for step in steps:
        two, again, one = (stored(folder, step) for folder in (whole, resumed, run_dir))
        assert two.keys() == one.keys()
        for length in one:
            np.testing.assert_array_equal(two[length], again[length])
            np.testing.assert_allclose(two[length], one[length], rtol=0, atol=1e-2)


@pytest.fixture(scope="module")
def other_dir(settings, tmp_path_factory):
    """The folder of the same training, of which averages of other lengths are kept."""
    folder = tmp_path_factory.mktemp("runs") / "other"
    train(settings(workdir=str(folder), ema_power="0.15,0.075", ema_every=20))
    return folder


def split(found):
    """The averages by powers of time in the numbers of a checkpoint, and the others."""
    powers = {name: found[name] for name in found if name.startswith("power_average_")}
    return powers, {name: found[name] for name in found if name not in powers}


def test_they_change_nothing_else(run_dir, other_dir):
    """Whatever is kept, weights, average and optimizer are the same."""
    (powers, rest), (others, same) = split(numbers(run_dir)), split(numbers(other_dir))
    assert len(powers) == len(others) == 2
    assert all(np.any(powers[name] != others[name]) for name in powers)
    assert_same_run(rest, same)


@pytest.mark.slow
def test_without_them_a_checkpoint_is_what_it_was(settings, run_dir, tmp_path):
    train(settings(workdir=str(tmp_path / "without"), ema_power="", ema_every=0))
    assert not (tmp_path / "without" / average_files.FOLDER).exists()
    assert_same_run(numbers(tmp_path / "without"), split(numbers(run_dir))[1])


def test_a_resumed_run_is_the_uninterrupted_run(settings, run_dir, tmp_path, capsys):
    """Snapshots of steps that are done again are written again."""
    resumed = cut_back(run_dir, 20, tmp_path / "resumed")
    train(settings(workdir=str(resumed)))
    assert "Averages of 8 steps after step 20 are removed" in capsys.readouterr().err
    assert_same_run(numbers(run_dir), numbers(resumed))
    steps = [*range(3, 40, 3), 40]
    assert average_files.listed(resumed) == average_files.listed(run_dir) == steps
    for step in steps:
        expected, found = stored(run_dir, step), stored(resumed, step)
        for length in (0.05, 0.1):
            np.testing.assert_array_equal(found[length], expected[length])


def test_any_length_is_near_one_that_was_really_kept(run_dir, other_dir):
    for length in (0.075, 0.15):
        expected = stored(other_dir, 40)[length].astype(np.float64)
        run = average_of(run_dir, length)
        assert (run.step, run.length, run.is_average) == (40, length, True)
        assert run.origin == f"average of length {length} of step 40"
        error = np.linalg.norm(flat(run.network) - expected)
        assert error < 2e-3 * np.linalg.norm(expected)
        nearest = min(np.linalg.norm(row - expected) for row in stored(run_dir, 40).values())
        assert error < nearest / 10


def test_a_length_that_is_kept_is_what_was_kept(run_dir):
    for step in (21, 40):
        kept = stored(run_dir, step)
        assert kept[0.05].dtype == np.float16
        for length, vector in kept.items():
            run = open_weights(run_dir, checkpoint=step, ema=length)
            np.testing.assert_allclose(flat(run.network), vector, rtol=1e-3, atol=1e-5)
    exact = numbers(run_dir)["power_average_0/.ATTRIBUTES/VARIABLE_VALUE"]
    np.testing.assert_allclose(stored(run_dir, 40)[0.05], exact, rtol=2.0**-11, atol=1e-7)


def test_many_snapshots_are_thinned(run_dir, monkeypatch):
    whole = flat(average_of(run_dir, 0.15).network)
    monkeypatch.setattr(average_summary, "_MOST_SNAPSHOTS", 10)
    thinned = flat(average_of(run_dir, 0.15).network)
    assert 0 < np.linalg.norm(thinned - whole) < 0.01 * np.linalg.norm(whole)


def test_without_a_length_it_is_the_checkpoint(run_dir):
    opened, plain = open_weights(run_dir), checkpoints.open_run(run_dir)
    assert opened.length is None and opened.kind == "average"
    assert open_weights(run_dir, average=False).kind == "raw"
    np.testing.assert_array_equal(flat(opened.network), flat(plain.network))


@pytest.mark.parametrize(
    "given, message",
    [
        ({"sigma_rel": 0.28, "step": 6}, r"--ema=0.28 must be from 0.0\d+ to 0.1\d+: the 2 snap"),
        ({"sigma_rel": 0.01}, r"--ema=0.01 must be from 0.0\d+ to 0.2\d+: the 14 snapshots of "),
        ({"sigma_rel": 0.1, "step": 20}, "--checkpoint=20: .* has averages of steps 3, 6, 9, .*40"),
    ],
)
def test_what_cannot_be_had_is_one_line(run_dir, given, message):
    with pytest.raises(UserError, match=message) as error:
        average_of(run_dir, **given)
    assert "\n" not in str(error.value)


def test_other_mistakes(run_dir, copy):
    with pytest.raises(ConfigError, match="--ema=0.4 must be lengths from 0.001 to 0.2886"):
        average_of(run_dir, 0.4)
    with pytest.raises(ConfigError, match="--checkpoint=last must be best, newest or a step"):
        open_weights(run_dir, checkpoint="last", ema=0.1)
    with pytest.raises(UserError, match="has no best checkpoint, which train.py keeps with"):
        open_weights(run_dir, checkpoint="best", ema=0.1)
    with_none = run_dir.parent / "with_none"
    network, config = checkpoints.load_network(checkpoint_choice.latest(run_dir))[:2]
    config = dataclasses.replace(config, workdir=str(with_none), ema_power="", ema_every=0)
    checkpoints.save_network(network, config, 40, average=network)
    shutil.copytree(copy / average_files.FOLDER, with_none / average_files.FOLDER)
    shutil.rmtree(copy / average_files.FOLDER)
    with pytest.raises(UserError, match="--ema=0.1: .*copy has no averages: .*--ema_power=0.05"):
        average_of(copy, 0.1)
    with pytest.raises(UserError, match="--ema=0.1: .*with_none has no averages"):
        average_of(with_none, 0.1)  # in whose folder another run was


def test_damaged_snapshots_are_one_line(copy):
    path = average_files.path_of(copy, 9)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", content[:-300] + b"x" * 300):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="step-9.npz (is not a snapshot|cannot be read)"):
            average_of(copy, 0.15)
    path.write_bytes(average_files.path_of(copy, 6).read_bytes())
    with pytest.raises(UserError, match="step-9.npz is not a snapshot of averages of step 9"):
        average_of(copy, 0.15)
    with np.load(average_files.path_of(copy, 6)) as arrays:
        np.savez(average_files.path_of(copy, 6), **{**arrays, "layout": np.array("0")})
    with pytest.raises(UserError, match="step-6.npz is of another network than the run's"):
        average_of(copy, 0.15, 6)


def test_large_weights_keep_their_digits(settings, tmp_path):
    state = TrainingState(settings(), replicas(1))
    average_files.write(tmp_path, state)
    assert average_files.listed(tmp_path) == []  # before the first update
    state.step.assign(1)
    first = state.power_averages[0.05].vector
    first.assign(first + 1e5)
    average_files.write(tmp_path, state)
    np.testing.assert_array_equal(stored(tmp_path, 1)[0.05], first)
