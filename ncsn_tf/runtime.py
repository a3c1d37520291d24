"""Starts TensorFlow for a command: quiet, with the devices that were asked for."""

import contextlib
import os
import sys
import tempfile

from ncsn_tf.errors import UserError


def start_tensorflow(num_virtual_devices=0, deterministic=False):
    """Import TensorFlow, set its devices up, and choose the distribution strategy.

    Args:
        num_virtual_devices: split the CPU into this many devices; 0 leaves it whole.
        deterministic: operations that give the same bits in every run.

    Returns:
        a `tf.distribute.MirroredStrategy` over all accelerators, or over all (virtual) CPUs.

    Raises:
        UserError: when the CPU cannot be split.
    """
    with quietly():
        import tensorflow as tf

        if num_virtual_devices:
            cpu = tf.config.list_physical_devices("CPU")[0]
            parts = [tf.config.LogicalDeviceConfiguration()] * num_virtual_devices
            try:
                tf.config.set_logical_device_configuration(cpu, parts)
            except RuntimeError:
                raise UserError("TensorFlow runs already: its CPU cannot be split") from None
        accelerators = [] if num_virtual_devices else tf.config.list_logical_devices("GPU")
        devices = accelerators or tf.config.list_logical_devices("CPU")
        if _is_quiet():
            tf.get_logger().setLevel("ERROR")
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        return tf.distribute.MirroredStrategy([device.name for device in devices])


def quietly():
    """A context for importing TensorFlow, or starting it, without a word on stderr.

    TensorFlow writes lines about CUDA and oneDNN that no log level silences; they are held back,
    and shown only when the body raises. TF_CPP_MIN_LOG_LEVEL=0 shows them.
    """
    return _held_back_stderr() if _is_quiet() else contextlib.nullcontext()


def _is_quiet():
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") not in ("0", "1")


@contextlib.contextmanager
def _held_back_stderr():
    """File descriptor 2 goes to a temporary file, which is shown only when the body raises."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
