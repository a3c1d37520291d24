"""Pictures that are decoded once: the same bits, kept through kills, changes and full disks."""

import contextlib
import errno
import json
import os
import shutil
import signal
import sys
import time
from concurrent import futures
from pathlib import Path

import joblib
import numpy as np
import pytest
from noted_pictures import noted, read_notes
from PIL import Image
from source_checks import images, one_line
from waiting import wait_for

from ncsn_tf.data import batches as data
from ncsn_tf.data import claims, preparation, prepared, rows
from ncsn_tf.data.cache import cache_folder
from ncsn_tf.data.collection import open_folder
from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import UserError
from ncsn_tf.files import is_running

PROGRAM = "tests/data/noted_pictures.py"
SHAPE = (4, 4, 1)


@pytest.fixture
def processes(tmp_path, monkeypatch):
    """The folder of prepared images; one picture is many, and one process is enough for them."""
    monkeypatch.setattr(prepared, "_FEW", 0)
    monkeypatch.setattr(preparation, "_PART_PICTURES", 4)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    monkeypatch.setenv("NCSN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def cache(processes, monkeypatch):
    """The same, with a thread of this process in place of others: it starts at once."""

    @contextlib.contextmanager
    def thread(work):
        monkeypatch.setattr(rows, "_work", work)
        with futures.ThreadPoolExecutor(1) as pool:
            yield pool.submit, 1

    monkeypatch.setattr(preparation, "_workers", thread)
    return processes


@pytest.fixture
def pictures(tmp_path):
    """A folder of 42 pictures in two folders, 3 and 20 of which cannot be read."""
    for place in range(42):
        path = tmp_path / "pictures" / "ab"[place >= 21] / f"{place:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 4), place).save(path)
        if place in (3, 20):
            path.write_bytes(b"no picture")
    return tmp_path / "pictures"


def load(path, split="train", **options):
    return load_source("image_folder", split, data_dir=str(path), **options)


def load_grey(path, split="train", **options):
    return load(path, split, image_size=4, channels=1, **options)


def entries(cache):
    return sorted(path.name for path in cache.iterdir())


def test_prepared_images_are_those_of_memory_and_are_decoded_once(
    cache, pictures, monkeypatch, capsys
):
    kept = load_grey(pictures), load_grey(pictures, "test")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"{pictures}: preparing 42 pictures, once, in {cache}/pictures-")
    assert [line for line in lines if "left out" in line] == [
        f"warning: picture left out, unreadable: {pictures}/{name}.png (not a picture)"
        for name in ("a/03", "a/20")
    ]
    monkeypatch.setattr(preparation, "fill", None)  # nothing is decoded again
    again = load_grey(pictures), load_grey(pictures, "test")
    monkeypatch.setattr(prepared, "_FEW", 100)
    shutil.rmtree(cache)
    in_memory = load_grey(pictures), load_grey(pictures, "test")
    assert not cache.exists()
    for sources in (kept, again):
        for source, other in zip(sources, in_memory, strict=True):
            np.testing.assert_array_equal(images(source), images(other))
            np.testing.assert_array_equal(source.labels, other.labels)
    options = {"batch_size": 8, "seed": 3, "random_flip": True, "with_labels": True}
    one, two = (data.training_batches(each[0], **options).take(9) for each in (again, in_memory))
    for batch, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(batch[0], other[0])
        np.testing.assert_array_equal(batch[1], other[1])


def test_what_lies_in_the_cache_can_be_read_without_this_program(cache, pictures):
    load_grey(pictures, crop_size=2)
    (entry,) = cache.iterdir()
    assert sorted(os.listdir(entry)) == ["about.json", "images.npy", "labels.npy"]
    pixels = np.load(entry / "images.npy", mmap_mode="r")
    assert pixels.shape == (42, *SHAPE) and pixels.dtype == np.uint8
    expected = np.where(np.isin(np.arange(42), [3, 20]), 0, np.arange(42))
    np.testing.assert_array_equal(pixels[:, 0, 0, 0], expected)
    np.testing.assert_array_equal(np.load(entry / "labels.npy"), np.arange(42) >= 21)
    about = json.loads((entry / "about.json").read_text())
    assert about["origin"] == str(pictures) and about["number"] == 42
    assert (about["image_shape"], about["crop_size"]) == ([4, 4, 1], 2)
    assert about["classes"] == ["a", "b"]
    assert about["unreadable"] == [[3, "not a picture"], [20, "not a picture"]]


