"""What happens every so many steps of training: reports, checkpoints, test losses, sample grids."""

import math
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import signals
from ncsn_tf.backend.tiles import in_tiles, training_tile
from ncsn_tf.data import images
from ncsn_tf.data.batches import Source, evaluation_batches
from ncsn_tf.errors import UserError
from ncsn_tf.settings.averages import interval_of
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.labels import each_class
from ncsn_tf.settings.third_rules import is_third
from ncsn_tf.training.objective import objective_of
from ncsn_tf.training.reporter import Reporter, format_time, show_loss
from ncsn_tf.training.run_labels import labelled, labelling
from ncsn_tf.training.run_sampler import sampler_of
from ncsn_tf.training.state import TrainingState


class Every:
    """Calls action(step) at every multiple of `interval`, and at the last step; 0 is never.

    Example:
        >>> every = Every(3, print)
        >>> [step for step in range(1, 8) if every.is_due(step, is_last=step == 7)]
        [3, 6, 7]
        >>> every.steps_until(4)
        2
        >>> Every(0, print).steps_until(4)
        inf

    `is_long`: whether it is left out once an end was asked for.
    """

    def __init__(self, interval: int, action: Callable[[int], None], is_long: bool = False):
        self.interval = interval
        self.action = action
        self.is_long = is_long

    def is_due(self, step: int, is_last: bool) -> bool:
        """Whether the action is due after so many steps."""
        return bool(self.interval) and (is_last or step % self.interval == 0)

    def steps_until(self, step: int) -> float:
        """Steps from `step` to the next multiple of the interval after it: 1 or more."""
        return self.interval - step % self.interval if self.interval else math.inf


def make_hooks(
    state: TrainingState,
    config: Config,
    reporter: Reporter,
    save_step: Callable[[int], None],
    read_test: Callable[[], Source] | None,
    is_chief: bool = True,
    keep_best: Callable[[int], None] | None = None,
    save_averages: Callable[[int], None] | None = None,
) -> list[Every]:
    """In order of execution: the checkpoint is early, so that no picture can lose a step.

    Args:
        state, config, reporter: those of the run.
        save_step: writes the checkpoint of the step at hand, whose number it is given.
        read_test: returns the test images, once a test loss is due; None: there are none.
        is_chief: whether this worker writes; others do nothing at the same steps.
        keep_best: measures the network, and keeps the best checkpoint; None: that is not asked for.
        save_averages: writes a snapshot of the averages of `--ema_power`, which all workers call.
    """
    # Of a session with fewer steps than that, one finite step is wanted.
    most_bad_steps = min(config.max_bad_steps, config.num_steps - int(state.step.numpy()))

    def report(step):
        reporter.report(step)
        _stop_if_diverged(state, config, most_bad_steps)

    def save(step):
        save_step(step)
        reporter.restart_clock(step)

    def snapshot(step):
        save_averages(step)
        reporter.restart_clock(step)

    saving = [Every(config.checkpoint_every, save)]
    if config.ema_power:
        every = interval_of(config.ema_every, config.num_steps, config.checkpoint_every)
        # Before the checkpoint: a run that goes on from it has the snapshot of its step.
        saving.insert(0, Every(every, snapshot))
    if not is_chief:
        return [
            Every(config.log_every, lambda _: _stop_if_diverged(state, config, most_bad_steps)),
            *saving,
            Every(config.eval_every if read_test is not None else 0, _nothing),
            Every(config.sample_every, _nothing),
            Every(config.metric_every, _nothing),
        ]
    hooks = [Every(config.log_every, report), *saving]
    if read_test is not None:
        evaluate = Evaluate(state, config, reporter, read_test)
        hooks.append(Every(config.eval_every, evaluate, is_long=True))
    if config.sample_every:  # otherwise the run's sampler may be one that cannot be made
        draw = DrawGrid(state, config, reporter)
        hooks.append(Every(config.sample_every, draw, is_long=True))
    if keep_best is not None:
        hooks.append(Every(config.metric_every, keep_best, is_long=True))
    return hooks


def _nothing(step):
    """What a worker does where the chief computes: it waits for it in the next step."""


