"""Workers that meet: all is well, or each says in one line what is not."""

import contextlib
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from ports import free_ports

from ncsn_tf.backend import cluster, meeting
from ncsn_tf.backend.cluster import Cluster, this_cluster
from ncsn_tf.errors import ConfigError, UserError


@pytest.fixture
def addresses():
    return tuple(f"127.0.0.1:{port}" for port in free_ports(3))


def gather(addresses, parts):
    """What each worker raises: {index: message or None}; parts are (index, facts, folder)."""
    said = {}

    def work(place, index, facts, folder, timeout=60.0):
        try:
            meeting.meet(Cluster(addresses, index), facts, folder, timeout)
            said[place] = None
        except UserError as error:
            said[place] = str(error)

    threads = [
        threading.Thread(target=work, args=(place, *part)) for place, part in enumerate(parts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    return [said.get(place, "hangs") for place in range(len(parts))]


def test_all_is_well_and_nothing_is_left(addresses, tmp_path):
    parts = [(index, {"seed": 1}, tmp_path) for index in range(3)]
    started = time.monotonic()
    assert gather(addresses, parts) == [None] * 3
    assert time.monotonic() - started < 30  # and not until one of their limits
    assert list(tmp_path.iterdir()) == []
    assert gather(addresses, parts) == [None] * 3  # the ports are free again


def test_different_settings_are_named_to_all(addresses, tmp_path):
    parts = [(0, {"seed": 1, "a": 2}, tmp_path), (1, {"seed": 3, "a": 2}, tmp_path)]
    line = "worker 1 wants something else than worker 0: seed is 3 there and 1 here"
    assert gather(addresses[:2], parts) == [line] * 2


def test_a_folder_that_is_not_shared_is_named_to_all(addresses, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    parts = [(0, {}, tmp_path), (1, {}, tmp_path / "other")]
    monkeypatch.setattr(meeting, "_SEE", 0.5)
    for line in gather(addresses[:2], parts):
        assert line.startswith(
            f"worker 1 does not see the files that worker 0 writes in {tmp_path}"
        )


def test_a_worker_that_is_missing(addresses, tmp_path, monkeypatch):
    """A minute passes once the other one has come, however long that takes."""
    ahead, hear = [0.0], meeting._guest

    def heard(*args):
        guest = hear(*args)
        ahead[0] += 60.0 if guest else 0.0
        return guest

    monkeypatch.setattr(meeting, "_guest", heard)
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0], sleep=time.sleep)
    monkeypatch.setattr(meeting, "time", clock)
    line = f"worker 1 ({addresses[1]}) did not come for 60 s: start all"
    assert gather(addresses, [(0, {}, tmp_path), (2, {}, tmp_path)]) == [line] * 2
    (line,) = gather(addresses, [(1, {}, tmp_path, 0.5)])
    assert line == f"worker 0 did not answer at {addresses[0]} for 0 s: is it started?"


def test_one_task_twice(addresses, tmp_path):
    parts = [(index, {}, tmp_path) for index in (0, 1, 1)]
    said = gather(addresses, parts)
    assert sum("two processes are worker 1" in (line or "") for line in said) >= 2
    assert None not in said


def test_one_task_twice_at_the_same_moment(addresses, tmp_path, monkeypatch):
    """Each tries the port while the other one has it: no third program is blamed for that."""
    both, listen = threading.Barrier(2, timeout=60), meeting._listen
    tried = threading.local()

    def at_once(address):
        is_first = address == addresses[1] and not hasattr(tried, "is_past")
        tried.is_past = True
        try:
            return listen(address)
        finally:
            if is_first:
                both.wait()  # the port is held until both have tried

    monkeypatch.setattr(meeting, "_listen", at_once)
    test_one_task_twice(addresses, tmp_path)


@pytest.mark.parametrize("index", [0, 1])
def test_an_address_that_is_taken(index, addresses, tmp_path):
    with socket.socket() as other:
        host, port = addresses[index].split(":")
        other.bind((host, int(port)))
        other.listen()
        (line,) = gather(addresses, [(index, {}, tmp_path, 0.5)])
    reason = "another process has this port"
    assert line == f"worker {index} cannot use its address {addresses[index]}: {reason}"


def visitor_of(address):
    """A connection to a chief, once it listens."""
    return meeting._until(time.monotonic() + 60, lambda: meeting._connect(address))


def test_strangers_at_the_door_are_not_guests(addresses, tmp_path):
    """Somebody who connects and says nothing, or something else."""
    said = []
    chief = threading.Thread(target=lambda: said.extend(gather(addresses[:2], [(0, {}, tmp_path)])))
    chief.start()
    for words in (b"GET / HTTP/1.1\r\n\r\n\n", b'{"program": "ncsn"}\n', b""):
        with visitor_of(addresses[0]) as visitor:
            visitor.sendall(words)
    assert gather(addresses[:2], [(1, {}, tmp_path)]) == [None]
    chief.join(90)
    assert said == [None]


def test_silent_strangers_and_damaged_guests_keep_nobody_waiting(addresses, tmp_path, monkeypatch):
    """Nor does a worker that went again, in whose place another one comes."""
    monkeypatch.setattr(meeting, "_HEAR", 0.7)
    said, is_back, has_ended = {}, threading.Event(), meeting._has_ended

    def seen(connection):
        is_back.set()
        return has_ended(connection)

    monkeypatch.setattr(meeting, "_has_ended", seen)

    def work(*indices):
        said[indices] = gather(addresses, [(index, {}, tmp_path) for index in indices])

    chief = threading.Thread(target=work, args=(0,))
    chief.start()
    worker = b'{"program": "ncsn", "index": %s, "facts": %s}\n'
    deep = b'{"a": ' + b"[" * 100_000 + b"\n"
    with contextlib.ExitStack() as stack:
        for words in (b"", deep, worker % (b"[1]", b"{}"), worker % (b"1", b"3")):
            stack.enter_context(visitor_of(addresses[0])).sendall(words)
        with visitor_of(addresses[0]) as visitor:
            visitor.sendall(worker % (b"1", b"{}"))
        again = threading.Thread(target=work, args=(1,))
        again.start()
        assert is_back.wait(60)  # the chief has it in the other one's place, and lacks worker 2
        work(2)
    for thread in (chief, again):
        thread.join(90)
    assert [said[index,] for index in range(3)] == [[None]] * 3


@pytest.mark.parametrize(
    "text, message",
    [
        ("[]", "not a JSON object"),
        ('{"cluster": 3}', "not a JSON object with a cluster"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "this process is None None"),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
            "this process is worker 2, and that there are worker 0, worker 1",
        ),
        ('{"cluster": {"worker": "a:1"}, "task": {}}', "a list of host:port"),
        ('{"cluster": {"worker": ["a", "b:1"]}, "task": {}}', "a list of host:port"),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}}', "has ps: only workers"),
        (
            '{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 1}}',
            "one address twice",
        ),
    ],
)
def test_clusters_that_are_none(text, message):
    with pytest.raises(ConfigError, match=message):
        Cluster.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"cluster": {}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_process_that_is_alone(text):
    assert this_cluster({"TF_CONFIG": text}) is None


