"""Training a run from its first step, or its newest checkpoint, to its last."""

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable

import tensorflow as tf

from ncsn_tf.backend import signals
from ncsn_tf.backend.devices import describe, is_cpu
from ncsn_tf.backend.pace import Pace
from ncsn_tf.data.batches import Source, training_batches
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import show
from ncsn_tf.training import average_files, best_files
from ncsn_tf.training.arithmetic import decide
from ncsn_tf.training.best import KeepBest, Metric
from ncsn_tf.training.checkpoint_files import remove_remains
from ncsn_tf.training.ending import Ending
from ncsn_tf.training.first_call import compiled_by_xla
from ncsn_tf.training.hooks import make_hooks
from ncsn_tf.training.reporter import FOLDER as CURVES
from ncsn_tf.training.reporter import Reporter, Unheard, open_writer
from ncsn_tf.training.resume import RunCheckpoints
from ncsn_tf.training.run_data import check_same_data, run_source
from ncsn_tf.training.run_labels import labelled, with_classes
from ncsn_tf.training.run_lock import run_lock
from ncsn_tf.training.state import TrainingState
from ncsn_tf.training.step import TrainingStep
from ncsn_tf.training.workers import Workers

_print = functools.partial(print, flush=True)


def train(
    config: Config,
    strategy: tf.distribute.Strategy,
    say: Callable[[str], None] = _print,
    source: Source | None = None,
    test_source: Source | None = None,
    metric: Metric | None = None,
) -> TrainingState:
    """Train until `config.num_steps`, or until a signal asks for an end.

    Resumes by itself from the newest checkpoint of `config.run_dir`; a resumed run continues bit
    for bit as it would have gone on (on a CPU; elsewhere with `config.deterministic`).

    Args:
        config: the run's `Config`.
        strategy: the distribution strategy to train under.
        say: called with each line for the terminal before the loop starts.
        source: images of one's own, in place of those of `config.dataset`; to resume the run, the
            same again.
        test_source: images for the test loss beside them; without any there is no test loss.
        metric: the figure of quality that is computed every `config.metric_every` steps; the
            checkpoint with the best one is kept.

    Returns:
        the `TrainingState`, its newest checkpoint written.

    Raises:
        ConfigError, UserError: what must be put right; what was written before is intact.
        UserError: another process trains this run.
    """
    started = time.perf_counter()
    config.check_replicas(strategy.num_replicas_in_sync)
    if config.metric_every and metric is None:
        raise ConfigError(f"{show('metric_every', config.metric_every)} needs a figure to compute")
    readers = _readers(config, source, test_source)
    workers = Workers(strategy)
    with contextlib.ExitStack() as stack:
        lock = functools.partial(stack.enter_context, run_lock(config.run_dir))
        check_lock = workers.by_chief(lock) or _nothing
        return _train_alone(config, strategy, workers, say, readers, metric, check_lock, started)


