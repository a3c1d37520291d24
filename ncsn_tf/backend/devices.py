"""Devices: how many, and the distribution strategy over them."""

import contextlib
import glob
import logging
import os
import platform
from collections.abc import Sequence

import tensorflow as tf

from ncsn_tf.backend import compat, signals
from ncsn_tf.backend.quiet import is_quiet, quietly
from ncsn_tf.errors import RestartError, UserError, warn

# What the driver of NVIDIA devices shows of each.
_NVIDIA = ("/proc/driver/nvidia/gpus/*", "/dev/nvidia[0-9]*")


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

    Memory of accelerators is taken as it is needed. Where there is an NVIDIA device that TensorFlow
    cannot use, a warning says so.

    Returns:
        a `tf.distribute.MirroredStrategy` over all accelerators, or over all (virtual) CPUs.

    Raises:
        UserError: when the CPU cannot be split.
    """
    with quietly():
        _split_cpu(num_virtual_devices)
        _settle_devices(parallel_parts)
        gpus = [] if num_virtual_devices else tf.config.list_logical_devices("GPU")
        devices = gpus or tf.config.list_logical_devices("CPU")
        _settle_operations(deterministic)
        strategy = mirrored_strategy([device.name for device in devices])
    if not tf.config.list_physical_devices("GPU") and not num_virtual_devices:
        _warn_of_unused_accelerators()
    return strategy


def _warn_of_unused_accelerators():
    """Say where a user would compute on the CPU without knowing: TensorFlow's own line is held."""
    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if is_hidden or not any(map(glob.glob, _NVIDIA)):
        return
    if tf.test.is_built_with_cuda():
        cure = (
            'its CUDA libraries or the driver are missing: pip install "tensorflow[and-cuda]=='
            f'{tf.__version__}" (requirements-gpu.txt); TF_CPP_MIN_LOG_LEVEL=0 shows what it says'
        )
    else:
        cure = "this TensorFlow was built without CUDA: install one that was"
    warn(
        "TensorFlow cannot use the NVIDIA device of this machine and computes on the CPU; "
        f"{cure}. CUDA_VISIBLE_DEVICES=-1 chooses the CPU without this line"
    )


def describe(strategy: tf.distribute.Strategy) -> str:
    """What a strategy computes on, in words.

    Example:
        >>> describe(mirrored_strategy(["CPU:0"])).startswith("1 device, CPU")
        True
    """
    count = strategy.num_replicas_in_sync
    return f"{count} device{'s'[: count > 1]}, {', '.join(dict.fromkeys(_names(strategy)))}"


def _names(strategy):
    """The kind of each device."""
    accelerators = accelerators_of(strategy)
    if not accelerators:
        yield f"CPU ({platform.machine()}, {_num_cores()} cores)"
    for details in accelerators:
        yield details.get("device_name", "GPU")


def accelerators_of(strategy: tf.distribute.Strategy) -> list[dict[str, object]]:
    """What TensorFlow knows of each accelerator that a strategy computes on here; [] on CPUs.

    Example:
        >>> accelerators_of(mirrored_strategy(["CPU:0"]))
        []
    """
    gpus = {gpu.name.rpartition(":")[2]: gpu for gpu in tf.config.list_physical_devices("GPU")}
    return [
        tf.config.experimental.get_device_details(gpus[device.rpartition(":")[2]])
        for device in strategy.extended.worker_devices
        if "CPU" not in device
    ]


def start_worker(
    num_virtual_devices: int = 0, deterministic: bool = False, parallel_parts: int = 1
) -> tf.distribute.MultiWorkerMirroredStrategy:
    """As `start`, for one of several processes that train together, which TF_CONFIG describes.

    Gradients are added in a ring over CPUs, by what TensorFlow chooses over accelerators (NCCL).

    Returns:
        a `tf.distribute.MultiWorkerMirroredStrategy` over the devices of all workers. It is there
        when all of them have come.

    Raises:
        RestartError: another worker has gone meanwhile.
    """
    failure = None
    with quietly():
        _split_cpu(num_virtual_devices)
        _settle_devices(parallel_parts)
        accelerators = [] if num_virtual_devices else tf.config.list_physical_devices("GPU")
        implementations = tf.distribute.experimental.CommunicationImplementation
        options = tf.distribute.experimental.CommunicationOptions(
            implementation=implementations.AUTO if accelerators else implementations.RING
        )
        with compat.worker_of_cpus(num_virtual_devices):
            try:
                strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
            except tf.errors.OpError as error:
                failure = error.message.strip().partition("\n")[0]
        _settle_operations(deterministic)
    signals.reclaim()
    if failure is not None:
        raise RestartError(f"the workers could not start, start all again: {failure}")
    if not accelerators and not num_virtual_devices:
        _warn_of_unused_accelerators()
    return strategy


def _split_cpu(num_parts):
    """Have so many virtual devices in place of the CPU; 0 leaves it whole."""
    if not num_parts:
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * num_parts
    try:
        tf.config.set_logical_device_configuration(cpu, parts)
    except RuntimeError:
        raise UserError("TensorFlow runs already: its CPU cannot be split") from None


def _settle_devices(parallel_parts):
    """What must be set before TensorFlow runs; see `start`."""
    accelerators = tf.config.list_physical_devices("GPU")
    for accelerator in accelerators:
        with contextlib.suppress(RuntimeError):  # TensorFlow runs already, as in a notebook
            tf.config.experimental.set_memory_growth(accelerator, True)
    if parallel_parts > 1 and not accelerators:
        _share_cores(parallel_parts)


def _settle_operations(deterministic):
    """Quiet loggers, and operations that give the same bits, if that is wanted."""
    if is_quiet():
        for logger in (tf.get_logger(), logging.getLogger("absl")):
            logger.setLevel(logging.ERROR)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


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


def wait_for_devices() -> None:
    """Return when this process's devices have done what they were given.

    Accelerators compute behind Python's back. (`tf.test.experimental.sync_devices` asks those of
    other workers too, which cannot be asked.)
    """
    process, _, _ = tf.constant(0).device.rpartition("/device:")
    for device in tf.config.list_logical_devices():
        if device.name.startswith(process):
            with tf.device(device.name):
                tf.raw_ops.SyncDevice()


def is_cpu(strategy: tf.distribute.Strategy) -> bool:
    """Whether a strategy computes on CPUs alone.

    Example:
        >>> is_cpu(mirrored_strategy(["CPU:0"]))
        True
    """
    return all("CPU" in device for device in strategy.extended.worker_devices)


def _share_cores(parts):
    """Give one operation its part's share of the cores."""
    cores = _num_cores()
    if "TF_NUM_INTRAOP_THREADS" in os.environ:
        return
    # Where TensorFlow runs already, as in a notebook, its threads stay as they are.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(max(1, -(-cores // parts)))


def _num_cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
