"""One training by several processes, as processes: kills, signals, clusters that are wrong."""

import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from ports import free_ports

from ncsn_tf.backend import outcomes
from ncsn_tf.backend.cluster import Cluster
from ncsn_tf.backend.meeting import meet
from ncsn_tf.backend.outcomes import Outcome
from ncsn_tf.backend.signals import Interrupted
from ncsn_tf.commands.start import what_all_want
from ncsn_tf.data.source import from_arrays
from ncsn_tf.errors import RestartError, UserError
from ncsn_tf.settings.flags import parse_config
from ncsn_tf.training import average_files
from ncsn_tf.training.run_data import check_same_data
from ncsn_tf.training.workers import Workers

sys.path.append(str(Path(__file__).resolve().parents[1] / "faults"))
import runs  # noqa: E402

STEPS = 80
FLAGS = ["--workdir=run", "--checkpoint_every=10", "--log_every=10"]
LOST = "has lost another worker: start all of them again with the same commands, which resume"


def environment(addresses, index):
    task = {"type": "worker", "index": index}
    cluster = {"cluster": {"worker": addresses}, "task": task}
    return {**os.environ, "TF_CONFIG": json.dumps(cluster)}


def addresses_of(count):
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


@pytest.fixture
def start(command_server, tmp_path):
    """start(count, *flags): the workers' processes. Those that still run at the end are killed."""
    processes = []

    def start(count, *flags, others=None, largest=None, steps=STEPS):
        addresses = addresses_of(count)
        workers = []
        for index in range(count):
            flags_of_it = [*FLAGS, *flags, *(others or {}).get(index, [])]
            argv = runs.train("run", steps, *flags_of_it, export="--export" in flags)
            env = environment(addresses, index)
            fsize = (largest or {}).get(index)
            workers.append(command_server.popen(argv, cwd=tmp_path, env=env, fsize=fsize))
        processes.extend(workers)
        return workers

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def ends(workers, timeout=180):
    """[(exit code, lines of stdout, lines of stderr)] of workers that have ended."""
    done = []
    for worker in workers:
        out, err = worker.communicate(timeout=timeout)
        done.append((worker.returncode, out.splitlines(), err.splitlines()))
    return done


