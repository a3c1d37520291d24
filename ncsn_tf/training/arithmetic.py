"""What a run computes in, and whether by XLA: decided once when it starts, for all its workers."""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from ncsn_tf.backend import compat
from ncsn_tf.backend.choices import PRECISIONS
from ncsn_tf.backend.devices import accelerators_of, is_cpu
from ncsn_tf.backend.suited import suited_precision, xla_error
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import AUTO
from ncsn_tf.training import checkpoint_reading
from ncsn_tf.training.checkpoints import saved_config
from ncsn_tf.training.workers import Workers


class Arithmetic(NamedTuple):
    """What became of --precision and --jit_compile.

    Attributes:
        config: the run's `Config`, its precision decided. It is what the run keeps: another device
            goes on with the same arithmetic. The compiler is each session's own.
        jit_compile: whether the training step is compiled with XLA.
        words: both, for the line that names the device.
        refusal: why there is no XLA where it was asked for or would suit; "" otherwise.
    """

    config: Config
    jit_compile: bool
    words: str
    refusal: str


def decide(config: Config, strategy: tf.distribute.Strategy, workers: Workers) -> Arithmetic:
    """The arithmetic of a run that starts or resumes.

    With --precision=auto that of the run, which its newest checkpoint tells; of a new run, what
    suits the device of the chief. With --jit_compile=auto XLA on accelerators for which it can
    compile.

    Raises:
        UserError: checkpoints that cannot be read.
    """
    precision, is_kept = config.precision, False
    if precision == AUTO:
        own = workers.by_chief(lambda: _kept(config))
        suited = suited_precision(strategy)
        precision = PRECISIONS[workers.from_chief(PRECISIONS.index(own or suited))]
        is_kept = precision != suited
    jit_compile, refusal = _compiler(config.jit_compile, strategy)
    words = f"in {precision}{' as it began' * is_kept}{', with XLA' * jit_compile}"
    return Arithmetic(dataclasses.replace(config, precision=precision), jit_compile, words, refusal)


def _kept(config):
    """The precision of the run in the folder; None where there is none."""
    found = checkpoint_reading.newest_intact(config.run_dir, saved_config)
    return None if found is None else found.content.precision


def _compiler(asked, strategy):
    """(whether to compile with XLA, why not)."""
    if asked == AUTO:
        if not accelerators_of(strategy):
            return False, ""
        cause = xla_error(strategy)
        return not cause, cause and f"XLA cannot compile for this device: {cause}"
    if asked and is_cpu(strategy) and not compat.XLA_ON_CPU:
        return False, (
            f"XLA of TensorFlow {tf.__version__} takes over eight minutes to compile the network "
            "for a CPU"
        )
    return asked, ""
