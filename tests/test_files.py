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


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupted(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(tmp_path / "file.png", interrupted)
    assert os.listdir(tmp_path) == []


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, calls = tmp_path / "file.txt", []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor):
        calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_fsync(descriptor)

    def replace(source, target):
        calls.append("replace")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    files.write_atomically(path, lambda temporary: temporary.write_text("new"))
    assert calls == [str(tmp_path / f".file.txt.{os.getpid()}.tmp"), "replace", str(tmp_path)]


@pytest.mark.parametrize("code, is_error", [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_disk_that_cannot_flush_is_no_error_and_one_that_fails_is(
    code, is_error, tmp_path, monkeypatch
):
    def fsync(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    write = lambda: files.write_atomically(tmp_path / "a", lambda path: path.write_text("a"))  # noqa: E731
    if is_error:
        with pytest.raises(UserError, match="a cannot be written: Input/output error"):
            write()
    else:
        write()
    assert os.listdir(tmp_path) == ([] if is_error else ["a"])


def test_what_killed_writers_of_the_same_file_left_is_removed(tmp_path):
    dead = 999_999_999
    old = [
        f".a.txt.{dead}.tmp",
        f".b.txt.{dead}.tmp",
        f".a.txt.{os.getppid()}.tmp",
        ".a.txt.x.tmp",
        f"a.txt.{dead}.tmp",
        f".a.txt.{dead}",
    ]
    for name in old:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    young = tmp_path / ".a.txt.999999998.tmp"  # another machine may be writing it
    young.touch()
    files.write_atomically(tmp_path / "a.txt", lambda path: path.write_text("a"))
    assert sorted(os.listdir(tmp_path)) == sorted(["a.txt", young.name, *old[1:]])
    files.remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(["a.txt", *old[2:]])


@pytest.mark.parametrize("has_descriptors", [True, False])
@pytest.mark.parametrize("name", ["plain {a}", "a[1]", "a\\b", "*?"])
def test_a_folder_by_a_name_that_is_no_pattern(name, has_descriptors, tmp_path, monkeypatch):
    if not has_descriptors:
        monkeypatch.setattr(files.paths, "_OPEN_FILES", "/nowhere")
    folder = tmp_path / name / "in"
    folder.mkdir(parents=True)
    with files.plain_folder(folder) as plain:
        assert not set(plain) & set("[]*?\\")
        assert os.path.samefile(plain, folder)
    assert os.listdir(tmp_path) == [name]


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


def test_memory_that_is_not_there_is_one_line(damaged, monkeypatch):
    def load(file, **options):
        raise MemoryError

    monkeypatch.setattr(np, "load", load)
    with pytest.raises(UserError, match="whole.npz cannot be read: it needs more memory than"):
        files.read_arrays(damaged / "whole.npz", what="a classifier")


def test_arrays_are_no_larger_than_allowed(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", images=np.zeros([1000, 32, 32], np.uint8))
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    monkeypatch.setattr(files.arrays, "MAX_ARRAY_BYTES", 10**6)
    with pytest.raises(UserError, match=r"its arrays of 1,024,128 bytes are more than 1,000,000$"):
        files.read_arrays(tmp_path / "bomb.npz", ["images"])
    # A header that declares more than there is makes NumPy take that much memory.
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000,)}"
    header = header.ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "header.npz", "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00\x76\x00" + header)
    with pytest.raises(UserError, match="its member images.npy is cut short"):
        files.read_arrays(tmp_path / "header.npz", ["images"])