def after_step(folder, step, timeout=180):
    """Wait for a checkpoint of this step, or a later one."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = (folder / "run" / "checkpoints").glob("step-*.index")
        if any(int(path.stem.partition("-")[2]) >= step for path in found):
            return
        time.sleep(0.05)
    raise TimeoutError(f"no checkpoint of step {step}")


@pytest.fixture(scope="module")
def one_process(command_server, tmp_path_factory):
    """The same run by one process: {(number of devices, more flags): its folder}."""
    made = {}

    def run(devices, *flags):
        if (devices, flags) not in made:
            folder = tmp_path_factory.mktemp(f"devices-{devices}")
            argv = runs.train("run", STEPS, *FLAGS, f"--num_virtual_devices={devices}", *flags)
            done = command_server.run(argv, cwd=folder)
            assert done.returncode == 0, done.stderr
            made[devices, flags] = folder / "run"
        return made[devices, flags]

    return run


def assert_close_run(ours, theirs):
    """The same run to float accuracy: sums of more than two numbers depend on their order."""
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        if not name.startswith("save_counter"):
            np.testing.assert_allclose(values, theirs[name], rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_kill_and_a_signal_lose_nothing(victim, start, one_process, tmp_path):
    """All end, all resume, and the end is that of one process with two devices, bit for bit.

    Averages of any length, which are kept beside the weights, and their snapshots too.
    """
    averages = ["--ema_power=0.05,0.1", "--ema_every=10"]
    workers = start(2, *averages)
    after_step(tmp_path, 20)
    workers[victim].kill()
    killed = time.monotonic()
    code, out, err = ends(workers)[1 - victim]
    assert time.monotonic() - killed < 60  # and not for ever
    assert code == 75, err
    assert LOST in err[-1] and err[-1].startswith(f"error: worker {1 - victim} of 2 ")
    role = "worker 0 writes the run" if victim == 0 else "which writes the run"
    assert out[0] == f"Worker {1 - victim} of 2, {role}"

    workers = start(2, *averages)
    after_step(tmp_path, 40)
    workers[victim].send_signal(signal.SIGTERM)
    done = ends(workers)
    assert [code for code, _, _ in done] == [0, 0], done
    assert all(out[1].startswith("Resuming run at step ") for _, out, _ in done)
    asked, other = done[victim][2][-1], done[1 - victim][2][-1]
    assert asked.startswith("SIGTERM: saved step ")
    assert other == asked.replace("SIGTERM", "asked for by another worker")

    done = ends(start(2, *averages))
    assert [code for code, _, _ in done] == [0, 0], done
    ours, theirs = tmp_path / "run", one_process(2, *averages)
    runs.assert_same_run(runs.numbers(ours), runs.numbers(theirs))
    steps = average_files.listed(theirs)
    assert average_files.listed(ours) == steps == [*range(10, STEPS + 1, 10)]
    for step in steps:
        about = average_files.read_about(theirs, step)
        assert average_files.read_about(ours, step) == about
        kept = average_files.read(ours, about)
        np.testing.assert_array_equal(kept, average_files.read(theirs, about))


@pytest.mark.parametrize(
    "others, said",
    [
        (
            {1: ["--batch_size=16"]},
            "error: worker 1 wants something else than worker 0: batch_size is 16 there and 8 here",
        ),
        pytest.param(  # it waits for files that may come late
            {1: ["--workdir=other"]},
            "error: worker 1 does not see the files that worker 0 writes",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_workers_that_do_not_agree(others, said, start):
    done = ends(start(2, others=others))
    assert [code for code, _, _ in done] == [1, 1], done
    assert all(err[-1].startswith(said) for _, _, err in done), done


def test_a_worker_that_is_missing(start):
    workers = start(2, "--cluster_timeout=2")
    workers[1].kill()
    (code, _, err), _ = ends(workers)
    assert code == 1
    assert err[-1].startswith("error: worker 1 (127.0.0.1:")
    assert err[-1].endswith("did not come for 2 s: start all")


class Talking(Workers):
    """Worker `index` of two; the other one says `said`, one number after the other, and then 0."""

    def __init__(self, index, *said):
        super().__init__(tf.distribute.get_strategy())
        self.index, self.count, self.said, self.told = index, 2, list(said), []
        self._strategy = SimpleNamespace(num_replicas_in_sync=2)

    def _totals(self, numbers):
        self.told.append(numbers[self.index])
        both = list(numbers)
        both[1 - self.index] = self.said.pop(0) if self.said else 0
        return both

    def _total(self, number):
        return sum(self._totals([number] * 2))


def fail():
    raise UserError("no room")


@pytest.mark.parametrize("index", [0, 1])
def test_what_one_cannot_do_ends_all(index):
    """By a number of its own, which the others have then too."""
    one, other = Talking(index), Talking(1 - index, 7)
    with pytest.raises(UserError, match="no room"):
        one.by_all(fail)
    assert one.told == [1]
    line = f"^worker {index} stopped on an error of its own: see its line$"
    with pytest.raises(UserError, match=line) as error:
        other.by_all(lambda: 3)
    assert error.value.code == 7
    assert Talking(index).by_all(lambda: 3) == 3


def test_what_the_chief_does_the_others_do_not():
    assert Talking(0).by_chief(lambda: 3) == 3
    assert Talking(1).by_chief(fail) is None
    with pytest.raises(UserError, match="worker 0 stopped"):
        Talking(1, 2).by_chief(fail)


PIXELS = np.arange(40 * 4, dtype=np.uint8).reshape(40, 2, 2)
LABELS = np.arange(40) % 3


@pytest.mark.parametrize(
    "images, labels, what",
    [
        (PIXELS, LABELS, None),
        (PIXELS[:39], LABELS[:39], "39 images and not 40"),
        (PIXELS, None, "other labels"),
        (PIXELS, LABELS[::-1], "other labels"),
        (PIXELS[::-1], LABELS, "other pixels"),
    ],
)
def test_data_that_differ_end_all_in_the_same_line(images, labels, what):
    said = [queue.SimpleQueue(), queue.SimpleQueue()]

    class Hearing(Talking):
        """Hears what the other one says."""

        def _totals(self, numbers):
            said[self.index].put(numbers[self.index])
            self.said = [said[1 - self.index].get(timeout=60)]
            return super()._totals(numbers)

    lines = [None, None]

    def check(index, source):
        try:
            check_same_data(source, Hearing(index))
        except UserError as error:
            lines[index] = str(error)

    sources = [from_arrays(PIXELS, LABELS), from_arrays(images, labels)]
    threads = [threading.Thread(target=check, args=each) for each in enumerate(sources)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    line = what and f"worker 1 reads other data than worker 0, {what}: --data_dir must hold "
    assert lines == [what and f"{line}the same on all machines"] * 2


@pytest.mark.parametrize(
    "error, end",
    [
        (tf.errors.UnavailableError(None, None, "Socket closed"), "newest checkpoint$"),
        (
            tf.errors.InternalError(None, None, "Collective ops is aborted by: x\nmore"),
            r"newest checkpoint \(Collective ops is aborted by: x\)$",
        ),
        (tf.errors.InternalError(None, None, "CUDA error: no kernel"), None),
    ],
)
def test_which_errors_are_a_lost_worker(error, end):
    expected = type(error) if end is None else RestartError
    with pytest.raises(expected, match=end), Talking(1).together():
        raise error


LOSS = tf.errors.UnavailableError(None, None, "Socket closed")


@pytest.mark.parametrize(
    "outcome, kind, line, code",
    [
        (Outcome(0, 1), UserError, "worker 0 stopped on an error of its own: see its line", 1),
        (Outcome(2, 2), UserError, "worker 2 stopped on an error of its own: see its line", 2),
        (Outcome(0, 75), RestartError, "has lost another worker", 75),
        (Outcome(1, 0, True), Interrupted, "asked for by another worker: nothing was lost", 0),
        (Outcome(1, 75, True), Interrupted, "asked for by another worker: nothing was lost", 75),
    ],
)
def test_why_a_worker_has_gone_decides_the_end(outcome, kind, line, code, monkeypatch):
    monkeypatch.setattr(outcomes, "of_others", lambda: outcome)
    with pytest.raises(kind, match=line) as end, Talking(1).together():
        raise LOSS
    assert type(end.value) is kind and end.value.code == code


@pytest.mark.slow
def test_three_workers_with_test_losses_grids_and_kills(start, command_server, tmp_path):
    """Each is killed in its turn; several steps a call; the run is that of three devices."""
    flags = ["--batch_size=12", "--eval_every=20", "--sample_every=40", "--num_sample_images=4"]
    flags += ["--steps_per_execution=3"]
    for victim, step in ((0, 10), (1, 30), (2, 50)):
        workers = start(3, *flags)
        after_step(tmp_path, step)
        workers[victim].kill()
        codes = [code for code, _, _ in ends(workers)]
        assert sorted(codes) == [-9, 75, 75]
    done = ends(start(3, *flags))
    assert [code for code, _, _ in done] == [0, 0, 0], done
    assert sorted(path.name for path in (tmp_path / "run" / "samples").iterdir())[-1] == (
        f"step-{STEPS:07d}.png"
    )
    (tmp_path / "one").mkdir()
    argv = runs.train("run", STEPS, *FLAGS, *flags, "--num_virtual_devices=3")
    one = command_server.run(argv, cwd=tmp_path / "one")
    assert one.returncode == 0, one.stderr
    ours, theirs = runs.numbers(tmp_path / "run"), runs.numbers(tmp_path / "one" / "run")
    assert_close_run(ours, theirs)


@pytest.mark.slow
def test_workers_of_several_devices(start, one_process, tmp_path):
    """Two workers of two devices: the run of one process with four, to float accuracy."""
    done = ends(start(2, "--num_virtual_devices=2"))
    assert [code for code, _, _ in done] == [0, 0], done
    assert_close_run(runs.numbers(tmp_path / "run"), runs.numbers(one_process(4)))


@pytest.mark.slow
def test_a_signal_while_the_chief_draws(start, tmp_path):
    """The chief hears of it between two pieces of the grid, which it leaves out."""
    grid = ["--sample_every=20", "--num_steps_each=1000000", "--num_sample_images=4"]
    workers = start(2, *grid)
    after_step(tmp_path, 20)
    time.sleep(3)  # the grid is compiled, and takes hours
    started = time.monotonic()
    workers[1].send_signal(signal.SIGTERM)
    done = ends(workers)
    assert time.monotonic() - started < 90  # on a machine that does much else
    assert [code for code, _, _ in done] == [0, 0], done
    assert done[1][2][-1] == "SIGTERM: saved step 21; the same command resumes"
    assert not (tmp_path / "run" / ".end-asked").exists()
    assert not (tmp_path / "run" / "samples").exists()  # worker 1 was in step 21 already


STOPPED = "error: worker 0 stopped on an error of its own: see its line"


@pytest.mark.parametrize(
    "largest, cause",
    [
        (4_000, "checkpoints: "),  # in the middle of the run: those who wait hear of it as it ends
        pytest.param(500, "config.json ", marks=pytest.mark.slow),  # before: it is agreed
    ],
)
def test_an_error_of_the_chief_alone_is_not_a_lost_worker(largest, cause, start, tmp_path):
    workers = start(2, largest={0: largest})
    started = time.monotonic()
    (code, _, err), (other_code, _, other_err) = ends(workers)
    assert (code, other_code) == (1, 1), (err, other_err)
    assert err[-1].startswith("error: ") and cause in err[-1], err
    assert other_err[-1] == STOPPED, other_err
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_data_that_differ_end_all(start, tmp_path):
    for index, count in enumerate((40, 45)):
        np.save(tmp_path / f"{index}.npy", np.zeros([count, 8, 8], np.uint8))
    data = ["--dataset=arrays", "--image_size=8", "--channels=1"]
    done = ends(start(2, *data, others={i: [f"--data_dir={i}.npy"] for i in (0, 1)}))
    line = "error: worker 1 reads other data than worker 0, 42 images and not 38: --data_dir must"
    assert [code for code, _, _ in done] == [1, 1], done
    assert done[0][2] == done[1][2] and done[0][2][-1].startswith(line), done


def test_a_worker_that_met_the_others_and_then_went(start, tmp_path, command_server):
    """TensorFlow would wait without end for its part of the start."""
    addresses = addresses_of(2)
    argv = runs.train("run", STEPS, *FLAGS, "--cluster_timeout=4")
    cluster = Cluster(tuple(addresses), 1)
    facts = what_all_want(cluster, parse_config(["train", *argv[2:]]))
    chief = command_server.popen(argv, cwd=tmp_path, env=environment(addresses, 0))
    with chief:
        (connection,) = meet(cluster, facts, tmp_path / "run", 60.0).values()
        connection.close()
        _, err = chief.communicate(60)
    assert chief.returncode == RestartError.code
    line = "error: worker 0 waited 4 s for TensorFlow of the others: start all again"
    assert err.splitlines()[-1] == line


# What `ncsn export` does in the process of its own: it is long, or is done at once.
EXPORT = """
import os, pathlib, sys, time
if "export" in sys.orig_argv:
    if not pathlib.Path("quick").exists():
        pathlib.Path("exporting").touch()
        time.sleep(100)
    os.makedirs("run/export/1")
    os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_signal_to_one_during_the_export_ends_all(victim, start, tmp_path, monkeypatch):
    """It is made by the next start."""
    (tmp_path / "stand-in").mkdir()
    (tmp_path / "stand-in" / "sitecustomize.py").write_text(EXPORT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stand-in"))
    workers = start(2, "--export", "--stopped_code=9", steps=10)
    deadline = time.monotonic() + 60
    while not (tmp_path / "exporting").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    workers[victim].send_signal(signal.SIGTERM)
    asked = time.monotonic()
    done = ends(workers)
    assert time.monotonic() - asked < 30
    assert [code for code, _, _ in done] == [9, 9], done
    line = "training is done and saved, its export is not made; the same command exports"
    assert done[victim][2][-1] == f"SIGTERM: {line}"
    assert done[1 - victim][2][-1] == f"asked for by another worker: {line}"
    assert not (tmp_path / "run" / ".end-asked").exists()

    (tmp_path / "quick").touch()
    done = ends(start(2, "--export", "--stopped_code=9", steps=10))
    assert [code for code, _, _ in done] == [0, 0], done
    assert (tmp_path / "run" / "export" / "1").is_dir()
