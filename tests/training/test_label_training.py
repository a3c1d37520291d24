"""Class-conditional training: labels reach the step, and what is learned is that of the class."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from training_helpers import TinyLabelled, assert_same_run, cut_back, numbers, replicas, train

from ncsn_tf.commands.console import run_command
from ncsn_tf.commands.import_reference import main as import_main
from ncsn_tf.commands.train import main as train_main
from ncsn_tf.data.source import from_arrays
from ncsn_tf.errors import UserError
from ncsn_tf.evaluation.measure import evaluate_run
from ncsn_tf.training import checkpoints
from ncsn_tf.training import state as training_state
from ncsn_tf.training.arrays import train as train_arrays
from ncsn_tf.training.hooks import TestLoss
from ncsn_tf.training.objective import Objective, Perturbation, objective_of
from ncsn_tf.training.run_labels import dropped, labelling

FLAGS = "--dataset=digits --features=2 --num_levels=2 --num_steps_each=1 --batch_size=8"
FLAGS = [*FLAGS.split(), "--sample_every=0", "--eval_every=0", "--noexport", "--log_every=1"]
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, [32, 8, 8], np.uint8)
LABELS = np.arange(32) % 3


@pytest.fixture
def small_config(tiny_config, tmp_path, monkeypatch):
    """Settings of a class-conditional run of a few weights."""
    monkeypatch.setattr(training_state, "build_network", TinyLabelled)
    settings = {"class_conditional": True, "dataset": "arrays", "sample_every": 0}
    settings |= {"checkpoint_every": 2, "eval_every": 0, "export": False, "num_steps": 4}
    return lambda **changes: tiny_config(
        **{**settings, "workdir": str(tmp_path / "run"), **changes}
    )


def source(labels=LABELS, classes=()):
    return from_arrays(IMAGES, labels, classes=classes)


def test_a_resumed_run_and_replicas_agree(small_config, tmp_path):
    config = small_config(label_dropout=0.5, random_flip=True)
    state, _ = train(config, source=source())
    whole = numbers(config.run_dir)
    copy = cut_back(config.run_dir, 2, tmp_path / "copy")
    resumed = dataclasses.replace(config, workdir=str(copy))
    train(resumed, source=source())
    assert_same_run(whole, numbers(copy))
    rows = state.network.table.numpy()
    assert rows.shape == (4, 1) and np.all(np.abs(rows) > 0)
    two = dataclasses.replace(config, workdir=str(tmp_path / "two"))
    both, _ = train(two, replicas(2), source=source())
    np.testing.assert_allclose(both.network.table.numpy(), rows, rtol=1e-4, atol=1e-6)
    stored = json.loads((config.run_dir / "config.json").read_text())
    assert stored["class_names"] == ["0", "1", "2"]


def test_without_dropout_no_example_is_trained_without_its_label(small_config):
    state, _ = train(small_config(label_dropout=0.0, num_steps=2), source=source())
    rows = state.network.table.numpy()
    assert rows[3] == 0.0 and np.all(rows[:3] != 0.0)


def test_labels_that_move_change_the_training(small_config, tmp_path):
    train(small_config(num_steps=2), source=source())
    other = small_config(num_steps=2, workdir=str(tmp_path / "other"))
    train(other, source=source(np.roll(LABELS, 1)))
    one, two = (numbers(path) for path in (tmp_path / "run", tmp_path / "other"))
    assert any(np.any(one[name] != two[name]) for name in one)


def test_other_classes_are_refused_in_one_line(small_config):
    config = small_config(num_steps=2)
    train(config, source=source(classes=("a", "b", "c")))
    for classes in (("a", "b", "d"), ("a", "b", "c", "d")):
        with pytest.raises(ValueError) as error:
            train(dataclasses.replace(config, num_steps=4), source=source(classes=classes))
        assert "class_names: the run has a, b, c, the data have a, b, " in str(error.value)
        assert "\n" not in str(error.value)


def test_data_without_labels_are_refused_before_anything_is_written(small_config):
    config = small_config()
    with pytest.raises(UserError, match="arrays has no labels: save labels"):
        train(config, source=from_arrays(IMAGES))
    assert not (config.run_dir / "config.json").exists()


def test_labels_are_dropped_at_their_rate_by_seed_step_and_position(tiny_config):
    config = tiny_config(class_conditional=True, class_names=("a", "b"), label_dropout=0.25)
    seeds, places = tf.fill([20000], tf.constant(1, tf.int64)), tf.range(20000)
    first = dropped(tf.ones([20000], tf.int64), config, seeds, (places, 3)).numpy()
    assert set(first.tolist()) == {1, 2} and abs(np.mean(first == 2) - 0.25) < 0.015
    later = dropped(tf.ones([20000], tf.int64), config, seeds, (places, 4)).numpy()
    assert abs(np.mean((first == 2) & (later == 2)) - 0.0625) < 0.01
    part = dropped(tf.ones([5], tf.int64), config, seeds[:5], (places[7:12], 3)).numpy()
    np.testing.assert_array_equal(part, first[7:12])


@pytest.mark.parametrize("name", ["dsm", "ssm", "ssm_vr", "sm"])
def test_the_conditional_score_of_a_mixture_has_the_least_loss(name):
    # Two classes, N(-1, 1/4) and N(2, 1/4) in each of 4 numbers; noise of 1/2 makes 1/2 of the 1/4.
    sigma, count = 0.5, 4000
    labels = np.arange(count) % 2
    means = np.array([-1.0, 2.0], np.float32)
    data = means[labels][:, None, None, None] + 0.5 * RNG.normal(size=[count, 2, 2, 1])
    objective = Objective(name, Perturbation([sigma], dequantize=False))
    seeds, labels = tf.fill([count], tf.constant(3, tf.int64)), tf.constant(labels, tf.int32)

    def conditional(x, levels, labels):
        mean = tf.gather(tf.constant(means), labels)[:, None, None, None]
        return (mean - x) / 0.5

    def unconditional(x, levels, labels):  # of the two together, for 4 numbers of one class
        squares = [tf.reduce_sum(tf.square(x - m), [1, 2, 3]) for m in means]
        weights = tf.nn.softmax(-tf.stack(squares, 1))
        mean = tf.linalg.matvec(weights, tf.constant(means))[:, None, None, None]
        return (mean - x) / 0.5

    def wrong(x, levels, labels):
        return conditional(x, levels, 1 - labels)

    def shifted(x, levels, labels):
        return conditional(x, levels, labels) + 0.3

    def loss(score):
        network = labelling(score, labels)
        images = tf.constant(data, tf.float32)
        return float(
            tf.reduce_mean(objective.per_example(network, images, seeds, (tf.range(count), 0))[0])
        )

    least = loss(conditional)
    assert least <= loss(unconditional) + 1e-3 and least < loss(shifted) and least + 5 < loss(wrong)


def test_the_third_generation_gets_its_labels(tiny_config):
    config = tiny_config(
        model="ddpmpp", continuous=True, sde="vp", features=8, num_levels=40, sigma_begin=1.0,
        class_conditional=True, class_names=("a", "b"),
    )  # fmt: skip
    given, labels = [], tf.constant([0, 1, 2])

    def network(x, condition, labels=None, **kwargs):
        given.append(labels.numpy().tolist())
        return x

    seeds = tf.fill([3], tf.constant(3, tf.int64))
    objective_of(config).per_example(
        labelling(network, labels), tf.zeros([3, 8, 8, 1]), seeds, (tf.range(3), 0)
    )
    assert given == [[0, 1, 2]]


def test_test_losses_know_the_labels(tiny_config):
    config = tiny_config(class_conditional=True, class_names=("0", "1", "2"), dataset="arrays")
    seen = []

    def network(x, levels, labels=None):
        tf.py_function(lambda value: seen.extend(value.numpy().tolist()), [labels], [])
        return tf.zeros_like(x)

    config = dataclasses.replace(config, eval_batches=4)
    TestLoss(network, source(), config).compute()
    assert sorted(seen) == sorted(LABELS.tolist())
    plain = TestLoss(lambda x, levels: tf.zeros_like(x), from_arrays(IMAGES), config)
    assert not plain.has_labels and plain.compute() > 0


def code_of(main, argv):
    with pytest.raises(SystemExit) as ended:
        run_command(main, argv)
    return ended.value.code


@pytest.fixture
def tiny_networks(monkeypatch):
    for module in (training_state, checkpoints):
        monkeypatch.setattr(module, "build_network", TinyLabelled)


@pytest.mark.usefixtures("graphs_as_written")
@pytest.mark.parametrize("networks", ["tiny", pytest.param("real", marks=pytest.mark.slow)])
def test_a_run_by_the_command_resumed_and_evaluated(
    networks, tmp_path, monkeypatch, capsys, request
):
    if networks == "tiny":
        request.getfixturevalue("tiny_networks")
    monkeypatch.chdir(tmp_path)
    argv = ["train.py", *FLAGS, "--class_conditional", "--workdir=run"]
    assert code_of(train_main, [*argv, "--num_steps=1"]) == 0
    assert code_of(train_main, [*argv, "--num_steps=2"]) == 0
    run = checkpoints.open_run("run")
    assert run.step == 2 and run.config.class_names == tuple("0123456789")
    assert run.network.num_classes == 10
    said = []
    options = {"num_images": 2, "batch_size": 2, "ode_tolerance": 0.1, "say": said.append}
    evaluate_run("run", test_loss=True, bits_per_dim=True, **options)
    assert [line.endswith(", with their labels") for line in said] == [False, True, True, False]
    capsys.readouterr()
    assert code_of(train_main, [*argv, "--num_steps=3", "--seed=7"]) == 2
    assert "--seed" in capsys.readouterr().err


def test_a_command_whose_data_have_no_labels(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", IMAGES)
    flags = [flag for flag in FLAGS if flag != "--dataset=digits"]
    argv = ["train.py", "--dataset=arrays", "--data_dir=a.npy", "--image_size=8", "--channels=1"]
    argv += [*flags, "--class_conditional", "--num_steps=1"]
    assert code_of(train_main, argv) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: --class_conditional=true: arrays a.npy has no labels: save")


def test_reference_weights_know_no_classes(tmp_path, capsys, request):
    official = request.path.parents[1] / "golden" / "official_checkpoint_ngf8.pth"
    argv = ["import", str(official), str(tmp_path / "out"), "--class_conditional"]
    assert code_of(import_main, argv) == 2
    assert "know no classes" in capsys.readouterr().err


@pytest.mark.usefixtures("tiny_networks")
def test_arrays_with_labels_train_a_conditional_network(tmp_path):
    tiny = {"features": 2, "num_levels": 2, "batch_size": 8, "sample_every": 0, "num_steps": 1}
    names = np.array(["eel", "cat", "dog"])[LABELS]
    tests = {"test_images": IMAGES[:8], "test_labels": names[:8], "eval_every": 1}
    run = train_arrays(IMAGES, tmp_path / "run", labels=names, **tests, **tiny)
    assert run.config.class_names == ("cat", "dog", "eel") and run.network.num_classes == 3
    for wrong in ({"labels": names, "class_conditional": False}, {"class_names": ["a", "b"]}):
        with pytest.raises(ValueError):
            train_arrays(IMAGES, tmp_path / "other", **wrong, **tiny)
