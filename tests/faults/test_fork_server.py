"""A command of the fork server ends, fails and writes as a process of its own does."""

import os
import signal
import subprocess

import pytest


@pytest.fixture
def script(tmp_path):
    """(Python code) -> the argv of a program of it."""

    def write(code):
        path = tmp_path / "program.py"
        path.write_text(f"import os, sys, time\n{code}\n")
        return [path, "--flag"]

    return write


def test_exit_codes_and_outputs(command_server, script, tmp_path):
    code = "print(sys.argv[1:], os.getcwd()); print('bad', file=sys.stderr); sys.exit(3)"
    done = command_server.run(script(code), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (3, "bad\n")
    assert done.stdout == f"['--flag'] {tmp_path}\n"
    done = command_server.run(script("raise ZeroDivisionError"), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ZeroDivisionError"


def test_tensorflow_does_not_run_yet(command_server, script, tmp_path):
    code = "from tensorflow.python.eager import context; print(context.context()._initialized)"
    assert command_server.run(script(code), cwd=tmp_path).stdout == "False\n"


def test_the_environment_is_that_of_the_moment(command_server, script, tmp_path, monkeypatch):
    monkeypatch.setenv("A_NEW_VARIABLE", "1")
    argv = script("print(os.environ.get('A_NEW_VARIABLE'))")
    assert command_server.run(argv, cwd=tmp_path).stdout == "1\n"
    assert command_server.run(argv, cwd=tmp_path, env={}).stdout == "None\n"


def test_signals_and_time_limits(command_server, script, tmp_path):
    argv = script("print('here', flush=True); time.sleep(60)")
    with command_server.popen(argv, cwd=tmp_path) as process:
        assert process.stdout.readline() == "here\n"
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
    with pytest.raises(subprocess.TimeoutExpired):
        command_server.run(argv, cwd=tmp_path, timeout=0.1)


def test_a_limit_of_files_fails_as_a_full_disk_does(command_server, script, tmp_path):
    argv = script("with open('a', 'wb', 0) as file: file.write(bytes(10)); file.write(b'1')")
    assert command_server.run(argv, cwd=tmp_path).returncode == 0
    done = command_server.run(argv, cwd=tmp_path, fsize=10)
    assert done.stderr.splitlines()[-1] == "OSError: [Errno 27] File too large"


def test_permissions_bind(command_server, script, tmp_path):
    argv = script("open('shut/a', 'w')")
    shut = tmp_path / "shut"
    shut.mkdir()
    shut.chmod(0o555)
    done = command_server.run(argv, cwd=tmp_path, unprivileged=True)
    assert "PermissionError" in done.stderr
    assert os.listdir(shut) == []
