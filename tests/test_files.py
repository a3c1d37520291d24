"""Files appear whole or not at all, and what cannot be read or written is one line."""

import errno
import os
import zipfile

import numpy as np
import pytest

from ncsn_tf import files
from ncsn_tf.errors import UserError

ARRAYS = {"images": np.arange(5000, dtype=np.uint8) // 20, "seeds": np.arange(3)}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.png"
    path.write_text("old")

    def half(temporary):
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="file.png cannot be written: No space left on device"):
        files.write_atomically(path, half)
    assert os.listdir(tmp_path) == ["file.png"]
    assert path.read_text() == "old"

    files.write_atomically(path, lambda temporary: temporary.write_text("new"))
    assert os.listdir(tmp_path) == ["file.png"]
    assert path.read_text() == "new"


def test_folders_are_made_and_what_is_in_the_way_is_said(tmp_path):
    files.write_atomically(tmp_path / "new" / "a.txt", lambda path: path.write_text("a"))
    assert os.listdir(tmp_path / "new") == ["a.txt"]
    for place in ("new", "new/a.txt/b"):
        for write in (
            lambda path: files.write_atomically(path, lambda file: file.write_text("b")),
            lambda path: files.save_arrays(path, ARRAYS),
            files.check_place,
        ):
            with pytest.raises(UserError, match=f"{place} cannot be written: [A-Z].*"):
                write(tmp_path / place)
    assert os.listdir(tmp_path / "new") == ["a.txt"]


def test_a_place_is_looked_at_and_left_as_it_is(tmp_path, monkeypatch):
    files.check_place(tmp_path / "a" / "b" / "c.png")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="file/c.png cannot be written: Not a directory"):
        files.check_place(tmp_path / "file" / "c.png")
    with pytest.raises(UserError, match="cannot be written: Is a directory"):
        files.check_place(tmp_path)
    assert os.listdir(tmp_path) == ["file"]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match="c.png cannot be written: Permission denied"):
        files.check_place(tmp_path / "a" / "b" / "c.png")


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_come_back(compressed, tmp_path):
    path = tmp_path / "new" / "a.npz"
    files.save_arrays(path, ARRAYS, compressed)
    assert (path.stat().st_size < 5000) == compressed
    read = files.read_arrays(path)
    assert sorted(read) == ["images", "seeds"]
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype
    assert list(files.read_arrays(str(path), ["seeds"])) == ["seeds"]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A folder of files that cannot be read as an .npz, each in another way."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "text").write_text("no arrays")
    (folder / "start").write_bytes(b"PK no archive")
    (folder / "nothing").write_bytes(b"")
    (folder / "folder").mkdir()
    with open(folder / "npy", "wb") as file:
        np.save(file, ARRAYS["images"])
    np.savez(folder / "other.npz", x=ARRAYS["images"])
    np.savez(folder / "objects.npz", images=np.array([{}, None]))
    with zipfile.ZipFile(folder / "header.npz", "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': nothing")
    with zipfile.ZipFile(folder / "member.npz", "w") as archive:
        archive.writestr("images.npy", b"")
    files.save_arrays(folder / "whole.npz", ARRAYS, compressed=True)
    whole = (folder / "whole.npz").read_bytes()
    (folder / "half.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "stream.npz").write_bytes(whole[:60] + bytes(40) + whole[100:])
    files.save_arrays(folder / "plain.npz", ARRAYS)
    plain = bytearray((folder / "plain.npz").read_bytes())
    plain[1000] ^= 1
    (folder / "bit.npz").write_bytes(plain)
    return folder


@pytest.mark.parametrize(
    "name, cause",
    [
        ("text", "not an .npz"),
        ("start", "not an .npz"),
        ("nothing", "not an .npz"),
        ("npy", "not an .npz"),
        ("half.npz", "not an .npz"),
        ("other.npz", "images is not a file in the archive"),
        ("objects.npz", "Object arrays cannot be loaded when allow_pickle=False"),
        ("header.npz", ""),
        ("member.npz", "images is not an array"),
        ("stream.npz", "Error -3 while decompressing"),
        ("bit.npz", "Bad CRC-32 for file 'images.npy"),
    ],
)
def test_damage_is_one_line(name, cause, damaged):
    path = damaged / name
    with pytest.raises(UserError) as error:
        files.read_arrays(path, ["images"])
    assert str(error.value).startswith(f"{path} cannot be read: {cause}")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError) as error:
        files.read_arrays(path, ["images"], "a classifier: make one")
    assert str(error.value) == f"{path} is not a classifier: make one"


@pytest.mark.parametrize("name, cause", [("none", errno.ENOENT), ("folder", errno.EISDIR)])
def test_what_is_not_there_is_said_whatever_it_should_be(name, cause, damaged):
    for what in ("", "a classifier"):
        with pytest.raises(UserError) as error:
            files.read_arrays(damaged / name, what=what)
        assert str(error.value) == f"{damaged / name} cannot be read: {os.strerror(cause)}"


def test_memory_that_is_not_there_is_no_damage(damaged, monkeypatch):
    def load(file):
        raise MemoryError

    monkeypatch.setattr(np, "load", load)
    with pytest.raises(MemoryError):
        files.read_arrays(damaged / "whole.npz")
