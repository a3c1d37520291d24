"""Training a run from its first step, or its newest checkpoint, to its last."""

import dataclasses
import functools
import time

import tensorflow as tf

from ncsn_tf import compat
from ncsn_tf.checkpoints import RunCheckpoints
from ncsn_tf.data import training_batches
from ncsn_tf.errors import UserError
from ncsn_tf.hooks import Every, Reporter, SampleGrid, TestLoss, deferred_signals, format_time
from ncsn_tf.sources import run_source
from ncsn_tf.state import TrainingState
from ncsn_tf.step import TrainingStep, is_cpu

_print = functools.partial(print, flush=True)


def train(config, strategy, say=_print):
    """Train until `config.num_steps`, or until a signal asks for an end.

    Resumes by itself from the newest checkpoint of `config.run_dir`; a resumed run continues bit
    for bit as it would have gone on (on a CPU; elsewhere with `config.deterministic`).

    Args:
        config: the run's `Config`.
        strategy: the distribution strategy to train under.
        say: called with each line for the terminal before the loop starts.

    Returns:
        the `TrainingState`, its newest checkpoint written.

    Raises:
        ConfigError, UserError: what must be put right; what was written before is intact.
    """
    started = time.perf_counter()
    config.check_replicas(strategy.num_replicas_in_sync)

    # The variables, and the checkpoint that may already hold their values.
    state = TrainingState(config, strategy)
    checkpoints = RunCheckpoints(state, config)
    resumed = checkpoints.restore()
    first_step = int(state.step.numpy())
    devices = strategy.num_replicas_in_sync
    say(
        f"{'Resuming' if resumed else 'Starting'} {config.run_dir} at step {first_step} of "
        f"{config.num_steps} on {devices} device{'s'[: devices > 1]}"
    )
    if first_step >= config.num_steps:
        say("Nothing left to train; --num_steps sets a later end")
        return state
    config.save(config.run_dir / "config.json")

    # The batches of every step from here on.
    source = run_source(config, "train")
    batches = iter(
        strategy.experimental_distribute_dataset(
            training_batches(
                source,
                batch_size=config.batch_size,
                seed=config.seed,
                start_step=first_step,
                random_flip=config.random_flip,
            )
        )
    )

    # The compiled step, and what happens between steps.
    step_fn = TrainingStep(state, _without_slow_xla(config, strategy, say), strategy)
    writer = tf.summary.create_file_writer(str(config.run_dir / "tensorboard"))
    reporter = Reporter(config, step_fn.totals, writer, first_step)
    hooks = _hooks(config, state, step_fn, reporter, checkpoints)

    requests = []
    try:
        with deferred_signals(requests.append):
            step = first_step
            while step < config.num_steps:
                count = _steps_at_once(config, hooks, step)
                if config.steps_per_execution > 1:
                    step_fn.run_many(batches, tf.constant(count))
                else:
                    step_fn.run(next(batches))
                if step == first_step:
                    _report_first_step(state, reporter, step + count, time.perf_counter() - started)
                step += count
                reporter.advance(count)
                is_last = step == config.num_steps
                for hook in hooks:
                    if hook.is_due(step, is_last):
                        hook.action(step)
                if requests:
                    checkpoints.save()  # the request may have come after this step's hooks
                    reporter.say(f"{requests[0]}: saved step {step}; the same command resumes")
                    break
    finally:
        reporter.close()
    return state


def _steps_at_once(config, hooks, step):
    """How many steps the next call takes: up to the next hook, and no further."""
    until_hook = min(hook.interval - step % hook.interval for hook in hooks)
    return min(config.steps_per_execution, until_hook, config.num_steps - step)


def _without_slow_xla(config, strategy, say):
    """The config, without `jit_compile` where XLA would take minutes: that is said."""
    if not config.jit_compile or compat.XLA_ON_CPU or not is_cpu(strategy):
        return config
    say(
        f"--jit_compile is off: XLA of TensorFlow {tf.__version__} takes over eight minutes to "
        "compile the network for a CPU"
    )
    return dataclasses.replace(config, jit_compile=False)


def _hooks(config, state, step_fn, reporter, checkpoints):
    """In order of execution: the checkpoint is first, so that no picture can lose a step."""

    def report(step):
        reporter.report(step)
        _stop_if_diverged(state, config)

    def save(step):
        checkpoints.save()
        reporter.restart_clock(step)

    hooks = [Every(config.log_every, report), Every(config.checkpoint_every, save)]
    if config.eval_every:
        hooks.append(Every(config.eval_every, _Evaluate(config, state, reporter)))
    if config.sample_every:
        hooks.append(Every(config.sample_every, _Draw(config, state, reporter)))
    return hooks


class _Evaluate:
    """Test loss of the evaluation network; its data are read when it is first due."""

    def __init__(self, config, state, reporter):
        self.config, self.state, self.reporter = config, state, reporter
        self.test_loss = None

    def __call__(self, step):
        if self.test_loss is None:
            source = run_source(self.config, "test")
            self.test_loss = TestLoss(self.state.evaluation_network, source, self.config)
        self.state.refresh_average()
        value = self.test_loss.compute()
        self.reporter.write(step, {"test/loss": value})
        if not self.reporter.interactive:
            self.reporter.say(f"step {step} of {self.config.num_steps}  test loss {value:.1f}")
        self.reporter.restart_clock(step)


class _Draw:
    """A grid of samples of the evaluation network."""

    def __init__(self, config, state, reporter):
        self.state, self.reporter = state, reporter
        self.grid = SampleGrid(state.evaluation_network, config)

    def __call__(self, step):
        started = time.perf_counter()
        self.state.refresh_average()
        self.reporter.write_picture(step, "samples", self.grid.draw(step))
        took = format_time(time.perf_counter() - started)
        self.reporter.say(f"samples/step-{step:07d}.png drawn in {took}")
        self.reporter.restart_clock(step)


def _report_first_step(state, reporter, step, seconds):
    state.step.numpy()  # waits for the step to end
    reporter.say(f"First step done {seconds:.1f} s after the start")
    reporter.restart_clock(step)


def _stop_if_diverged(state, config):
    """Raises when too many steps in a row were not finite. Read only where a report is due."""
    if int(state.worst_bad_steps.numpy()) >= config.max_bad_steps:
        raise UserError(
            f"the loss or its gradient was not finite for {int(state.worst_bad_steps.numpy())} "
            f"steps in a row (--max_bad_steps={config.max_bad_steps}); the weights of the last "
            "good step were kept, and the checkpoints are intact: try a smaller --learning_rate"
        )
