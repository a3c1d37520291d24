"""Images in a file: the same bits as in memory, and none of it stays in memory."""

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
from test_batches import encoded, numbered

from ncsn_tf.commands.console import run_command
from ncsn_tf.data import batches as data
from ncsn_tf.data import image_file
from ncsn_tf.data.image_file import FileImages
from ncsn_tf.data.source import Source
from ncsn_tf.errors import UserError


def in_file(source, folder, rows=None, unreadable=()):
    """The same images in a file."""
    np.save(folder / "images.npy", source.images.array)
    return Source(FileImages(folder / "images.npy", rows, unreadable), "file", source.labels)


def everything(source):
    """All kinds of batches of a source, one after another."""
    options = {"batch_size": 8, "seed": 5, "random_flip": True}
    yield from data.training_batches(source, **options, start_step=2).take(7)
    yield from data.evaluation_batches(source, batch_size=8, num_batches=9)
    for places, pixels in data.ordered_batches(source, 7):
        yield places
        yield pixels
    yield data.load_pixels(source, source.num_examples)


def assert_same(*sources):
    for first, *others in zip(*map(everything, sources), strict=True):
        for other in others:
            np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize(
    "undecodable", [[], [0, 7, 8, 9, 49], pytest.param([*range(1, 50)], marks=pytest.mark.slow)]
)
def test_all_kinds_give_the_same_bits(undecodable, tmp_path):
    source = numbered(50, (4, 6, 3))
    others = [encoded(source, undecodable), in_file(source, tmp_path, unreadable=undecodable)]
    assert_same(*others, *([] if undecodable else [source]))


def test_a_system_without_pread_reads_the_same(tmp_path, monkeypatch):
    images = in_file(numbered(50), tmp_path).images
    expected = images.pixels(np.array([49, 0, 7]))
    monkeypatch.delattr("os.preadv")
    np.testing.assert_array_equal(images.pixels(np.array([49, 0, 7])), expected)


def test_memory_is_used_again_only_when_nobody_has_it(tmp_path):
    source = in_file(numbered(250), tmp_path)
    images = source.images
    kept = [images.pixels(np.array([place, place + 1])) for place in range(40)]
    views = [images.pixels(np.array([place]))[0, :, 0] for place in range(40)]
    for place in range(40):
        assert kept[place][:, 0, 0, 0].tolist() == [place, place + 1]
        assert views[place].ravel().tolist() == [place, place]
    batches = data.ordered_batches(source, 8)
    held = [(places.numpy(), pixels) for places, pixels in batches]
    arrays = list(batches.as_numpy_iterator())
    for (places, pixels), (_, array) in zip(held, arrays, strict=True):
        np.testing.assert_array_equal(pixels[:, 0, 0, 0], places)
        np.testing.assert_array_equal(array[:, 0, 0, 0], places)
    images = in_file(numbered(250), tmp_path).images
    first = images.pixels(np.array([1]))
    address = first.ctypes.data
    assert address % 64 == 0
    del first
    assert images.pixels(np.array([2])).ctypes.data == address


def test_rows_are_chosen_and_batches_are_typed(tmp_path):
    source = in_file(numbered(50), tmp_path, rows=np.array([40, 3, 17]))
    assert source.num_examples == 3 and source.image_shape == (2, 2, 1)
    assert source.images.pixels(np.array([1, 0]))[:, 0, 0, 0].tolist() == [3, 40]
    dataset = data.training_batches(source, batch_size=2, seed=0)
    assert dataset.element_spec.shape == [2, 2, 2, 1]


def test_only_what_is_needed_is_decoded_for_the_first_batches():
    source = numbered(250)
    form = encoded(numbered(2))
    decoded = []

    def decode(record):
        decoded.append(record)
        return source.images.array[int(record)]

    many = np.array([str(place % 250).encode() for place in range(20_000)], object)
    images = type(form.images)(many, decode, source.image_shape, "many")
    batches = data.evaluation_batches(Source(images, "many"), batch_size=8, num_batches=2000)
    assert len(list(batches.take(3))) == 3
    assert len(decoded) < 2000


def test_other_files_are_none(tmp_path):
    path = tmp_path / "images.npy"
    for array, message in (
        (np.zeros([2, 4], np.uint8), r"not uint8 \[N, H, W, C\], but uint8 \[2, 4\]"),
        (np.zeros([2, 4, 4, 1]), "float64"),
        (np.asfortranarray(np.zeros([2, 4, 4, 3], np.uint8)), "uint8"),
    ):
        np.save(path, array)
        with pytest.raises(ValueError, match=message):
            FileImages(path)
    np.save(path, np.zeros([2, 4, 4, 1], np.uint8))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="159 bytes, not 160"):
        FileImages(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError):
        FileImages(path)


def test_a_file_that_is_cut_short_while_it_is_read_is_an_error(tmp_path):
    images = in_file(numbered(50), tmp_path).images
    Path(tmp_path / "images.npy").write_bytes(b"")
    with pytest.raises(UserError, match="images.npy ends too early"):
        images.pixels(np.array([3]))


def resident():
    """This process's memory now, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1e3


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_what_was_read_does_not_stay_in_memory(tmp_path):
    path, rng = tmp_path / "images.npy", np.random.default_rng(0)
    np.lib.format.open_memmap(path, "w+", np.uint8, (100_000, 32, 32, 1)).flush()  # 102 MB
    images = FileImages(path)
    images.pixels(np.arange(64))
    before = resident()
    for _ in range(400):
        images.pixels(rng.integers(0, 100_000, 256))
    assert resident() - before < 10
    mapped = np.load(path, mmap_mode="r")
    before = resident()
    for _ in range(400):
        mapped[rng.integers(0, 100_000, 256)]
    assert resident() - before > 50  # or this test could not fail


@pytest.mark.parametrize("fault", ["cut short", "disk"])
def test_a_file_that_fails_while_batches_are_read_ends_a_command_in_one_line(
    fault, tmp_path, monkeypatch, capsys
):
    source, path = in_file(numbered(50), tmp_path), tmp_path / "images.npy"
    if fault == "cut short":
        os.truncate(path, 200)
        expected = f"error: {path} ends too early: it was cut short meanwhile\n"
    else:
        expected = f"error: {path}: Input/output error\n"

        def fail(*_):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "preadv", fail)

    def main(argv):
        for _ in data.training_batches(source, batch_size=8, seed=0):
            pass

    with pytest.raises(SystemExit) as end:
        run_command(main, ["train.py"])
    assert end.value.code == 1 and capsys.readouterr().err == expected


def test_a_disk_may_bring_less_at_a_time(tmp_path, monkeypatch):
    images, preadv = in_file(numbered(50), tmp_path).images, os.preadv
    expected = images.pixels(np.array([49, 0, 7]))
    monkeypatch.setattr(
        os, "preadv", lambda file, views, start: preadv(file, [views[0][:3]], start)
    )
    np.testing.assert_array_equal(images.pixels(np.array([49, 0, 7])), expected)


def test_memory_that_is_kept_has_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "_MOST_BYTES", 1000)
    buffers = image_file._Buffers()
    held = [buffers.take(size) for size in (300, 300, 300, 2000, 10)]
    assert sum(map(len, buffers._all)) <= 1000 and len(held[3]) == 2000


@pytest.mark.parametrize("header", ["{'descr': '''", "{" * 5000, "{'shape': (1,", "\0"])
def test_a_damaged_header_is_a_value_error(header, tmp_path):
    path = tmp_path / "images.npy"
    path.write_bytes(b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(ValueError):
        image_file.read_header(path)
