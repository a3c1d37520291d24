"""One process at a time writes a run's checkpoints; who is dead keeps nobody out."""

import errno
import json
import os
import platform
import re
import subprocess
import sys
import threading
import time

import pytest
from training_helpers import TinyNetwork, train

from ncsn_tf.errors import UserError
from ncsn_tf.files import lock as module
from ncsn_tf.files import processes
from ncsn_tf.files.processes import BEAT, SILENCE
from ncsn_tf.training.run_lock import NAME, run_lock

HERE = platform.node()


@pytest.fixture(params=["locks", "no locks"])
def system(request, monkeypatch):
    """A file system with the system's locks, and one without."""
    if request.param == "no locks":

        def flock(descriptor, operation):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(module.fcntl, "flock", flock)
        monkeypatch.setattr(module, "_SETTLE", 0.1)
    return request.param


def leave(run_dir, silent=0.0, **holder):
    """The file of a holder that has not touched it for so many seconds."""
    run_dir.mkdir(exist_ok=True)
    path = run_dir / NAME
    about = {"process": 1, "started": None, "host": HERE, "since": "2026-01-02 03:04:05"}
    path.write_text(json.dumps({**about, "token": "0", **holder}))
    os.utime(path, (time.time() - silent,) * 2)


def ended():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_second_is_told_who_has_the_run(system, tmp_path):
    run = tmp_path / "runs" / "a"
    with run_lock(run) as check:
        check()
        with pytest.raises(UserError) as error, run_lock(run):
            pass
        assert str(error.value).startswith(
            f"{run} is being trained by process {os.getpid()} on host {HERE} since 20"
        )
        assert str(error.value).endswith("; wait for it to end, or name another --workdir")
        assert os.listdir(run) == [NAME]
        check()
    # What was made for the lock alone is gone.
    assert os.listdir(tmp_path) == []


def test_it_is_given_back_after_an_error_and_taken_again(system, tmp_path):
    with pytest.raises(RuntimeError), run_lock(tmp_path):
        raise RuntimeError
    assert os.listdir(tmp_path) == []
    with run_lock(tmp_path):
        assert os.listdir(tmp_path) == [NAME]
    assert not [thread for thread in threading.enumerate() if thread.name == "lock"]


