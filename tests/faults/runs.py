"""Runs for tests of faults: their commands, and what of them can be compared."""

import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from training_helpers import assert_same_run, numbers

NCSN = "tests/faults/tiny_network.py"
NUM_STEPS = 60  # of a run
TINY = [
    *("--dataset=digits", "--features=2", "--num_levels=2", "--num_steps_each=1"),
    *("--batch_size=8", "--sample_every=0", "--eval_every=0", "--log_every=1000"),
    *("--checkpoint_every=2", "--keep_checkpoints=2"),
]


def train(workdir, num_steps, *flags, export=False):
    """The command that trains a tiny run."""
    flags = [f"--workdir={workdir}", f"--num_steps={num_steps}", *flags]
    return [NCSN, "train", *TINY, *flags, *([] if export else ["--noexport"])]


def files(folder):
    """Names of the files and folders below a folder, but for the curves, whose names have times."""
    paths = (path.relative_to(folder) for path in Path(folder).rglob("*"))
    return sorted(str(path) for path in paths if "tensorboard" not in path.parts)


def contents(folder):
    """{name: bytes} of the files below a folder, but for the curves."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "tensorboard" not in path.parts
    }


def a_minute_later(folder):
    """Have the unfinished files of a folder stay as they are for long enough to be nobody's.

    Younger ones may be those of another machine that is writing.
    """
    then = time.time() - 61
    for path in Path(folder).glob(".*"):
        os.utime(path, (then, then))


def assert_undisturbed(run_dir, expected):
    """A run ended as another one that no fault met: every bit of it, and its files."""
    assert_same_run(numbers(run_dir), numbers(expected))
    ours, theirs = set(files(run_dir)), set(files(expected))
    assert ours == theirs, f"left: {sorted(ours - theirs)}, missing: {sorted(theirs - ours)}"


def export_variables(version):
    """{name: array} of an export."""
    reader = tf.train.load_checkpoint(str(Path(version) / "variables" / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if name[0] != "_"]
    return {name: reader.get_tensor(name) for name in names}


def assert_same_variables(first, second):
    """Two exports hold the same, bit for bit."""
    first, second = export_variables(first), export_variables(second)
    assert first.keys() == second.keys()
    different = [name for name in first if np.any(first[name] != second[name])]
    assert different == []


def in_turn(server, commands, cwd, is_real=False, **options):
    """How commands ended that ran in turn in one process: a `subprocess.CompletedProcess` of each.

    Args:
        server: a `ForkServer`.
        commands: [the name of a command and its flags].
        is_real: whether the network is the real one.
        cwd, options: see `ForkServer.run`.
    """
    argv = ["tests/faults/in_turn.py", json.dumps(commands), *(["real"] if is_real else [])]
    done = server.run(argv, cwd=cwd, **options)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout.splitlines()[-1])
    return [
        subprocess.CompletedProcess(argv, **end) for argv, end in zip(commands, ends, strict=True)
    ]


def one_line(done, code=1):
    """The error of a command that must have ended in one line; warnings may stand before it."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and lines[-1] == errors[0], done.stderr
    return errors[0]


def seconds_to(server, argv, cwd, line="First step done", timeout=300):
    """(seconds until a command says a line, or ends; its exit code; all that it said)."""
    started = time.monotonic()
    with server.popen(argv, cwd=cwd, stderr=subprocess.STDOUT) as process:
        took, said = None, []
        for text in process.stdout:
            said.append(text)
            if took is None and line in text:
                took = time.monotonic() - started
        code = process.wait(timeout)
    return took or time.monotonic() - started, code, "".join(said)
