"""Several processes that train together: which there are, and which of them this one is."""

import dataclasses
import json
import os
from collections.abc import Mapping

from ncsn_tf.backend.quiet import is_quiet, quietly
from ncsn_tf.errors import ConfigError

VARIABLE = "TF_CONFIG"
_SLURM = "SLURM_STEP_NUM_TASKS"  # set by srun, for each of its processes
_SLURM_PORT = 8888  # of the first task on a node
_JOBS = ("chief", "worker")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of one training, the first of which writes its files.

    Attributes:
        addresses: host:port of each worker, the chief's first.
        index: which of them this process is.

    Example:
        >>> text = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}'
        >>> Cluster.parse(text)
        Cluster(addresses=('a:1', 'b:1'), index=1)
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints, curves, pictures and the export."""
        return self.index == 0

    @classmethod
    def parse(cls, text: str) -> "Cluster | None":
        """The cluster that TF_CONFIG describes; None where it has one worker.

        Raises:
            ConfigError: it describes none, or not which of its workers this process is.
        """
        try:
            described = json.loads(text)
            jobs = dict(described.get("cluster") or {})
        except (AttributeError, TypeError, ValueError, RecursionError):
            raise ConfigError(f"{VARIABLE} is not a JSON object with a cluster: unset it") from None
        if not jobs:
            return None
        others = [job for job in jobs if job not in _JOBS and job != "evaluator"]
        if others:
            raise ConfigError(f"{VARIABLE} has {', '.join(others)}: only workers train here")
        places = [(job, i) for job in _JOBS for i in range(len(_addresses(jobs, job)))]
        task = described.get("task")
        task = task if isinstance(task, dict) else {}
        this = (task.get("type"), task.get("index"))
        if this not in places:
            known = ", ".join(f"{job} {i}" for job, i in places) or "none"
            raise ConfigError(
                f"{VARIABLE} says that this process is {this[0]} {this[1]}, and that there are "
                f"{known}"
            )
        addresses = tuple(address for job in _JOBS for address in _addresses(jobs, job))
        if len(set(addresses)) < len(addresses):
            raise ConfigError(f"{VARIABLE} has one address twice: {', '.join(addresses)}")
        return cls(addresses, places.index(this)) if len(addresses) > 1 else None

    def to_tf_config(self) -> str:
        """What TF_CONFIG says of it, with workers alone.

        Example:
            >>> Cluster.parse(Cluster(("a:1", "b:1"), 1).to_tf_config()).index
            1
        """
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def _addresses(jobs, job):
    """The addresses of a job in TF_CONFIG."""
    addresses = jobs.get(job, [])
    if not isinstance(addresses, list) or not all(map(_is_address, addresses)):
        raise ConfigError(f"{VARIABLE} must have a list of host:port as {job}, not {addresses!r}")
    return addresses


def _is_address(address):
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 2**16


def this_cluster(environment: Mapping[str, str] | None = None) -> Cluster | None:
    """The cluster of this process, by TF_CONFIG or SLURM's variables; None where it is alone.

    SLURM's lists are read by TensorFlow, which is imported only then.

    Raises:
        ConfigError: variables that cannot be understood.
    """
    environment = os.environ if environment is None else environment
    if environment.get(VARIABLE):
        return Cluster.parse(environment[VARIABLE])
    tasks = environment.get(_SLURM, "")
    if not tasks.isdigit() or int(tasks) < 2:
        return None
    silence()
    with quietly():
        from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver as slurm

    try:
        # Not by SlurmClusterResolver: it sorts hosts as text, n10 before n9; SLURM does not.
        hosts = slurm.expand_hostlist(environment["SLURM_STEP_NODELIST"])
        each = slurm.expand_tasks_per_node(environment["SLURM_STEP_TASKS_PER_NODE"])
        addresses = [
            (host, f"{host}:{_SLURM_PORT + offset}")
            for host, count in zip(hosts, each, strict=True)
            for offset in range(count)
        ]
        if len(addresses) != int(tasks):
            raise ValueError(f"{tasks} tasks, and places for {len(addresses)}")
        index = int(environment["SLURM_PROCID"])
        host = addresses[index][0]
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(f"the variables of SLURM (SLURM_STEP_...): {error}") from None
    own = environment.get("SLURMD_NODENAME") or host
    if own != host:
        raise ConfigError(
            f"SLURM's task {index} is on {own} and not on {host}: tasks must follow one another "
            "node by node (srun --distribution=block), or TF_CONFIG must say where they are"
        )
    return Cluster(tuple(address for _, address in addresses), index)


def silence() -> None:
    """Have TensorFlow write no errors, where its lines are held back: before it is imported.

    Where another worker ends, it writes them by the dozen; we say it in one line.
    """
    if is_quiet():
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
