"""The training step: the same on any number of replicas, and harmless when it is not finite."""

import functools
import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
from training_helpers import TinyNetwork

from ncsn_tf import losses
from ncsn_tf.backend import compat
from ncsn_tf.backend.compat import raw_variable, raw_variables
from ncsn_tf.backend.devices import mirrored_strategy
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.training import state as state_module
from ncsn_tf.training.objective import Perturbation
from ncsn_tf.training.state import TrainingState
from ncsn_tf.training.step import Totals, TrainingStep

NUM_STEPS = 4
LEARNING_RATE = 0.003
EMA_DECAY = 0.75


@pytest.fixture(scope="module")
def settings(tiny_config):
    """Settings of a run, changed by name."""
    own = {
        "features": 16,  # with 2, the statistics over them make the loss a chaotic function
        "learning_rate": LEARNING_RATE,
        "adam_epsilon": 0.1,  # large, so that the size of a gradient matters, and not its rounding
        "ema_decay": EMA_DECAY,
        "seed": 5,
    }
    return lambda **changes: tiny_config(**{**own, **changes})


def batch(step):
    """The global batch of a step: float32 [8, 8, 8, 1]."""
    return np.random.default_rng(step).random((8, 8, 8, 1), dtype=np.float32)


def test_the_graphs_of_a_step_are_freed_with_it(settings, monkeypatch):
    """TensorFlow would keep those with a custom gradient, such as that of Keras's sum."""
    graphs = weakref.WeakSet()
    update = TrainingStep._update

    def noted(step, *args):
        graphs.add(tf.compat.v1.get_default_graph())
        update(step, *args)

    monkeypatch.setattr(TrainingStep, "_update", noted)
    run = Run(1, settings(features=2))
    run.train(batch(0))
    assert len(graphs) == 1
    del run
    gc.collect()
    assert len(graphs) == 0


class Run:
    """A state and its compiled step on a number of replicas."""

    def __init__(self, num_replicas, config):
        devices = [f"CPU:{i}" for i in range(num_replicas)]
        self.strategy = mirrored_strategy(devices)
        self.state = TrainingState(config, self.strategy)
        self.step = TrainingStep(self.state, config, self.strategy)

    def train(self, images):
        """One step on a global batch [8, 8, 8, 1], split evenly over the replicas."""
        parts = np.split(images, self.strategy.num_replicas_in_sync)
        self.step.run(
            self.strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(parts[context.replica_id_in_sync_group])
            )
        )

    def copies(self, variable):
        """The value of a variable on each replica."""
        return [copy.numpy() for copy in self.strategy.experimental_local_results(variable)]

    def weights(self):
        return self.copies(self.state.weights.vector)[0]

    def average(self):
        return self.copies(self.state.average.vector)[0]

    def everything(self):
        """Every number that training changes, but for the counters, on every replica."""
        state = self.state
        variables = [state.weights.vector, state.average.vector]
        for part in (state.network, state.evaluation_network, state.optimizer):
            variables += [raw_variable(variable) for variable in part.variables]
        return [copy for variable in variables for copy in self.copies(variable)]

    def counters(self):
        state = self.state
        counters = (state.step, state.bad_steps, state.worst_bad_steps, state.skipped_steps)
        return tuple(int(counter.numpy()) for counter in counters)


class Trace:
    """What a run goes through: its values before the first step and after each one."""

    def __init__(self, run):
        self.run = run
        self.reports = []
        self.weights = [run.weights()]
        self.averages = [run.average()]
        for step in range(NUM_STEPS):
            run.train(batch(step))
            self.reports.append(run.step.totals.report())
            self.weights.append(run.weights())
            self.averages.append(run.average())


