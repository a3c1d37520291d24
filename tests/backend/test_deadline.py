"""The limit of a start, in real processes: also of calls that keep all of Python from running."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ncsn_tf.backend.deadline import at_most

ROOT = Path(__file__).resolve().parents[2]
# As TensorFlow starts: Python's lock held in a call of C, file descriptor 2 elsewhere.
WAIT = """
import ctypes, os, time
from ncsn_tf.backend.deadline import at_most
with at_most({seconds}, "error: it's too long", 75):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    {wait}
print("done")
time.sleep({rest})
"""


def run(**what):
    return subprocess.run(
        [sys.executable, "-c", WAIT.format(**what)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("wait", ["time.sleep(30)", "ctypes.PyDLL(None).sleep(30)"])
def test_what_takes_too_long_ends_in_a_line(wait):
    started = time.monotonic()
    done = run(seconds=0.5, wait=wait, rest=0)
    assert (done.returncode, done.stdout, done.stderr) == (75, "", "error: it's too long\n")
    assert time.monotonic() - started < 29  # before the wait is over


def test_what_is_done_in_time_goes_on():
    done = run(seconds=1.0, wait="pass", rest=1.5)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_it_takes_nothing_along():
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        with at_most(60, "error", 75):
            pass
    assert len(os.listdir("/dev/fd")) == before