def test_processes_that_decode_know_nothing_of_tensorflow(processes, pictures, tmp_path):
    collection = noted(pictures, tmp_path / "notes")
    found = prepared.prepare_collection(collection, SHAPE, 0)
    readers, places = read_notes(tmp_path / "notes")
    assert os.getpid() not in readers and sorted(places) == list(range(42))
    assert set(found.unreadable.values()) == {"not a picture"}
    assert not any(map(is_running, set(readers)))


@pytest.mark.parametrize("change", ["name", "size", "time", "one more", "settings"])
def test_changed_pictures_are_prepared_anew_and_the_old_ones_removed(cache, pictures, change):
    load_grey(pictures)
    before = entries(cache)
    path = pictures / "a" / "07.png"
    if change == "name":
        path.rename(path.with_name("07x.png"))
    elif change == "size":
        status = path.stat()
        Image.new("L", (60, 40), 99).save(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "time":
        os.utime(path, (1, 1))
    elif change == "one more":
        Image.new("L", (4, 4), 99).save(pictures / "z.png")
    source = load_grey(pictures, crop_size=2 if change == "settings" else 0)
    after = entries(cache)
    if change == "settings":
        assert len(after) == 2 and set(before) < set(after)
    else:
        assert len(after) == 1 and after != before
    if change in ("size", "one more"):
        assert 99 in images(source)


@pytest.mark.parametrize("damage", ["short", "empty", "no images", "no about", "half about"])
def test_a_damaged_preparation_is_made_anew(cache, pictures, damage, capsys):
    expected = images(load_grey(pictures))
    (entry,) = cache.iterdir()
    if damage in ("short", "empty"):
        os.truncate(entry / "images.npy", 500 if damage == "short" else 0)
    elif damage == "no images":
        (entry / "images.npy").unlink()
    elif damage == "no about":
        (entry / "about.json").unlink()
    else:
        os.truncate(entry / "about.json", 100)
    capsys.readouterr()
    np.testing.assert_array_equal(images(load_grey(pictures)), expected)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "is damaged" in line] == [lines[0]]
    assert lines[0].startswith(f"warning: {entry} is damaged (")
    assert entries(cache) == [entry.name]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_picture_that_can_be_read_now_is_taken_in(
    has_links, cache, pictures, monkeypatch, capsys
):
    """And no other is decoded again, but for those of its part."""
    monkeypatch.setattr(preparation, "_SYNC_EVERY", 60.0)  # the journal is what was taken over
    if not has_links:
        monkeypatch.setattr(os, "link", lambda *_: os.open(pictures, os.O_WRONLY))  # an OSError
    path = pictures / "b" / "30.png"
    whole, status = path.read_bytes(), path.stat()

    def put(content):  # as a disk that was not there, or a permission, its file is the same
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    put(bytes(len(whole)))
    assert load_grey(pictures).num_examples == 36
    before = entries(cache)
    put(whole)
    capsys.readouterr()
    journals = []
    publish = claims.publish

    def note(part, final):
        journals.append((part / "journal").read_text().splitlines())
        publish(part, final)

    with monkeypatch.context() as patch:
        patch.setattr(claims, "publish", note)
        now = images(load_grey(pictures))
    assert 30 in now and entries(cache) == before
    first = capsys.readouterr().err.splitlines()[0]
    assert first == f"warning: {path} can be read now: {cache / before[0]} is completed"
    assert len(journals[0]) == 8  # of 11 parts, all but those of pictures 3, 20 and 30
    monkeypatch.setenv("NCSN_CACHE", str(cache / "another"))
    np.testing.assert_array_equal(now, images(load_grey(pictures)))


def test_where_the_file_system_has_no_locks(cache, pictures, monkeypatch):
    expected = images(load_grey(pictures))
    shutil.rmtree(cache)

    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claims.fcntl, "flock", flock)
    np.testing.assert_array_equal(images(load_grey(pictures)), expected)
    (entry,) = cache.iterdir()
    assert not entry.name.endswith(".part")