@pytest.fixture(scope="module")
def runs(settings):
    """Fresh runs on one and on two replicas. (A new state empties TensorFlow's caches.)"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_module, "build_network", functools.partial(TinyNetwork, width=4))
        return Run(1, settings()), Run(2, settings())


@pytest.fixture(scope="module")
def first_losses(runs):
    """(loss of each example, its level, gradient norm) of the first step, from definitions."""
    state = runs[0].state
    seeds = tf.fill([8], tf.constant(5, tf.int64))
    counters = (tf.range(8), tf.constant(0, tf.int64))
    sigmas = geometric_sigmas(1.0, 0.01, 3)
    perturbation = Perturbation(sigmas, dequantize=True)
    images, levels, noise = perturbation.choose(tf.constant(batch(0)), seeds, counters)
    with tf.GradientTape() as tape:
        per_example = losses.denoising_score_matching(state.network, images, levels, noise, sigmas)
        mean = tf.reduce_mean(per_example)
    norm = tf.linalg.global_norm(tape.gradient(mean, raw_variables(state.network)))
    return per_example.numpy(), levels.numpy(), norm.numpy()


@pytest.fixture(scope="module")
def one(runs, first_losses):
    return Trace(runs[0])


@pytest.fixture(scope="module")
def two(runs, first_losses):
    return Trace(runs[1])


def test_two_replicas_train_as_one(one, two):
    np.testing.assert_array_equal(two.weights[0], one.weights[0])
    for (loss_1, norm_1, levels_1), (loss_2, norm_2, levels_2) in zip(
        one.reports, two.reports, strict=True
    ):
        np.testing.assert_allclose(loss_2, loss_1, rtol=3e-5)
        np.testing.assert_allclose(norm_2, norm_1, rtol=1e-3)
        assert [value is None for value in levels_2] == [value is None for value in levels_1]
        for level_1, level_2 in zip(levels_1, levels_2, strict=True):
            np.testing.assert_allclose(level_2 or 0, level_1 or 0, rtol=1e-4)
    for name in ("weights", "averages"):
        for first, second in zip(getattr(one, name), getattr(two, name), strict=True):
            np.testing.assert_allclose(second, first, rtol=0, atol=5e-5)
    # Adam moves every weight by about the learning rate: the tolerance is a small part of that.
    assert np.median(np.abs(one.weights[1] - one.weights[0])) > 0.3 * LEARNING_RATE


def test_replicas_hold_the_same_weights(two):
    strategy, state = two.run.strategy, two.run.state
    vectors = [state.weights.vector, state.average.vector]
    for variable in vectors + raw_variables(state.network):
        first, second = strategy.experimental_local_results(variable)
        assert (first.device, second.device) == tuple(strategy.extended.worker_devices)
        np.testing.assert_array_equal(first, second)


def test_network_holds_the_trained_weights(one):
    state = one.run.state
    flat = np.concatenate([np.ravel(weight) for weight in state.network.trainable_variables])
    np.testing.assert_array_equal(flat, one.weights[-1])
    state.refresh_average()
    evaluated = state.evaluation_network.trainable_variables
    flat = np.concatenate([np.ravel(weight) for weight in evaluated])
    np.testing.assert_array_equal(flat, one.averages[-1])


def test_first_loss_is_that_of_the_loss_function(one, first_losses):
    per_example, levels, norm = first_losses
    loss, gradient_norm, level_losses = one.reports[0]
    np.testing.assert_allclose(loss, per_example.mean(), rtol=1e-5)
    np.testing.assert_allclose(gradient_norm, norm, rtol=1e-4)
    for level, value in enumerate(level_losses):
        np.testing.assert_allclose(value, per_example[levels == level].mean(), rtol=1e-5)


def test_average_follows_its_formula(one):
    expected = one.weights[0]
    for weights, average in zip(one.weights, one.averages, strict=True):
        if weights is not one.weights[0]:
            expected = EMA_DECAY * expected + (1 - EMA_DECAY) * weights
        np.testing.assert_allclose(average, expected, rtol=1e-6, atol=1e-7)
    assert np.abs(one.averages[-1] - one.weights[-1]).max() > 0.5 * LEARNING_RATE


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_that_is_not_finite_changes_nothing(name, bad, request):
    run = request.getfixturevalue(name).run
    step, bad_steps, _, skipped = run.counters()
    assert bad_steps == 0
    before = run.everything()
    images = batch(0)
    images[-1, 3, 3] = bad  # one example, on the last replica
    run.train(images)
    run.train(images)
    for old, new in zip(before, run.everything(), strict=True):
        np.testing.assert_array_equal(new, old)
    assert run.counters() == (step + 2, 2, 2, skipped + 2)
    assert run.step.totals.report() == (None, None, [None, None, None])

    run.train(batch(1))
    assert run.counters() == (step + 3, 0, 2, skipped + 2)
    assert np.abs(run.weights() - before[0]).max() > 0
    loss, norm, _ = run.step.totals.report()
    assert np.isfinite(loss)
    assert np.isfinite(norm)


def test_totals_are_means_over_the_good_steps():
    totals = Totals(3)
    yes, no = tf.constant(True), tf.constant(False)
    nan = tf.constant(np.nan)
    assert totals.report() == (None, None, [None, None, None])
    totals.add(yes, tf.constant(3.0), tf.constant(1.0), tf.constant([6.0, 0, 2]), [3.0, 0, 1])
    totals.add(no, nan, nan, tf.constant([np.nan] * 3, tf.float32), tf.constant([1.0, 1, 1]))
    totals.add(yes, tf.constant(5.0), tf.constant(2.0), tf.constant([3.0, 0, 6]), [3.0, 0, 1])
    assert totals.report() == (4.0, 1.5, [1.5, None, 4.0])
    assert totals.report() == (None, None, [None, None, None])


@pytest.mark.slow
def test_a_network_of_another_size_can_follow_in_the_same_process(settings, monkeypatch):
    """With collective operations on CPUs, the second one ends in a shape mismatch."""
    for width in (2, 3):
        network = functools.partial(TinyNetwork, width=width)
        monkeypatch.setattr(state_module, "build_network", network)
        run = Run(2, settings(optimizer="SGD"))
        before = run.weights()
        run.train(batch(0))
        first, second = run.copies(run.state.weights.vector)
        assert np.any(first != before)
        np.testing.assert_array_equal(first, second)


# --- other ways to compute the same ---

ARGUMENTS = (batch(0), np.arange(8, dtype=np.int32), np.int64(0))


def gradients_fn(config):
    """() -> (gradient, loss, ...) of the first step from weights that the seed decides."""
    strategy = mirrored_strategy(["CPU:0"])
    step = TrainingStep(TrainingState(config, strategy), config, strategy)
    return lambda: step.gradients(*(tf.constant(each) for each in ARGUMENTS))


def first_gradients(config):
    return gradients_fn(config)()


@pytest.fixture(scope="module")
def plain(settings):
    """`gradients_fn` of the whole batch at once: traced one time for all that is compared to it."""
    return gradients_fn(settings(training_tile=8))


def assert_close(results, expected, tolerance):
    """Gradients by their distance, losses by their ratio."""
    assert tf.norm(results[0] - expected[0]) < tolerance * tf.norm(expected[0])
    np.testing.assert_allclose(results[1], expected[1], rtol=tolerance)


@pytest.mark.slow
@pytest.mark.skipif(not compat.XLA_ON_CPU, reason="XLA of this TensorFlow takes minutes on a CPU")
def test_xla_gives_the_same_gradient(settings, plain):
    assert_close(first_gradients(settings(jit_compile=True)), plain(), 1e-4)


@pytest.mark.slow
def test_bfloat16_gives_nearly_the_same_gradient(settings, plain):
    results, expected = first_gradients(settings(precision="mixed_bfloat16")), plain()
    assert results[0].dtype == tf.float32
    assert_close(results, expected, 0.2)
    assert tf.norm(results[0] - expected[0]) > 1e-4 * tf.norm(expected[0])


# --- tiles ---


@pytest.mark.slow
def test_tiles_give_the_gradient_of_the_batch(settings, plain):
    """And the same bits each time, although two tiles are computed at once."""
    results = {}
    for tile, gradients in ((8, plain), (2, gradients_fn(settings(training_tile=2)))):
        results[tile] = gradients()
        for _ in range(20):
            for value, again in zip(results[tile], gradients(), strict=True):
                np.testing.assert_array_equal(value, again)
    gradient, loss, level_losses, level_counts = results[8]
    parts = results[2]
    assert tf.norm(parts[0] - gradient) < 1e-4 * tf.norm(gradient)
    np.testing.assert_allclose(parts[1], loss, rtol=1e-5)
    np.testing.assert_allclose(parts[2], level_losses, rtol=1e-5)
    np.testing.assert_array_equal(parts[3], level_counts)
