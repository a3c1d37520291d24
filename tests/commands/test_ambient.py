"""What a command finds when it starts: closed streams, full disks, odd environments."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ncsn_tf.commands import ambient, train
from ncsn_tf.commands.console import run_command, run_named
from ncsn_tf.errors import ConfigError, UserError

ROOT = Path(__file__).resolve().parents[2]


def run_main(body, redirection="", **environment):
    """A command whose `main(argv)` is that, in a process of its own, started by a shell."""
    program = (
        "import os, sys, time; from ncsn_tf.commands.console import run_command\n"
        f"def main(argv):\n    {body}\nrun_command(main, ['ncsn', 'x'])"
    )
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, program],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_fault(closed, tmp_path):
    """Nor does a file that is opened later take their place, and what is printed."""
    path = tmp_path / "data"
    body = (
        f"file = open({str(path)!r}, 'w'); os.system('echo x; echo x >&2')\n"
        "    print('said'); print('told', file=sys.stderr, flush=True); sys.stdin.read()\n"
        "    from tqdm import tqdm; list(tqdm([1, 2]))\n"
        "    file.write('data'); file.close(); sys.exit(5)"
    )
    done = run_main(body, closed)
    assert done.returncode == 5, done.stderr
    assert path.read_text() == "data"


def test_a_full_disk_under_stdout_is_one_line():
    done = run_main("print('x')", ">/dev/full")
    assert (done.returncode, done.stderr) == (
        1,
        "error: stdout cannot be written: No space left on device\n",
    )


def test_a_full_disk_under_stderr_ends_nothing():
    done = run_main("print('x', file=sys.stderr); print('end')", "2>/dev/full")
    assert (done.returncode, done.stdout) == (0, "end\n")


def test_names_that_the_encoding_lacks_are_escaped():
    done = run_main(r"print('\u00e9\u4e2d \udcff')", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stdout) == (0, "\\xe9\\u4e2d \\udcff\n"), done.stderr


def test_warnings_are_not_errors():
    body = "import warnings; warnings.warn('old', DeprecationWarning); print('end')"
    done = run_main(body, PYTHONWARNINGS="error")
    assert (done.returncode, done.stdout) == (0, "end\n") and "old" in done.stderr


@pytest.mark.parametrize("backend", ["torch", "jax", ""])
def test_the_backend_is_the_programs_choice(backend):
    body = "print(os.environ['KERAS_BACKEND'], os.environ['KERAS_HOME'])"
    assert run_main(body, KERAS_BACKEND=backend).stdout == f"tensorflow {os.devnull}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_one_line_also_within_an_import(number):
    """`quietly` stands around the import of TensorFlow."""
    body = (
        "from ncsn_tf.backend.quiet import quietly\n"
        "    with quietly():\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "        time.sleep(60)"
    )
    began = time.monotonic()
    done = run_main(body)
    usual = "interrupted" if number == signal.SIGINT else f"interrupted by {number.name}"
    assert (done.returncode, done.stderr) == (128 + number, f"{usual}\n")
    assert time.monotonic() - began < 50  # the import is not awaited


def test_a_ctrl_c_while_python_ends_is_no_traceback():
    """From the moment on in which the command has ended."""
    program = (
        "import atexit, os, signal, threading, time\n"
        "from ncsn_tf.commands.console import run_command\n"
        "def late():\n"
        "    threading.main_thread().join()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "def main(argv):\n"
        "    threading.Thread(target=late).start()\n"
        "run_command(main, ['ncsn', 'x'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize("value", ["not json", "[]", "3", "[" * 100_000])
def test_a_tf_config_that_is_none_is_refused(value, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(ConfigError, match="TF_CONFIG is not a JSON object"):
        ambient.check(["ncsn"])
    monkeypatch.setenv("TF_CONFIG", "{}")
    ambient.check(["ncsn"])


@pytest.mark.parametrize("name", ["train", "sample", "evaluate", "export", "report"])
def test_arguments_that_are_not_text_are_refused(name, capsys):
    """TensorFlow takes no path that is not UTF-8, nor does JSON."""
    with pytest.raises(SystemExit) as end:
        run_command(run_named, ["ncsn", name, "--workdir=runs/\udcff"])
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "error: --workdir=runs/\\xff is not UTF-8: name files and folders in UTF-8\n"
    )


def test_a_folder_that_is_gone_is_said(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(UserError, match="the current folder cannot be used"):
        ambient.check(["ncsn"])


def test_training_that_has_not_begun_ends_with_0(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    start = lambda config: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    monkeypatch.setattr(train, "start_for_training", start)
    with pytest.raises(SystemExit) as end:
        run_command(train.main, ["ncsn train", "--dataset=digits"])
    assert end.value.code == 0
    assert capsys.readouterr().err.startswith("SIGTERM: nothing was lost")


def test_an_export_that_is_broken_off_leaves_nothing(monkeypatch, capsys, tmp_path):
    """The end of a training: exit code 0, and the same command exports."""
    from types import SimpleNamespace

    import numpy as np

    from ncsn_tf.serving import export, versions
    from ncsn_tf.training import loop

    def write(folder):
        folder.mkdir()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(train, "start_for_training", lambda config: None)
    state = SimpleNamespace(step=SimpleNamespace(numpy=lambda: np.int64(2)))
    monkeypatch.setattr(loop, "train", lambda config, strategy, metric: state)
    exports = tmp_path / "export"
    monkeypatch.setattr(
        export, "export_run", lambda run_dir: versions.write_version(exports, write)
    )
    with pytest.raises(SystemExit) as end:
        run_command(train.main, ["ncsn train", "--dataset=digits", "--num_steps=2"])
    assert end.value.code == 0 and os.listdir(exports) == []
    assert capsys.readouterr().err == (
        "SIGTERM: training is done and saved, its export is not made; the same command exports\n"
    )


@pytest.mark.slow
def test_another_keras_json_changes_nothing(tmp_path):
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(
        '{"backend": "torch", "floatx": "float64", "image_data_format": "channels_first"}'
    )
    body = (
        "import keras; from ncsn_tf.backend import compat\n"
        "    print(keras.backend.backend(), keras.backend.floatx())"
    )
    done = run_main(body, HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "tensorflow float32\n"), done.stderr


def test_keras_of_another_precision_is_one_line(monkeypatch):
    """In a notebook."""
    from ncsn_tf.backend import compat

    monkeypatch.setattr(compat.keras.backend, "floatx", lambda: "float64")
    with pytest.raises(ConfigError, match="floatx=float64, and ncsn_tf needs float32"):
        compat._check_keras()
