"""`ncsn`: its list of commands, misspelt ones, --help without TensorFlow, exit codes."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ncsn_tf
from ncsn_tf.commands.console import COMMANDS, run_command, run_named
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.settings.config import Config

ROOT = Path(__file__).resolve().parents[2]


def run_python(*args):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *args], env=env, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"], ["help"]])
def test_the_commands_are_listed(args, capsys):
    run_named(["ncsn", *args])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "usage: ncsn COMMAND [--flag=value ...]"
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == list(COMMANDS) and max(map(len, lines)) <= 100
    assert lines[-1] == "ncsn COMMAND --help lists a command's flags."


def test_the_version(capsys):
    run_named(["ncsn", "--version"])
    assert capsys.readouterr().out == f"ncsn {ncsn_tf.__version__}\n"


def test_the_facts_for_a_bug_report(capsys, tmp_path):
    (tmp_path / "images.npy").write_bytes(bytes(2_500_000))
    run_named(["ncsn", "info", f"--cache_dir={tmp_path}"])
    facts = dict(re.split("  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts["ncsn_tf"] == ncsn_tf.__version__
    assert facts["keras"] == importlib.metadata.version("keras")
    assert facts["cache"] == f"{tmp_path}, 1 files of 2.5 MB" and "CPU" in facts["devices"]


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("trian", "did you mean train?"),
        ("neighbours", "did you mean neighbors?"),
        ("--trial", f"known: {', '.join(COMMANDS)}"),
    ],
)
def test_a_misspelt_command_is_hinted_at(typed, hint):
    with pytest.raises(ConfigError) as error:
        run_named(["ncsn", typed])
    assert str(error.value) == f"{typed} is not a command; {hint}"


def test_a_misspelt_command_ends_with_2():
    result = run_python("-m", "ncsn_tf", "trian")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr == "error: trian is not a command; did you mean train?\n"


@pytest.mark.parametrize("program", ["ncsn", "python -m ncsn_tf"])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help(name, program, capsys):
    """Usage names the program as it was called; examples are commands of `ncsn`."""
    with pytest.raises(SystemExit) as end:
        run_command(run_named, [program, name, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: {program} {name} ")
    assert ".py" not in text


def module_of(name):
    return importlib.import_module(f"ncsn_tf.commands.{COMMANDS[name][0]}")


def examples():
    """(command, its arguments) of every example in --help that starts TensorFlow: no server's."""
    starting = [
        name for name in COMMANDS if any(n.startswith("start_") for n in vars(module_of(name)))
    ]
    for name in starting:
        for line in re.findall(r"^  ncsn( \S+(?: \S+)*)", module_of(name).SUMMARY, re.MULTILINE):
            if "--server" not in line:
                yield line.split()


@pytest.mark.parametrize("example", list(examples()), ids=" ".join)
def test_the_examples_of_help_are_right(example, monkeypatch, tmp_path):
    """Their flags are read, and they come as far as starting TensorFlow."""

    class StartedError(Exception):
        pass

    def start(*args, **kwargs):
        raise StartedError

    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoint.pth").touch()
    (tmp_path / "runs/mnist").mkdir(parents=True)
    Config(dataset="mnist").save(tmp_path / "runs/mnist/config.json")  # for `ncsn info`
    module = module_of(example[0])
    checks = {"check_inputs", "check_data_dir", "check_run"}  # of the reader's files
    for name in checks & vars(module).keys():
        monkeypatch.setattr(module, name, lambda *_: None)
    for name in [name for name in vars(module) if name.startswith("start_")]:
        monkeypatch.setattr(module, name, start)
    with pytest.raises(StartedError):
        run_named(["ncsn", *example])


HELP = """
import contextlib, io, sys, time
from ncsn_tf.commands.console import run_named
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    run_named(["ncsn", *sys.argv[1:]])
assert out.getvalue().startswith("usage: ncsn")
heavy = [name for name in ("tensorflow", "keras", "grpc") if name in sys.modules]
print(heavy, len(sys.modules), time.process_time())
"""


@pytest.mark.parametrize("args", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_is_instant(args):
    """By what is imported, and by the processor's time, which other work does not stretch."""
    result = run_python("-c", HELP, *args, "--help")
    heavy, rest = result.stdout.split("] ")
    modules, seconds = rest.split()
    assert heavy == "[", result.stderr
    assert int(modules) < 500 and float(seconds) < 1.0  # TensorFlow alone is thousands


def test_the_list_of_commands_needs_no_other_package():
    result = run_python(
        "-c",
        "import sys; from ncsn_tf.commands.console import run_named; run_named(['ncsn'])\n"
        "assert not {'absl', 'numpy'} & set(sys.modules)",
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("--a=1 must be 2"), 2, "error: --a=1 must be 2\n"),
        (UserError("the disk\nis full"), 1, "error: the disk is full\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (SystemExit(3), 3, ""),
    ],
)
def test_exit_codes(error, code, message, capsys):
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as stop:
        run_command(main, ["train.py"])
    assert stop.value.code == code
    assert capsys.readouterr().err == message


def test_a_program_that_succeeds_exits_with_0(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "argv", ["train.py", "--x"])
    with pytest.raises(SystemExit) as stop:
        run_command(seen.append)
    assert stop.value.code == 0 and seen == [["train.py", "--x"]]


@pytest.mark.parametrize("error", [ZeroDivisionError, ValueError, BrokenPipeError])
def test_a_bug_keeps_its_traceback(error):
    def main(argv):
        raise error

    with pytest.raises(error):
        run_command(main, ["train.py"])


def test_tensorflow_is_quiet_unless_told_otherwise(monkeypatch):
    def level():
        with pytest.raises(SystemExit):
            run_command(lambda argv: None, ["train.py"])
        return os.environ["TF_CPP_MIN_LOG_LEVEL"]

    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    assert level() == "0"
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    assert level() == "2"


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_goes_away_is_no_traceback(lines):
    code = (
        "from ncsn_tf.commands.console import run_command\n"
        f"main = lambda argv: [print('x' * 99) for _ in range({lines})]\n"
        "run_command(main)"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=write,
        stderr=subprocess.PIPE,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")
