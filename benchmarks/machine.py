"""What the machine is, and what it can do: its rate of matrix products, its memory."""

import os
import platform
import resource
import sys
from pathlib import Path

from benchmarks.timing import quantile, repeat

GEMM_SIZE = 2048
_MIB = 2**20


def gemm_rate(seconds: float = 1.0, size: int = GEMM_SIZE) -> float:
    """GFLOP/s of float32 products of two size x size matrices: 2 * size^3 operations each.

    The median of many runs, measured on TensorFlow's default device. A run is as many products as
    there are cores, side by side: so all cores are busy also where each product may use only one.
    They are queued until a run takes a twentieth of a second, so that the wait for a fast device's
    answer counts little.
    """
    import tensorflow as tf

    width = _cores()
    factors = [tf.random.stateless_uniform([size, size], [1, i]) for i in range(width + 1)]

    @tf.function(autograph=False)
    def side_by_side(b, *others):
        return tf.add_n([tf.matmul(a, b)[0, 0] for a in others])

    count = 1

    def products():
        for _ in range(count):
            c = side_by_side(*factors)
        return float(c)  # waits for the last one

    products()
    while min(repeat(products, 0.0, least=2)) < 0.05:
        count *= 2
    return 2e-9 * size**3 * width * count / quantile(repeat(products, seconds), 0.5)


def resident_memory() -> float:
    """This process's memory now, in MiB; where the system does not tell, its peak."""
    return _status("VmRSS") or peak_memory()


def peak_memory() -> float:
    """The most memory this process has had at once, in MiB.

    Linux gives a new process the peak of the one that started it in getrusage, but not here.
    """
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        _MIB if sys.platform == "darwin" else 1024
    )


def _status(name):
    """A number of kB in /proc/self/status, in MiB; None where there is no such file."""
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(lines[name].split()[0]) / 1024


def describe() -> dict:
    """What a reader must know of the machine: {name: text or number}."""
    from importlib.metadata import version

    return {
        "processor": _processor(),
        "cores": _cores(),
        "load_average_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "tensorflow": version("tensorflow"),
        "keras": version("keras"),
    }


def _cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor():
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