def _stop_if_diverged(state, config, most):
    """Raises when too many steps in a row were not finite. Read only where a report is due."""
    worst = int(state.worst_bad_steps.numpy())
    if worst >= most:
        # Of a variance-preserving equation there are no noise levels to choose.
        levels = ", or noise levels, --sigma_begin and --sigma_end, nearer to 1"
        if is_third(config) and config.sde != "ve":
            levels = ""
        steps = f"{worst} step{'s'[: worst > 1]} in a row"
        raise UserError(
            f"the loss or its gradient was not finite for {steps} "
            f"(--max_bad_steps={config.max_bad_steps}); the weights of the last good step were "
            f"kept, and the checkpoints are intact: try a smaller --learning_rate{levels}"
        )


class Evaluate:
    """Reports the test loss of the evaluation network; its data are read when it is first due."""

    def __init__(
        self,
        state: TrainingState,
        config: Config,
        reporter: Reporter,
        read_test: Callable[[], Source],
    ):
        self.state, self.config, self.reporter = state, config, reporter
        self.read_test = read_test
        self.test_loss = None

    def __call__(self, step: int) -> None:
        if self.test_loss is None:
            self.test_loss = TestLoss(self.state.evaluation_network, self.read_test(), self.config)
        self.state.refresh_average()
        value = self.test_loss.compute()
        self.reporter.write(step, {"test/loss": value})
        if not self.reporter.interactive:
            self.reporter.say(
                f"step {step} of {self.config.num_steps}  test loss {show_loss(value, self.config)}"
            )
        self.reporter.restart_clock(step)


class TestLoss:
    """The run's objective on test images, with the same noise every time.

    The noise is addressed by the complement of the run's seed: training never draws it. A
    class-conditional network is told the labels of the images where they have any.

    Args:
        network: the score network.
        source: the test images.
        config: the run's `Config`; of them it takes `eval_batches` batches.
    """

    __test__ = False  # not a test case, whatever its name says to a test runner

    def __init__(self, network: Callable, source: Source, config: Config):
        self.network = network
        self.config = config
        self.objective = objective_of(config)
        source = labelled(source, config)
        self.has_labels = source.labels is not None
        self.batches = list(
            evaluation_batches(
                source,
                batch_size=config.batch_size,
                num_batches=config.eval_batches,
                with_labels=self.has_labels,
            ).as_numpy_iterator()
        )
        self._mean_loss = tf.function(self._batch_loss, autograph=False)

    def compute(self) -> float:
        """Mean loss over the test batches.

        Raises:
            signals.Interrupted: an end was asked for meanwhile.
        """
        values = []
        for index, batch in enumerate(self.batches):
            batch = batch if self.has_labels else (batch,)
            loss = self._mean_loss(*map(tf.constant, (np.int64(index), *batch)))
            values.append(loss.numpy())  # waits for it
            signals.check()
        return float(np.mean(values))

    def _batch_loss(self, index, images, labels=None):
        config, size = self.config, images.shape[0]

        def losses(images, positions, labels=None):
            seeds = tf.fill(tf.shape(positions), tf.constant(~config.seed, tf.int64))
            network = labelling(self.network, labels)
            return self.objective.per_example(network, images, seeds, (positions, index))[0]

        on_cpu = not tf.config.list_logical_devices("GPU")
        jit_compile = config.settled().jit_compile
        tile = training_tile(size, config.features, on_cpu, config.training_tile, jit_compile)
        parts = (images, tf.range(size)) if labels is None else (images, tf.range(size), labels)
        return tf.reduce_mean(in_tiles(losses, tile, *parts))


class DrawGrid:
    """Draws a grid of samples of the evaluation network: the same seeds each time, one PNG.

    Of a network that knows classes it has a row for each.
    """

    def __init__(self, state: TrainingState, config: Config, reporter: Reporter):
        self.state, self.reporter = state, reporter
        self.sampler = sampler_of(state.evaluation_network, config)
        self.folder = config.run_dir / "samples"
        self.seeds = np.arange(config.num_sample_images)
        self.labels = each_class(config.class_names)

    def __call__(self, step: int) -> None:
        started = time.perf_counter()
        self.state.refresh_average()
        classes = {} if self.labels is None else self.labels.rows(self.seeds)
        samples = images.to_uint8(self.sampler.draw(self.seeds, **classes))
        if self.labels is None:
            grid = images.grid(samples)
        else:
            rows = [samples[places] for places in self.labels.groups(self.seeds)]
            grid = images.rows_grid(rows)
        name = f"step-{step:07d}.png"
        images.save_picture(self.folder / name, grid)
        self.reporter.write_picture(step, "samples", grid)
        took = format_time(time.perf_counter() - started)
        self.reporter.say(f"samples/{name} drawn in {took}")
        self.reporter.restart_clock(step)