def _train_alone(config, strategy, workers, say, readers, metric, check_lock, started):
    """`train`, while no other process does, but for the workers of the strategy."""
    read, read_test = readers
    arithmetic = decide(config, strategy, workers)
    config, source = arithmetic.config, None
    if config.class_conditional:  # the data decide how large the network's tables are
        source = workers.by_all(read)
        check_same_data(source, workers)
        config = workers.by_all(functools.partial(with_classes, config, source))
        source = labelled(source, config)

    # The variables, and the checkpoint that may already hold their values.
    state = TrainingState(config, strategy)
    checkpoints = RunCheckpoints(state, config, check_lock)
    resumed = workers.resume(checkpoints)
    if workers.is_chief:
        remove_remains(config.run_dir, config.keep_checkpoints)
        best_files.remove_remains(config.run_dir)
    first_step = int(state.step.numpy())
    if workers.count > 1:
        role = "which writes the run" if workers.is_chief else "worker 0 writes the run"
        say(f"Worker {workers.index} of {workers.count}, {role}")
    say(
        f"{'Resuming' if resumed else 'Starting'} {config.run_dir} at step {first_step} of "
        f"{config.num_steps} on {describe(strategy)}, {arithmetic.words}"
    )
    if first_step >= config.num_steps:
        say("Nothing left to train; --num_steps sets a later end")
        return state
    workers.by_chief(lambda: config.save(config.run_dir / "config.json"))
    if config.ema_power:
        workers.by_chief(lambda: average_files.remove_after(config.run_dir, first_step))
    if config.metric_every:
        workers.by_chief(functools.partial(metric.open, config))

    # The batches of every step from here on.
    if source is None:
        source = workers.by_all(read)
        check_same_data(source, workers)
    batches = iter(
        workers.distribute(
            functools.partial(
                training_batches,
                source,
                batch_size=config.batch_size,
                seed=config.seed,
                start_step=first_step,
                random_flip=config.random_flip,
                with_labels=config.class_conditional,
            )
        )
    )

    # The compiled step, and what happens between steps.
    if arithmetic.refusal:
        say(f"--jit_compile is off: {arithmetic.refusal}")
    compiled = dataclasses.replace(config, jit_compile=arithmetic.jit_compile)
    step_fn = TrainingStep(state, compiled, strategy)
    writer = workers.by_chief(lambda: open_writer(config.run_dir / CURVES))
    if workers.is_chief:
        reporter = Reporter(config, step_fn.totals, writer, first_step, is_cpu(strategy))
    else:
        reporter = Unheard()
    ending = Ending(checkpoints, reporter.say, first_step, resumed, workers)
    keep_best = None
    if config.metric_every and workers.is_chief:
        keep_best = KeepBest(state, config, reporter, metric, ending.save_best)
    hooks = make_hooks(
        *(state, config, reporter, ending.save, read_test, workers.is_chief, keep_best),
        save_averages=ending.save_averages,
    )

    pace = Pace(seconds=2.0)
    many = config.steps_per_execution > 1  # in a call, which takes its batches itself
    try:
        with ending.deferred():
            step, is_asked = first_step, False
            while step < config.num_steps:
                # By its own clock each worker would make another number of steps in a call.
                most = pace.most if workers.count == 1 else math.inf
                count = _steps_at_once(config, hooks, step, most)
                with ending.until_made(step):  # a wait for data is no step
                    images = None if many else next(batches)
                if workers.count == 1 and signals.asked() and step > first_step:
                    break
                is_compiled = arithmetic.jit_compile and step == first_step
                compiling = compiled_by_xla() if is_compiled else contextlib.nullcontext()
                with pace.call(count), ending.making_step(step), compiling:
                    if many:
                        step_fn.run_many(batches, tf.constant(count))
                    else:
                        step_fn.run(images)
                    if step == first_step:
                        state.step.numpy()  # waits for the step to end
                if step == first_step:
                    took = time.perf_counter() - started
                    reporter.say(f"First step done {took:.1f} s after the start")
                    reporter.restart_clock(step + count)
                step += count
                ending.step = step
                reporter.advance(count)
                with contextlib.suppress(signals.Interrupted):  # from a test loss or a grid
                    for hook in hooks:
                        if hook.is_long and signals.asked():
                            continue
                        if hook.is_due(step, step == config.num_steps):
                            hook.action(step)
                is_asked = workers.any(signals.asked())
                if is_asked:
                    break
            # One of the last moment: of several workers, all save and wait or none does.
            if is_asked or workers.any(signals.asked()):
                ending.save_and_say(step)
    finally:
        reporter.close()
    return state


def _nothing():
    """No other process is to be watched: that is the chief's."""


def _readers(config, source, test_source):
    """Functions that return the training images and the test images: the second None without any.

    Raises:
        ConfigError: images of one's own that are not of the network's shape.
    """
    for own in (source, test_source):
        if own is not None and tuple(own.image_shape) != config.image_shape:
            raise ConfigError(
                f"{own.name}: images of {_by(own.image_shape)} numbers cannot train a network for "
                f"{_by(config.image_shape)} (--image_size, --channels)"
            )
    of_the_run = functools.partial(run_source, config)
    read = functools.partial(of_the_run, "train") if source is None else lambda: source
    if test_source is not None:
        return read, lambda: test_source
    return read, functools.partial(of_the_run, "test") if source is None else None


def _by(shape):
    return " x ".join(map(str, shape))


def _steps_at_once(config, hooks, step, most=math.inf):
    """How many steps the next call takes: up to the next hook, and no further; `most` at most."""
    until_hook = min(hook.steps_until(step) for hook in hooks)
    return min(config.steps_per_execution, until_hook, config.num_steps - step, most)