def test_a_full_disk_is_one_line_and_it_goes_on_later(cache, pictures, monkeypatch):
    usage = shutil.disk_usage(pictures)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=-10_000))
        with pytest.raises(UserError) as error:
            load_grey(pictures)
    assert one_line(error).startswith(f"{cache}: no room for 6.72e-07 GB of prepared images")
    assert "--cache_dir" in one_line(error)

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "_SYNC_EVERY", 0.0)
        patch.setattr(preparation, "sync", full)
        with pytest.raises(UserError, match="no room for .*No space left"):
            load_grey(pictures)
    assert load_grey(pictures).num_examples == 37


def test_rows_on_a_full_disk(pictures, monkeypatch):
    collection = open_folder(str(pictures))
    monkeypatch.setattr(rows, "_work", rows.Work("/dev/full", 0, SHAPE, 0, collection))
    with pytest.raises(OSError, match="No space left"):
        rows.fill_rows(0, 3, None)


def test_a_cache_that_cannot_be_written_is_one_line(cache, pictures):
    cache.write_text("a file")
    with pytest.raises(UserError) as error:
        load_grey(pictures)
    assert str(cache) in one_line(error) and "--cache_dir" in one_line(error)
    assert load_grey(pictures, cache_dir=f"{cache}2").num_examples == 37


def test_places_of_the_cache(monkeypatch):
    monkeypatch.setenv("NCSN_CACHE", "~/mine")
    assert cache_folder() == Path.home() / "mine"
    assert cache_folder("/other") == Path("/other")
    monkeypatch.delenv("NCSN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/ncsn_tf")
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == Path.home() / ".cache" / "ncsn_tf"