def test_the_chief_comes_first():
    text = (
        '{"cluster": {"worker": ["b:1", "c:1"], "chief": ["a:1"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    assert Cluster.parse(text) == Cluster(("a:1", "b:1", "c:1"), 1)


def test_the_variables_of_slurm(monkeypatch):
    for name, value in (
        ("SLURM_STEP_NUM_TASKS", "3"),
        ("SLURM_STEP_TASKS_PER_NODE", "2,1"),
        ("SLURM_STEP_NODELIST", "n[9-10]"),  # in this order, not in that of the alphabet
        ("SLURM_PROCID", "2"),
        ("SLURMD_NODENAME", "n10"),
        ("TF_CPP_MIN_LOG_LEVEL", "2"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    found = this_cluster()
    assert found == Cluster(("n9:8888", "n9:8889", "n10:8888"), 2)
    monkeypatch.setenv("SLURMD_NODENAME", "n9")
    with pytest.raises(ConfigError, match="task 2 is on n9 and not on n10"):
        this_cluster()
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "2(x2)")
    with pytest.raises(ConfigError, match="3 tasks, and places for 4"):
        this_cluster()
    monkeypatch.delenv("SLURM_PROCID")
    with pytest.raises(ConfigError, match="the variables of SLURM"):
        this_cluster()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert this_cluster() is None
    assert cluster.VARIABLE == "TF_CONFIG"