def test_another_process_of_this_machine_has_it(tmp_path):
    code = "import sys; from ncsn_tf.training.run_lock import run_lock\n"
    code += "with run_lock(sys.argv[1]): print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], **pipes) as other:
        other.stdout.readline()
        with pytest.raises(UserError, match=f"by process {other.pid} on host"), run_lock(tmp_path):
            pass
        other.kill()
        other.wait()
        assert os.listdir(tmp_path) == [NAME]
        with run_lock(tmp_path):
            pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "holder",
    [
        lambda: {"process": ended()},
        lambda: {"process": os.getppid(), "started": f"{processes._boot()} 7"},
        lambda: {"process": "x"},
        lambda: {"started": "another-boot 7", "silent": SILENCE + 1},
        lambda: {"host": "elsewhere", "silent": SILENCE + 1},
        lambda: {"host": "elsewhere", "silent": -1e7},
    ],
    ids=[
        *("ended", "number used again", "nonsense", "other machine of this name, silent"),
        *("other host, silent", "clock far ahead"),
    ],
)
def test_the_dead_keep_nobody_out(holder, system, tmp_path):
    leave(tmp_path, **holder())
    with run_lock(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["process"] == os.getpid()


@pytest.mark.parametrize("content", [b"", b"{", b'{"process": 5, "sta', bytes(100)])
def test_a_file_that_was_cut_short_keeps_nobody_out(content, system, tmp_path):
    (tmp_path / NAME).write_bytes(content)
    with run_lock(tmp_path):
        pass


@pytest.mark.parametrize(
    "content", [b"[1]", b"\xff", b"4711\n", b'{"process": 5}', b'{"name": "a", "token": "0"}']
)
def test_the_file_of_another_program_is_left_alone(content, system, tmp_path):
    (tmp_path / NAME).write_bytes(content)
    message = f"{tmp_path / NAME} is another program's file, which is left as it is: move it away"
    with pytest.raises(UserError, match=re.escape(message)), run_lock(tmp_path):
        pass
    assert (tmp_path / NAME).read_bytes() == content


def test_another_machine_of_this_name_has_the_run(system, tmp_path):
    """As containers have on a file system that has no locks, or only those of one machine."""
    leave(tmp_path, process=ended(), started="another-boot 7", silent=SILENCE - 60)
    with pytest.raises(UserError, match=f"on host {HERE} since 2026"), run_lock(tmp_path):
        pass


def test_a_machine_that_was_started_again_has_to_wait_two_minutes_at_most(
    system, monkeypatch, tmp_path
):
    monkeypatch.setattr(processes, "_up_since", time.time)
    for silent in (2 * BEAT - 30, 2 * BEAT + 1):
        leave(tmp_path, process=os.getppid(), started="another-boot 7", silent=silent)
        if silent < 2 * BEAT:
            with pytest.raises(UserError), run_lock(tmp_path):
                pass
        else:
            with run_lock(tmp_path):
                pass


@pytest.mark.parametrize("has_locks", [True, False])
def test_a_container_of_this_machine_with_numbers_of_its_own(has_locks, tmp_path):
    """Without locks, that a process of that number runs here or not says nothing of it."""
    for process, silent, lives in ((ended(), 0, True), (os.getppid(), SILENCE + 1, False)):
        started = processes.start_of(os.getppid())
        holder = {"process": process, "started": started, "host": "a", "table": "pid:[1]"}
        found = processes.lives(holder, time.time() - silent, has_locks)
        assert found == (lives and not has_locks)


def test_another_machine_that_touches_its_file_has_the_run(system, tmp_path):
    leave(tmp_path, host="elsewhere", process=5, silent=SILENCE - 60)
    who = "by process 5 on host elsewhere since 2026"
    with pytest.raises(UserError, match=who), run_lock(tmp_path):
        pass
    assert "elsewhere" in (tmp_path / NAME).read_text()


def test_a_container_that_was_restarted_goes_on(tmp_path):
    """Of another name, on the same machine: its lock would have kept us out."""
    leave(tmp_path, host="elsewhere", started=processes.start_of(os.getppid()))
    with run_lock(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["process"] == os.getpid()


def test_without_locks_a_process_that_runs_has_the_run(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "fcntl", None)
    started = processes.start_of(os.getppid())
    leave(tmp_path, process=os.getppid(), started=started, silent=2 * SILENCE)
    with pytest.raises(UserError, match=f"process {os.getppid()}"), run_lock(tmp_path):
        pass


def test_of_many_that_begin_at_once_one_has_the_run(system, tmp_path):
    barrier, results = threading.Barrier(8), []

    def begin():
        barrier.wait()
        try:
            with run_lock(tmp_path):
                end = time.monotonic() + 30
                while len(results) < 7 and time.monotonic() < end:  # until all others were told
                    time.sleep(0.01)
                results.append("has it")
        except UserError as error:
            results.append("told" if "is being trained by" in str(error) else error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["has it"] + ["told"] * 7
    assert os.listdir(tmp_path) == []


def test_the_file_is_touched(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "BEAT", 0.01)
    with run_lock(tmp_path):
        os.utime(tmp_path / NAME, (0, 0))
        deadline = time.monotonic() + 60
        while os.stat(tmp_path / NAME).st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert os.stat(tmp_path / NAME).st_mtime > 0


def test_a_run_that_was_taken_over_is_left_to_the_other(tmp_path):
    with run_lock(tmp_path) as check:
        leave(tmp_path, host="elsewhere", process=5)
        with pytest.raises(UserError, match="by process 5 on host elsewhere .* stopped for too"):
            check()
    assert "elsewhere" in (tmp_path / NAME).read_text()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    message = "file/run/.lock cannot be written: Not a directory"
    with pytest.raises(UserError, match=message), run_lock(tmp_path / "file" / "run"):
        pass


def test_two_trainings_of_one_run(tiny_config, tmp_path, monkeypatch):
    """The second stops before anything is written; afterwards it begins."""
    monkeypatch.setattr("ncsn_tf.training.state.build_network", TinyNetwork)
    settings = {"sample_every": 0, "eval_every": 0, "workdir": str(tmp_path / "run")}
    with run_lock(tmp_path / "run"):
        with pytest.raises(UserError, match=f"process {os.getpid()} on host"):
            train(tiny_config(num_steps=1, **settings))
        assert os.listdir(tmp_path / "run") == [NAME]
    for steps in (1, 1):
        train(tiny_config(num_steps=steps, **settings))
        assert NAME not in os.listdir(tmp_path / "run")
    assert os.path.exists(tmp_path / "run" / "checkpoints" / "step-1.index")
