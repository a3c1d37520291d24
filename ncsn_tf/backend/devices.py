"""Devices: how many, and the distribution strategy over them."""

import contextlib
import logging
import os
from collections.abc import Sequence

import tensorflow as tf

from ncsn_tf.backend.quiet import is_quiet, quietly
from ncsn_tf.errors import UserError


def start(
    num_virtual_devices: int = 0, deterministic: bool = False, parallel_parts: int = 1
) -> tf.distribute.MirroredStrategy:
    """Set TensorFlow's devices up and choose the distribution strategy.

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
        if num_virtual_devices:
            cpu = tf.config.list_physical_devices("CPU")[0]
            parts = [tf.config.LogicalDeviceConfiguration()] * num_virtual_devices
            try:
                tf.config.set_logical_device_configuration(cpu, parts)
            except RuntimeError:
                raise UserError("TensorFlow runs already: its CPU cannot be split") from None
        if parallel_parts > 1 and not tf.config.list_physical_devices("GPU"):
            _share_cores(parallel_parts)
        accelerators = [] if num_virtual_devices else tf.config.list_logical_devices("GPU")
        devices = accelerators or tf.config.list_logical_devices("CPU")
        if is_quiet():
            for logger in (tf.get_logger(), logging.getLogger("absl")):
                logger.setLevel(logging.ERROR)
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        return mirrored_strategy([device.name for device in devices])


def mirrored_strategy(devices: Sequence[str]) -> tf.distribute.MirroredStrategy:
    """A `tf.distribute.MirroredStrategy` over devices of one kind, such as ["CPU:0", "CPU:1"].

    CPUs add their gradients on one of them. TensorFlow would have them meet in collective
    operations, which it numbers anew for every strategy but tells apart by number alone: training
    a second network of another size in the same process would end in a shape mismatch.

    Example:
        >>> mirrored_strategy(["CPU:0"]).num_replicas_in_sync
        1
    """
    on_cpus = all("CPU" in device for device in devices)
    reduction = tf.distribute.ReductionToOneDevice() if on_cpus else None
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)


def is_cpu(strategy: tf.distribute.Strategy) -> bool:
    """Whether a strategy computes on CPUs alone.

    Example:
        >>> is_cpu(mirrored_strategy(["CPU:0"]))
        True
    """
    return all("CPU" in device for device in strategy.extended.worker_devices)


def _share_cores(parts):
    """Give one operation its part's share of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if "TF_NUM_INTRAOP_THREADS" in os.environ:
        return
    # Where TensorFlow runs already, as in a notebook, its threads stay as they are.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(max(1, -(-cores // parts)))
