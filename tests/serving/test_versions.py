"""Versions appear whole, with the next number, and killed writers leave nothing for long."""

import errno
import os
import platform
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from ncsn_tf.errors import UserError
from ncsn_tf.files.processes import SILENCE, machine
from ncsn_tf.serving import versions as module
from ncsn_tf.serving.versions import versions, write_version


def write(path):
    """A version with a folder and a file in it."""
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_text(str(path))


def test_versions_are_numbers(tmp_path):
    for name in ("2", "10", ".11.345", "latest", "3.5"):
        (tmp_path / name).mkdir()
    assert versions(tmp_path) == [2, 10]
    assert versions(tmp_path / "absent") == []


def test_versions_count_up_and_are_complete(tmp_path):
    folder = tmp_path / "run" / "export"
    for number in (1, 2):
        assert write_version(folder, write) == folder / str(number)
        assert sorted(os.listdir(folder / str(number))) == ["saved_model.pb", "variables"]
    (folder / "1").rename(folder / "7")
    assert write_version(folder, write).name == "8"
    assert sorted(os.listdir(folder)) == ["2", "7", "8"]


def test_nothing_has_a_versions_name_before_it_is_complete(tmp_path):
    seen = []
    write_version(tmp_path, lambda path: (write(path), seen.extend(versions(tmp_path))))
    assert seen == []


@pytest.mark.parametrize("code", [errno.ENOTEMPTY, errno.EEXIST])
def test_a_version_that_another_writer_took_meanwhile(code, tmp_path, monkeypatch):
    real = os.rename

    def rename(source, target):
        if target.name == "1":
            (target / "variables").mkdir(parents=True)
            raise OSError(code, "taken")
        real(source, target)

    monkeypatch.setattr(module.os, "rename", rename)
    assert write_version(tmp_path, write).name == "2"
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]
    assert (tmp_path / "2" / "saved_model.pb").is_file()


def test_what_killed_writers_left_is_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = machine()
    stale = [f".1.{ended.pid}.{here}", f".7.{os.getpid()}.{here}"]
    others = [f".1.{os.getppid()}.{here}", f".1.{ended.pid}.{here}-else", f".a.{ended.pid}.{here}"]
    for name in [*stale, *others, "latest"]:
        (tmp_path / name / "variables").mkdir(parents=True)
    write_version(tmp_path, write)
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "latest", "1"])


def test_what_killed_writers_of_other_machines_left_is_removed_by_its_age(tmp_path):
    """A container may have another name each time; what is being written is younger."""
    names = [".1.5.elsewhere", f".1.5.{platform.node()}", ".2.5.writes"]
    for name in names:
        (tmp_path / name / "variables").mkdir(parents=True)
        file = tmp_path / name / "variables" / "data"
        file.write_text("")
        then = time.time() - SILENCE - 60
        for path in (file.parent, file.parent.parent, *([] if "writes" in name else [file])):
            os.utime(path, (then, then))
    write_version(tmp_path, write)
    assert sorted(os.listdir(tmp_path)) == [".2.5.writes", "1"]


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left"), tf.errors.ResourceExhaustedError(None, None, "No space left")],
)
def test_a_failure_leaves_nothing(error, tmp_path):
    def fail(path):
        write(path)
        raise error

    write_version(tmp_path, write)
    with pytest.raises(UserError, match=r"^the export .*[/\\]2 cannot be written: .*No space left"):
        write_version(tmp_path, fail)
    assert os.listdir(tmp_path) == ["1"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file.export.1 cannot be written: "):
        write_version(tmp_path / "file" / "export", write)
