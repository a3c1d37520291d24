"""One training by several processes, as processes: kills, signals, clusters that are wrong."""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.errors import RestartError, UserError
from ncsn_tf.training.workers import Workers

sys.path.append(str(Path(__file__).resolve().parents[1] / "faults"))
import runs  # noqa: E402

STEPS = 80
FLAGS = ["--workdir=run", f"--num_steps={STEPS}", "--checkpoint_every=10", "--log_every=10"]
LOST = "has lost another worker: start all of them again with the same commands, which resume"


def environment(addresses, index):
    task = {"type": "worker", "index": index}
    cluster = {"cluster": {"worker": addresses}, "task": task}
    return {**os.environ, "TF_CONFIG": json.dumps(cluster)}


def addresses_of(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


@pytest.fixture
def start(command_server, tmp_path):
    """start(count, *flags): the workers' processes. Those that still run at the end are killed."""
    processes = []

    def start(count, *flags, others=None):
        addresses = addresses_of(count)
        workers = []
        for index in range(count):
            argv = runs.train("run", STEPS, *FLAGS, *flags, *(others or {}).get(index, []))
            env = environment(addresses, index)
            workers.append(command_server.popen(argv, cwd=tmp_path, env=env))
        processes.extend(workers)
        return workers

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def ends(workers, timeout=60):
    """[(exit code, lines of stdout, lines of stderr)] of workers that have ended."""
    done = []
    for worker in workers:
        out, err = worker.communicate(timeout=timeout)
        done.append((worker.returncode, out.splitlines(), err.splitlines()))
    return done


def after_step(folder, step, timeout=60):
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
    """The same run by one process with as many devices: {number of devices: its folder}."""
    made = {}

    def run(devices, *flags):
        if devices not in made:
            folder = tmp_path_factory.mktemp(f"devices-{devices}")
            argv = runs.train("run", STEPS, *FLAGS, f"--num_virtual_devices={devices}", *flags)
            done = command_server.run(argv, cwd=folder)
            assert done.returncode == 0, done.stderr
            made[devices] = folder / "run"
        return made[devices]

    return run


def assert_close_run(ours, theirs):
    """The same run to float accuracy: sums of more than two numbers depend on their order."""
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        if not name.startswith("save_counter"):
            np.testing.assert_allclose(values, theirs[name], rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_kill_and_a_signal_lose_nothing(victim, start, one_process, tmp_path):
    """All end, all resume, and the end is that of one process with two devices, bit for bit."""
    workers = start(2)
    after_step(tmp_path, 20)
    workers[victim].kill()
    killed = time.monotonic()
    code, out, err = ends(workers)[1 - victim]
    assert time.monotonic() - killed < 30
    assert code == 75, err
    assert LOST in err[-1] and err[-1].startswith(f"error: worker {1 - victim} of 2 ")
    role = "worker 0 writes the run" if victim == 0 else "which writes the run"
    assert out[0] == f"Worker {1 - victim} of 2, {role}"

    workers = start(2)
    after_step(tmp_path, 40)
    workers[victim].send_signal(signal.SIGTERM)
    done = ends(workers)
    assert [code for code, _, _ in done] == [0, 0], done
    assert all(out[1].startswith("Resuming run at step ") for _, out, _ in done)
    asked, other = done[victim][2][-1], done[1 - victim][2][-1]
    assert asked.startswith("SIGTERM: saved step ")
    assert other == asked.replace("SIGTERM", "asked for by another worker")

    done = ends(start(2))
    assert [code for code, _, _ in done] == [0, 0], done
    ours, theirs = runs.numbers(tmp_path / "run"), runs.numbers(one_process(2))
    runs.assert_same_run(ours, theirs)


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
    """Worker `index` of two; the other one says `said` each time."""

    def __init__(self, index, said=0):
        super().__init__(tf.distribute.get_strategy())
        self.index, self.count, self.said, self.told = index, 2, said, []

    def _total(self, number):
        self.told.append(number)
        return number + self.said


def test_what_the_chief_cannot_do_ends_all():
    def fail():
        raise UserError("no room")

    chief = Talking(0)
    with pytest.raises(UserError, match="no room"):
        chief.by_chief(fail)
    assert chief.told == [1]
    with pytest.raises(UserError, match="worker 0 could not begin") as error:
        Talking(1, said=1).by_chief(fail)
    assert error.value.code == 1
    assert Talking(0).by_chief(lambda: 3) == 3
    assert Talking(1).by_chief(fail) is None


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
    assert time.monotonic() - started < 20
    assert [code for code, _, _ in done] == [0, 0], done
    assert done[1][2][-1] == "SIGTERM: saved step 21; the same command resumes"
    assert not (tmp_path / "run" / ".end-asked").exists()
    assert not (tmp_path / "run" / "samples").exists()  # worker 1 was in step 21 already
