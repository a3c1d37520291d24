"""Signals that ask for an end: what the first one does in each kind of block, and the second."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ncsn_tf.backend import reactions, signals

ROOT = Path(__file__).resolve().parents[2]
EVERY = pytest.mark.parametrize("number", signals.NUMBERS, ids=lambda number: number.name)


def kill(number):
    os.kill(os.getpid(), number)


@EVERY
def test_a_signal_raises_in_a_command(number):
    before = [signal.getsignal(each) for each in signals.NUMBERS]
    with pytest.raises(signals.Interrupted) as end, signals.watched():
        kill(number)
        time.sleep(5)
    assert end.value.code == 128 + number and end.value.line.startswith("interrupted")
    assert [signal.getsignal(each) for each in signals.NUMBERS] == before
    assert not signals.asked()


@EVERY
def test_a_signal_is_asked_for_where_it_is_deferred(number):
    with signals.deferred(lambda name: None):
        signals.check()
        kill(number)
        assert signals.asked() == number.name
        with pytest.raises(signals.Interrupted):
            signals.check()
    assert not signals.asked()


def test_an_outcome_names_the_signal_and_is_that_of_its_block():
    with signals.handling(), signals.outcome("{name}: all is saved", 0):
        with pytest.raises(signals.Interrupted) as end:
            kill(signal.SIGTERM)
        assert (end.value.line, end.value.code) == ("SIGTERM: all is saved", 0)


def test_a_deferred_block_can_be_left_open_for_the_beginning():
    interrupted = pytest.raises(signals.Interrupted)
    with signals.deferred(lambda name: None), interrupted, signals.raising():
        kill(signal.SIGINT)


def test_ignored_hangups_stay_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.watched():
            kill(signal.SIGHUP)
            assert not signals.asked()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_two_of_one_wish_are_one(monkeypatch):
    """A closed terminal is told by the kernel and by the shell."""
    killed = []
    with signals.deferred(lambda name: None):
        kill(signal.SIGHUP)
        kill(signal.SIGHUP)
        kill(signal.SIGTERM)
        assert signals.asked() == "SIGHUP"
        monkeypatch.setattr(os, "kill", lambda process, number: killed.append(number))
        monkeypatch.setattr(reactions, "SAME_WISH", 0.0)
        signal.raise_signal(signal.SIGTERM)
        assert killed == [signal.SIGTERM] and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_second_ctrl_c_in_a_notebook_ends_the_call_and_not_the_kernel(monkeypatch):
    """The first one lets the step end."""
    monkeypatch.setattr(reactions, "SAME_WISH", 0.0)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as end, signals.deferred(lambda name: None):
        kill(signal.SIGINT)
        assert signals.asked() == "SIGINT"
        kill(signal.SIGINT)
        time.sleep(5)
    assert end.type is KeyboardInterrupt
    assert signal.getsignal(signal.SIGINT) is before and not signals.asked()


def test_other_threads_handle_no_signals():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with signals.watched(), signals.deferred(lambda name: None), signals.at_once():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_nothing_is_left_behind():
    def count():
        return threading.active_count(), len(os.listdir("/dev/fd"))

    before = count()
    for _ in range(5):
        with signals.watched():
            pass
    assert count() == before


# The main thread is in one long call, as within TensorFlow.
PROGRAM = """
import contextlib, hashlib
from ncsn_tf.backend import reactions, signals
reactions.GRACE, reactions.SAME_WISH = 0.5, 0.2
def long_call():
    print("started", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000_000)  # without Python's lock
def overdue(name):
    {overdue}
with signals.watched(), {block}:
    long_call()
"""


@pytest.mark.parametrize(
    ("block", "overdue", "kills", "code", "line"),
    [
        ("contextlib.nullcontext()", "", 1, 143, "interrupted by SIGTERM\n"),
        ("signals.at_once()", "", 1, 143, "interrupted by SIGTERM\n"),
        ("signals.outcome('{name}: kept', 0)", "", 1, 0, "SIGTERM: kept\n"),
        ("signals.deferred(overdue)", "return name + ' is late'", 1, 143, "SIGTERM is late\n"),
        ("signals.deferred(overdue)", "raise signals.Interrupted('x', 0)", 1, 0, "x\n"),
        ("signals.deferred(overdue)", "return None", 2, 143, ""),
    ],
)
def test_a_call_that_takes_too_long_is_not_awaited(block, overdue, kills, code, line):
    program = PROGRAM.format(block=block, overdue=overdue or "pass")
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "started\n"
        time.sleep(0.3)  # until it is within the call
        began = time.monotonic()
        for _ in range(kills):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.4)
        while kills > 1 and process.poll() is None and time.monotonic() - began < 60:
            process.send_signal(signal.SIGTERM)  # two that met there were one wish
            time.sleep(0.4)
        assert process.stderr.read() == line
        process.wait(timeout=60)
    assert process.returncode == code
    assert time.monotonic() - began < 90  # the call takes many minutes


def test_the_last_line_is_plain_and_is_not_awaited_where_nobody_reads():
    program = PROGRAM.format(block="signals.outcome('a\\n\\x1b[2Jb')", overdue="pass")
    for is_full in (False, True):
        read, write = os.pipe()
        if is_full:
            os.set_blocking(write, False)
            with pytest.raises(BlockingIOError):
                while True:
                    os.write(write, bytes(2**12))
            os.set_blocking(write, True)
        with subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=write,
        ) as process:
            assert process.stdout.readline() == b"started\n"
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(timeout=60) == 143
            finally:
                process.kill()
        os.close(write)
        with open(read, "rb") as pipe:
            text = pipe.read()
        assert text.strip(b"\0") == (b"" if is_full else b"a \\x1b[2Jb\n")


def test_what_is_settled_may_take_its_time():
    program = """
import os, signal, time
from ncsn_tf.backend import reactions, signals
reactions.GRACE = 0.7
with signals.watched(), signals.deferred(lambda name: "too late"):
    os.kill(os.getpid(), signal.SIGTERM)
    signals.settle()
    time.sleep(1.5)
print("ended by itself")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended by itself\n", "")