def journal_lines(cache, least):
    def are_there():
        return sum(len(path.read_text().splitlines()) for path in cache.glob("*/journal")) >= least

    return are_there


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_preparation_that_is_broken_off_goes_on(number, command_server, pictures, tmp_path):
    cache, notes = tmp_path / "cache", tmp_path / "notes"
    cache.mkdir()
    argv = [PROGRAM, pictures, notes, cache]
    with command_server.popen([*argv, "0.1"], cwd=tmp_path) as process:
        wait_for(journal_lines(cache, 3))
        os.kill(process.pid, number)
        started = time.monotonic()
        _, stderr = process.communicate(60)
    assert time.monotonic() - started < 30
    assert process.returncode == (-number if number == signal.SIGKILL else 130)
    if number == signal.SIGINT:
        assert stderr.splitlines()[1:] == ["interrupted"], stderr
    readers, places = read_notes(notes)
    wait_for(lambda: not any(map(is_running, set(readers))))
    assert len(places) < 42
    assert [path.suffix for path in cache.iterdir()] == [".part"]

    notes.unlink()
    done = command_server.run([*argv, "0"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    _, rest = read_notes(notes)
    assert len(rest) <= 42 - 3 * 4  # what the journal had is not read again
    (entry,) = cache.iterdir()
    expected = np.where(np.isin(np.arange(42), [3, 20]), 0, np.arange(42))
    np.testing.assert_array_equal(np.load(entry / "images.npy")[:, 2, 2, 0], expected)
    about = json.loads((entry / "about.json").read_text())
    assert [place for place, _ in about["unreadable"]] == [3, 20]


def test_two_at_once_prepare_once(command_server, pictures, tmp_path):
    cache, notes = tmp_path / "cache", tmp_path / "notes"
    cache.mkdir()
    argv = [PROGRAM, pictures, notes, cache, "0.02"]
    with command_server.popen(argv, cwd=tmp_path) as first:
        wait_for(journal_lines(cache, 1))
        with command_server.popen(argv, cwd=tmp_path) as second:
            said = [process.communicate(60) for process in (first, second)]
    assert first.returncode == second.returncode == 0, said
    assert said[0][0] == said[1][0]  # the same file
    assert f"waiting for process {first.pid}, which prepares pictures-" in said[1][1]
    _, places = read_notes(notes)
    # Those that cannot be read are tried again, at every start.
    assert sorted(place for place in places if place not in (3, 20)) == [
        place for place in range(42) if place not in (3, 20)
    ]
    assert len(entries(cache)) == 1


@pytest.mark.parametrize("damage", ["deep", "place", "header"])
def test_damage_of_other_kinds_is_one_line_too(cache, pictures, damage, capsys):
    expected = images(load_grey(pictures))
    (entry,) = cache.iterdir()
    if damage == "deep":
        (entry / "about.json").write_text("[" * 100_000)
    elif damage == "place":
        about = json.loads((entry / "about.json").read_text())
        about["unreadable"].append([42, "beyond"])
        (entry / "about.json").write_text(json.dumps(about))
    else:
        with open(entry / "images.npy", "r+b") as file:
            file.seek(10)
            file.write(b"{'descr': '''")
    capsys.readouterr()
    np.testing.assert_array_equal(images(load_grey(pictures)), expected)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"warning: {entry} is damaged (")


def test_a_damaged_journal_is_no_news(cache, pictures, tmp_path):
    expected = images(load_grey(pictures))
    (entry,) = cache.iterdir()
    lines = [b"\xff\xfe", b"7", b'["a", 4, []]', b"[0, 4, [[99, 0]]]", b"[0, 4, 5]", b"[" * 9999]
    part = entry.with_name(f"{entry.name}.part")
    part.mkdir()
    shutil.move(entry / "images.npy", part)
    shutil.rmtree(entry)
    (part / "journal").write_bytes(b"\n".join(lines))
    np.testing.assert_array_equal(images(load_grey(pictures)), expected)


@pytest.mark.parametrize("keeper", ["reader", "machine", "day", "nobody"])
def test_what_others_prepared_is_removed_only_when_it_is_of_no_use(cache, pictures, keeper):
    source = load_grey(pictures)
    (entry,) = cache.iterdir()
    if keeper != "reader":
        del source
    if keeper in ("machine", "day"):
        about = json.loads((entry / "about.json").read_text())
        (entry / "about.json").write_text(json.dumps({**about, "machine": "elsewhere"}))
    if keeper == "day":
        for path in (*entry.iterdir(), entry):
            os.utime(path, (1, 1))
    os.utime(pictures / "a" / "07.png", (1, 1))
    load_grey(pictures)
    assert entry.exists() == (keeper in ("reader", "machine"))
    if keeper == "reader":
        assert len(images(source)) == source.num_examples


def test_the_second_to_finish_without_locks_leaves_what_the_first_made(
    cache, pictures, monkeypatch
):
    monkeypatch.setattr(claims, "fcntl", None)
    fill, first = preparation.fill, []

    def slow(*arguments, **options):
        if not first:
            first.append(None)
            with monkeypatch.context() as patch:  # as another process
                patch.setattr(os, "getpid", lambda: 2**21)
                load_grey(pictures)
            (entry,) = (path for path in cache.iterdir() if path.suffix != ".part")
            first[0] = os.stat(entry).st_ino
        return fill(*arguments, **options)

    monkeypatch.setattr(preparation, "fill", slow)
    load_grey(pictures)
    (entry,) = cache.iterdir()
    assert os.stat(entry).st_ino == first[0]


def test_work_of_one_who_has_locks_is_left_by_one_who_has_not(tmp_path, monkeypatch):
    final = tmp_path / "a-000000000000-000000000000"

    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    with claims.claimed(final) as part:
        (part / "images.npy").write_bytes(b"work")
        with monkeypatch.context() as patch:
            patch.setattr(claims.fcntl, "flock", flock)
            with claims.claimed(final) as own:
                assert own != part and (part / "images.npy").exists()


@pytest.mark.parametrize(
    ("machine", "process", "age", "is_left"),
    [
        (claims.machine(), os.getppid(), 9999, False),
        (claims.machine(), 2**22 + 1, 0, True),
        ("else-where.a1", os.getppid(), 0, False),
        ("else-where.a1", os.getppid(), 9999, True),
    ],
)
def test_own_folders_of_the_dead(machine, process, age, is_left, tmp_path):
    part = tmp_path / f"a.b-000000000000-000000000000.{machine}.{process}.part"
    part.mkdir()
    os.utime(part, (time.time() - age,) * 2)
    assert claims._is_left(part) == is_left
