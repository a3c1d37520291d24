"""Optimizers of TensorFlow Addons: found by name, the same on any number of replicas, resumed."""

import dataclasses

import numpy as np
import pytest
import runs
from training_helpers import TinyNetwork, assert_same_run, cut_back, numbers, replicas, train

from ncsn_tf.backend.compat import KERAS_3
from ncsn_tf.backend.compat_optimizers import import_addons
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.config import Config
from ncsn_tf.training import state as state_module
from ncsn_tf.training.optimizers import make_optimizer

NAMES = (
    *("AdaBelief", "ConditionalGradient", "LAMB", "LazyAdam"),
    *("NovoGrad", "ProximalAdagrad", "RectifiedAdam", "Yogi"),
)
RESUMED = ("AdaBelief", "LAMB", "NovoGrad", "RectifiedAdam", "Yogi")
CONFIG = Config(
    dataset="digits",
    image_size=8,
    channels=1,
    features=2,
    num_levels=2,
    batch_size=4,
    learning_rate=0.01,
    adam_epsilon=0.1,  # large, so that the size of a gradient matters
    ema_decay=0.75,
    num_steps=12,
    checkpoint_every=6,
    log_every=6,
    eval_every=0,
    sample_every=0,
    deterministic=True,
)
needs_addons = pytest.mark.skipif(
    KERAS_3, reason="TensorFlow Addons cannot be imported beside Keras 3: see make test-addons"
)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(state_module, "build_network", TinyNetwork)


def settings(name, workdir, **changes):
    return dataclasses.replace(CONFIG, optimizer=f"Addons>{name}", workdir=str(workdir), **changes)


def weights(state):
    return np.concatenate([np.ravel(weight) for weight in state.network.trainable_variables])


def assert_replicas_agree(state, strategy):
    for variable in state.network.trainable_variables:
        first, second = strategy.experimental_local_results(variable)
        np.testing.assert_array_equal(first, second)


@needs_addons
@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_run_on_two_replicas_is_the_uninterrupted_run_bit_for_bit(name, tiny, tmp_path):
    strategy = replicas(2)
    state, _ = train(settings(name, tmp_path / "whole"), strategy)
    expected = numbers(tmp_path / "whole")
    assert_replicas_agree(state, strategy)

    run_dir = cut_back(tmp_path / "whole", 6, tmp_path / "resumed")
    half = numbers(run_dir)
    state, lines = train(settings(name, run_dir), strategy)
    (line,) = lines
    assert line.startswith(f"Resuming {run_dir} at step 6 of 12 on 2 devices, CPU (")
    assert_same_run(expected, numbers(run_dir))
    assert_replicas_agree(state, strategy)
    # What a resumed run has to restore has indeed changed, and is not the start.
    assert expected["optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE"] == 12
    kernel = "network/begin/kernel/"
    slots = [key for key in half if key.startswith(f"{kernel}.OPTIMIZER_SLOT")]
    assert slots
    for key in [f"{kernel}.ATTRIBUTES/VARIABLE_VALUE", *slots]:
        assert np.any(half[key] != 0)
        assert np.any(half[key] != expected[key]), key


@needs_addons
@pytest.mark.parametrize("name", ["RectifiedAdam", "LAMB", "Yogi"])
def test_two_replicas_train_as_one(name, tiny, tmp_path):
    """Their gradients are summed once: Rectified Adam's first steps are its momentum's."""
    start = weights(state_module.TrainingState(settings(name, tmp_path), replicas(1)))
    one, two = (
        weights(train(settings(name, tmp_path / str(n), num_steps=4), replicas(n))[0])
        for n in (1, 2)
    )
    assert np.median(np.abs(one - start)) > 1e-3
    np.testing.assert_allclose(two, one, rtol=0, atol=2e-5)


@needs_addons
@pytest.mark.parametrize("name", NAMES)
def test_optimizers_take_the_settings_of_the_run(name):
    config = Config(optimizer=f"Addons>{name}", learning_rate=0.25, adam_beta_1=0.5)
    optimizer, elementwise = make_optimizer(config)
    assert type(optimizer) is getattr(import_addons().optimizers, name)
    assert not elementwise
    given = optimizer.get_config()
    assert given["learning_rate"] == 0.25
    assert given.get("beta_1", 0.5) == 0.5


@needs_addons
def test_an_unknown_optimizer_is_named_with_a_hint():
    with pytest.raises(ConfigError, match="Addons>LAMP is not an optimizer; did you mean Addons>L"):
        make_optimizer(Config(optimizer="Addons>LAMP"))


@needs_addons
def test_the_commands_train_resume_and_sample_with_one_of_addons(command_server, tmp_path):
    """With a network of a few weights: the optimizer does the same to each of them."""
    flags = ["--dataset=digits", "--features=2", "--num_levels=2", "--num_steps_each=1"]
    flags += ["--batch_size=4", "--eval_every=0", "--sample_every=0", "--workdir=run"]
    flags += ["--noexport", "--num_virtual_devices=2", "--optimizer=Addons>RectifiedAdam"]

    def run(command, *flags):
        done = command_server.run([runs.NCSN, command, *flags], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    for first, last in [(0, 2), (2, 3)]:
        said = "Resuming" if first else "Starting"
        line, following = run("train", *flags, f"--num_steps={last}")
        assert following.startswith("next: ")
        assert line.startswith(f"{said} run at step {first} of {last} on 2 devices, CPU (")
    sampled = run("sample", "--workdir=run", "--num_samples=2", "--out=samples.png")
    assert sampled == [
        "Sampling from run, averaged weights of step 3",
        "2 network evaluations an image",
        "Wrote samples.png",
    ]


@pytest.mark.skipif(not KERAS_3, reason="this package set has TensorFlow Addons")
def test_without_addons_the_command_names_the_file_to_install(command_server, tmp_path):
    command = ["train.py", "--dataset=digits", "--optimizer=Addons>RectifiedAdam"]
    done = command_server.run([*command, f"--workdir={tmp_path / 'run'}"], cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --optimizer=Addons>RectifiedAdam needs TensorFlow Addons")
    assert "requirements-addons.txt" in line
    assert not (tmp_path / "run").exists()
