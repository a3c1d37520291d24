"""Training on an equation through the compiled step: dropout, warm-up, clipping, the average."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from training_helpers import assert_same_run, cut_back, numbers, replicas, train

from ncsn_tf.models.layers import Convolution
from ncsn_tf.training import state as state_module
from ncsn_tf.training.dropout import dropout_noise
from ncsn_tf.training.reporter import time_scalars
from ncsn_tf.training.state import TrainingState
from ncsn_tf.training.step import TrainingStep

THIRD = {
    "model": "ddpmpp",
    "sde": "vp",
    "continuous": True,
    "features": 4,
    "multipliers": "1,2",
    "num_res_blocks": 1,
    "attention_sizes": "4",
    "num_levels": 25,
    "dropout": 0.3,
    "dequantize": False,
    "batch_size": 16,
    "training_tile": 4,
    "learning_rate": 0.01,
    "ema_decay": 0.9,
    "average_ramp": True,
    "warmup_steps": 3,
    "gradient_clip": 1.0,
    "deterministic": True,
    "sampler": "pc",
    "num_steps_each": 1,
    "sample_every": 0,
    "log_every": 4,
    "eval_every": 4,
    "checkpoint_every": 4,
    "num_steps": 8,
}


class TinyThird(keras.Model):
    """Two convolutions with dropout between them, told the condition, in place of DDPM++."""

    def __init__(self, config, recompute=False):
        super().__init__(autocast=False)
        self.rate = config.dropout
        self.image_shape = config.image_shape
        self.begin, self.end = Convolution(4), Convolution(config.channels)
        self.begin.build((None, 8, 8, config.channels))
        self.end.build((None, 8, 8, 4))
        self.built = True

    def call(self, x, condition, training=None, dropout_noise=None):
        h = tf.nn.silu(self.begin(x))
        if training:
            noise = dropout_noise(7, (tf.shape(h)[0], *h.shape[1:]))
            h = h * tf.cast(noise >= self.rate, tf.float32)
        return self.end(h) * tf.reshape(1.0 + tf.cast(condition, tf.float32) / 999.0, [-1, 1, 1, 1])


@pytest.fixture(scope="module")
def settings(tiny_config):
    """Settings of a run of the third generation, changed by name."""
    return lambda **changes: tiny_config(**{**THIRD, **changes})


@pytest.fixture
def tiny_third(monkeypatch):
    """Training of a network of four weights, whose step is compiled in no time."""
    monkeypatch.setattr(state_module, "build_network", TinyThird)


def test_a_run_resumes_bit_for_bit_and_splits(tiny_third, settings, tmp_path):
    """A run, its second half again, and the run on two replicas, are the same."""
    config = settings(workdir=str(tmp_path / "one"))
    train(config)
    assert config.run_dir.joinpath("tensorboard").is_dir()
    run_dir = cut_back(config.run_dir, 4, tmp_path / "again")
    train(settings(eval_every=0, workdir=str(run_dir)))
    assert_same_run(numbers(config.run_dir), numbers(run_dir))
    train(settings(eval_every=0, workdir=str(tmp_path / "two")), replicas(2))
    one, two = numbers(config.run_dir), numbers(tmp_path / "two")
    weights = [name for name in one if name.startswith(("network/", "average/"))]
    assert len(weights) >= 8
    for name in weights:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-5)


class Steps:
    """A state, its step, and what becomes of the weights."""

    def __init__(self, config):
        strategy = replicas(1)
        self.state = TrainingState(config, strategy)
        self.step = TrainingStep(self.state, config, strategy)
        self.weights, self.averages, self.reports = [self._weights()], [self._average()], []

    def train(self, count):
        for index in range(count):
            images = np.random.default_rng(index).random((16, 8, 8, 1), dtype=np.float32)
            self.step.run(tf.constant(images))
            self.weights.append(self._weights())
            self.averages.append(self._average())
            self.reports.append(self.step.totals.report())
        return self

    def _weights(self):
        return self.state.weights.vector.numpy()

    def _average(self):
        return self.state.average.vector.numpy()


def test_warmup_clipping_and_the_average_of_each_update(tiny_third, settings):
    """A step that is skipped, here the first, is none."""
    clip, rate = 0.05, 0.2
    run = Steps(settings(optimizer="SGD", learning_rate=rate, gradient_clip=clip))
    run.step.run(tf.fill([16, 8, 8, 1], np.float32(np.nan)))
    assert run.step.totals.report()[0] is None
    run.train(5)
    assert all(norm > clip for _, norm, _ in run.reports)  # which is that before clipping
    moved = np.linalg.norm(np.diff(run.weights, axis=0), axis=1)
    np.testing.assert_allclose(moved, rate * clip * np.minimum(np.arange(5) / 3, 1), rtol=1e-3)
    average = run.averages[0]
    for count, (weights, found) in enumerate(
        zip(run.weights[1:], run.averages[1:], strict=True), 1
    ):
        decay = min(0.9, (1 + count) / (10 + count))
        average = average + (1 - decay) * (weights - average)
        np.testing.assert_allclose(found, average, rtol=0, atol=1e-6)


def test_dropout_is_on_in_training_only_and_the_same_in_tiles(tiny_third, settings):
    tiles, whole = (Steps(settings(training_tile=tile)).train(1) for tile in (4, 16))
    np.testing.assert_allclose(tiles.reports[0][:2], whole.reports[0][:2], rtol=1e-4)
    state, objective = whole.state, whole.step.objective
    seeds, counters = tf.fill([16], tf.constant(1234, tf.int64)), (tf.range(16), 0)
    images = np.random.default_rng(0).random((16, 8, 8, 1), dtype=np.float32)
    without, _ = objective.per_example(state.network, tf.constant(images), seeds, counters)
    assert abs(float(tf.reduce_mean(without)) - whole.reports[0][0]) > 1e-4


@pytest.mark.slow
def test_the_network_itself_recomputed_and_in_bfloat16(settings):
    own = functools.partial(settings, model="ncsnpp", sde="ve", sigma_begin=5.0, multipliers="1")
    plain, recomputed = (Steps(own(recompute=recompute)).train(3) for recompute in (False, True))
    # Dropout is the same when a block is computed again.
    for first, second in zip(plain.reports, recomputed.reports, strict=True):
        np.testing.assert_allclose(second[:2], first[:2], rtol=1e-3)
    np.testing.assert_allclose(recomputed.weights[-1], plain.weights[-1], rtol=0, atol=1e-3)
    assert np.abs(plain.weights[-1] - plain.weights[0]).max() > 3e-3
    rounded = Steps(own(precision="mixed_bfloat16")).train(3)
    for first, second in zip(plain.reports, rounded.reports, strict=True):
        np.testing.assert_allclose(second[0], first[0], rtol=0.03)
    assert rounded.reports[-1][0] != plain.reports[-1][0]


def test_dropout_noise_is_addressed():
    seeds, step = tf.fill([6], tf.constant(3, tf.int64)), tf.constant(4, tf.int64)
    noise = dropout_noise(seeds, tf.range(6), step)
    whole = noise(5, (6, 8, 8, 4)).numpy()
    part = dropout_noise(seeds[4:], tf.constant([4, 5]), step)(5, (2, 8, 8, 4)).numpy()
    np.testing.assert_array_equal(part, whole[4:])
    compiled = tf.function(lambda: noise(5, (6, 8, 8, 4)), jit_compile=True, autograph=False)
    np.testing.assert_array_equal(compiled(), whole)
    others = [noise(6, (6, 8, 8, 4)), dropout_noise(seeds, tf.range(6), step + 1)(5, whole.shape)]
    rows = np.concatenate([whole, *others]).reshape([18, -1])
    assert len({row.tobytes() for row in rows}) == 18
    assert np.abs(np.corrcoef(rows) - np.eye(18)).max() < 0.3
    np.testing.assert_allclose(np.mean(whole >= 0.1), 0.9, atol=0.02)


def test_curves_by_time():
    scalars = time_scalars([float(step) for step in range(1000)])
    assert len(scalars) == 10
    assert scalars["train/loss_t_0.00_to_0.10"] == 49.5
    assert scalars["train/loss_t_0.90_to_1.00"] == 949.5
