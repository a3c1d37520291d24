"""Starts TensorFlow for a command: quiet, with the devices that were asked for."""

import contextlib
import logging
import os
import platform
import sys
import tempfile

from ncsn_tf.config import CPU_TILE, PARALLEL_TILES
from ncsn_tf.errors import UserError


def start_for_training(config):
    """`start_tensorflow` for the training of a run: as many parts as its batch has tiles.

    With oneDNN, which TensorFlow leaves out on x86 processors without AVX512-VNNI although it is
    faster there too, unless TF_ENABLE_ONEDNN_OPTS says otherwise. (Only here: samples are to be
    those of a server, bit for bit, and a server is started by others.)
    """
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # read when TensorFlow is imported
    replicas = config.num_virtual_devices or 1
    share = config.batch_size // replicas or 1
    parts = replicas * min(PARALLEL_TILES, share // config.tile_of(share, on_cpu=True))
    return start_tensorflow(config.num_virtual_devices, config.deterministic, parts)


def start_for_sampling(num_images, num_virtual_devices=0):
    """`start_tensorflow` for chains of `num_images` at a time: as many parts as they have tiles."""
    with quietly():
        from ncsn_tf.compat import TILES_AT_ONCE

    parts = min(PARALLEL_TILES, num_images // CPU_TILE) if TILES_AT_ONCE else 1
    return start_tensorflow(num_virtual_devices, parallel_parts=parts)


def start_tensorflow(num_virtual_devices=0, deterministic=False, parallel_parts=1):
    """Import TensorFlow, set its devices up, and choose the distribution strategy.

    Args:
        num_virtual_devices: split the CPU into this many devices; 0 leaves it whole.
        deterministic: operations that give the same bits in every run.
        parallel_parts: independent parts that the work has. On a CPU they share the cores, so that
            few of them work on one operation: less of their time is spent waiting for each other.
            TF_NUM_INTRAOP_THREADS, where it is set, decides instead.

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
        if parallel_parts > 1 and not tf.config.list_physical_devices("GPU"):
            _share_cores(tf, parallel_parts)
        accelerators = [] if num_virtual_devices else tf.config.list_logical_devices("GPU")
        devices = accelerators or tf.config.list_logical_devices("CPU")
        if _is_quiet():
            for logger in (tf.get_logger(), logging.getLogger("absl")):
                logger.setLevel(logging.ERROR)
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        return mirrored_strategy([device.name for device in devices])


def mirrored_strategy(devices):
    """A `tf.distribute.MirroredStrategy` over devices of one kind, such as ["CPU:0", "CPU:1"].

    CPUs add their gradients on one of them. TensorFlow would have them meet in collective
    operations, which it numbers anew for every strategy but tells apart by number alone: training
    a second network of another size in the same process would end in a shape mismatch.
    """
    import tensorflow as tf

    on_cpus = all("CPU" in device for device in devices)
    reduction = tf.distribute.ReductionToOneDevice() if on_cpus else None
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)


def _share_cores(tf, parts):
    """Give one operation its part's share of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if "TF_NUM_INTRAOP_THREADS" in os.environ:
        return
    # Where TensorFlow runs already, as in a notebook, its threads stay as they are.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(max(1, -(-cores // parts)))


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
