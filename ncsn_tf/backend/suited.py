"""What suits the devices of a strategy: an arithmetic, and whether XLA compiles for them."""

import tensorflow as tf

from ncsn_tf.backend.choices import PRECISIONS
from ncsn_tf.backend.devices import accelerators_of

_FLOAT32, _BFLOAT16 = PRECISIONS
# From this generation on (Ampere), NVIDIA's devices multiply matrices of bfloat16.
_WITH_BFLOAT16 = (8, 0)


def suited_precision(strategy: tf.distribute.Strategy) -> str:
    """One of `choices.PRECISIONS`: bfloat16 where all devices multiply it, float32 elsewhere.

    Example:
        >>> from ncsn_tf.backend.devices import mirrored_strategy
        >>> suited_precision(mirrored_strategy(["CPU:0"]))
        'float32'
    """
    generations = [
        details.get("compute_capability", (0, 0)) for details in accelerators_of(strategy)
    ]
    is_fast = bool(generations) and min(generations) >= _WITH_BFLOAT16
    return _BFLOAT16 if is_fast else _FLOAT32


def xla_error(strategy: tf.distribute.Strategy) -> str:
    """What XLA says where it cannot compile for the first device of a strategy; "" where it can.

    An installation may lack what XLA needs and TensorFlow itself does not.

    Example:
        >>> from ncsn_tf.backend.devices import mirrored_strategy
        >>> xla_error(mirrored_strategy(["CPU:0"]))
        ''
    """
    compiled = tf.function(tf.exp, jit_compile=True, autograph=False)  # of CUDA's own library
    try:
        with tf.device(strategy.extended.worker_devices[0]):
            compiled(tf.zeros([2])).numpy()
    except tf.errors.OpError as error:
        return error.message.strip().partition("\n")[0] or type(error).__name__
    return ""
