"""The export at the end of a training by several workers: an end for one is one for all."""

import os
import signal
import sys
import threading

import pytest
from waiting import wait_for

from ncsn_tf.backend import reactions, signals
from ncsn_tf.backend.outcomes import NOTE
from ncsn_tf.commands import final_export
from ncsn_tf.commands.final_export import export_at_the_end
from ncsn_tf.errors import UserError
from ncsn_tf.settings.config import Config

NO_EXPORT = "training is done and saved, its export is not made; the same command exports"


class Workers:
    """The workers of a run: this one, and another that says what it is told to say."""

    count = 2

    def __init__(self, is_chief, is_made=True):
        self.is_chief, self.is_made = is_chief, is_made
        self.while_the_chief_works = lambda: None

    def any(self, flag):
        return flag

    def by_chief(self, work):
        self.while_the_chief_works()
        return work() if self.is_chief else None

    def from_chief(self, number):
        return number if self.is_chief else self.is_made

    def wait(self):
        pass


@pytest.fixture
def config(tmp_path):
    return Config(workdir=str(tmp_path), stopped_code=9)


@pytest.fixture
def child(tmp_path, monkeypatch):
    """child(script): what runs as the export; its process writes its number first."""

    def make(script):
        path = tmp_path / "child"
        path.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return make


def once_it_runs(tmp_path, action):
    """A thread that acts once the process of the export has written its number."""

    def act():
        number = tmp_path / "pid"
        wait_for(lambda: number.exists() and number.read_text().endswith("\n"))
        action()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def assert_gone(tmp_path):
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_another_worker_ends_the_export_of_the_chief(config, child, tmp_path):
    child("exec sleep 60")
    thread = once_it_runs(tmp_path, (tmp_path / NOTE).touch)
    with pytest.raises(signals.Interrupted) as end, signals.watched():
        export_at_the_end(config, Workers(is_chief=True), None)
    thread.join()
    assert (end.value.line, end.value.code) == (f"asked for by another worker: {NO_EXPORT}", 9)
    assert_gone(tmp_path)
    assert not (tmp_path / NOTE).exists()


def test_the_chief_ends_its_export(config, child, tmp_path):
    child("exec sleep 60")
    thread = once_it_runs(tmp_path, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(signals.Interrupted) as end, signals.watched():
        export_at_the_end(config, Workers(is_chief=True), None)
    thread.join()
    assert (end.value.line, end.value.code) == (f"SIGTERM: {NO_EXPORT}", 9)
    assert_gone(tmp_path)


@pytest.mark.parametrize("is_made", [False, True])
def test_a_worker_tells_the_chief_and_waits(is_made, config, tmp_path, monkeypatch):
    """If it comes too late, all is done, for all."""
    monkeypatch.setattr(reactions, "GRACE", 0.2)
    workers = Workers(is_chief=False, is_made=is_made)

    def wait():
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for((tmp_path / NOTE).exists)

    workers.while_the_chief_works = wait
    with pytest.raises(signals.Interrupted) as end, signals.watched():
        export_at_the_end(config, workers, None)
    assert (tmp_path / NOTE).exists()
    expected = (
        ("SIGTERM: training is done and saved", 0) if is_made else (f"SIGTERM: {NO_EXPORT}", 9)
    )
    assert (end.value.line, end.value.code) == expected


def test_an_export_that_fails_is_an_error(config, child):
    child("exit 3")
    with pytest.raises(UserError, match="the export ended with exit code 3"):
        export_at_the_end(config, Workers(is_chief=True), None)


def test_nobody_waits_for_an_export_that_is_not_wanted(tmp_path, monkeypatch):
    monkeypatch.setattr(final_export, "_export_elsewhere", None)
    export_at_the_end(Config(workdir=str(tmp_path), export=False), Workers(is_chief=True), None)
