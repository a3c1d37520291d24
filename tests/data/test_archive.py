"""Archives of pictures: what they hold, what they claim, and what is wrong with them."""

import concurrent.futures
import io
import os
import pickle
import shutil
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from source_checks import images, one_line

from ncsn_tf.data import decoding, prepared
from ncsn_tf.data.archive import open_archive
from ncsn_tf.data.collection import labels_by_folder, open_collection
from ncsn_tf.data.decoding import PictureError
from ncsn_tf.data.image_file import FileImages
from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import UserError


def dot(value):
    """A picture of one grey pixel."""
    return b"P5 1 1 255 %c" % value


def write_zip(path, files, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(path)


def write_tar(path, files, mode="w", **options):
    with tarfile.open(path, mode, **options) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


WRITERS = {"zip": write_zip, "tar": write_tar}
both = pytest.mark.parametrize("kind", ["zip", "tar"])


def values(pictures):
    """{name: the grey of its one pixel, or why it cannot be read}."""
    found = {}
    for place, name in enumerate(pictures.names):
        try:
            found[name] = pictures.read(place).getpixel((0, 0))
        except PictureError as error:
            found[name] = error.cause
    return found


@both
def test_names_and_pixels_in_order(kind, tmp_path):
    files = {"b/2.pgm": dot(2), "a.pgm": dot(1), "b/": b"", "c/notes.txt": b"", "b/10.PGM": dot(3)}
    if kind == "tar":
        del files["b/"]
    pictures = open_archive(WRITERS[kind](tmp_path / "any.name", files))
    assert values(pictures) == {"a.pgm": 1, "b/10.PGM": 3, "b/2.pgm": 2}
    assert pictures.names == sorted(pictures.names)
    assert pictures.title(1) == f"{tmp_path}/any.name/b/10.PGM"
    assert pictures.left_out == []


@both
def test_what_is_left_out_by_its_name(kind, tmp_path):
    nested = Path(write_zip(tmp_path / "in.zip", {"a.pgm": dot(9)})).read_bytes()
    names = ["._a.pgm", ".hidden/a.pgm", ".hidden/deep/b.pgm", "x/__MACOSX/._a.pgm", "x/y/.a.png"]
    files = {name: dot(9) for name in names}
    files |= {"a.pgm": dot(1), "in.zip": nested, "x/more.tar.gz": b"", "b.heic": b"", "c.txt": b""}
    pictures = open_archive(WRITERS[kind](tmp_path / "a", files))
    assert values(pictures) == {"a.pgm": 1}
    assert pictures.left_out == [
        "2 archives, not looked into",
        "2 hidden folders",
        "2 hidden pictures",
        "1 picture in a format that is not read (1 .heic)",
    ]


@both
def test_names_lead_nowhere(kind, tmp_path):
    """Nor do they from the folder of the archive; nothing is written by them."""
    files = {
        "/etc/a.pgm": dot(1),
        "../../b.pgm": dot(2),
        "./c/./d.pgm": dot(3),
        "e/../f.pgm": dot(4),
    }
    before = sorted(tmp_path.rglob("*"))
    path = WRITERS[kind](tmp_path / "a", files)
    pictures = open_archive(path)
    assert values(pictures) == {"b.pgm": 2, "c/d.pgm": 3, "etc/a.pgm": 1, "f.pgm": 4}
    assert sorted(tmp_path.rglob("*")) == [*before, tmp_path / "a"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@both
def test_of_one_name_the_last_counts(kind, tmp_path):
    path = tmp_path / "a"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, value in (("a.pgm", 1), ("./a.pgm", 2), ("b.pgm", 3), ("a.pgm", 4)):
                archive.writestr(name, dot(value))
    else:
        write_tar(path, {"a.pgm": dot(1), "b.pgm": dot(3)})
        write_tar(path, {"./a.pgm": dot(4)}, "a")
    pictures = open_archive(str(path))
    assert values(pictures) == {"a.pgm": 4, "b.pgm": 3}
    assert pictures.left_out == ["1 picture of a name that comes again later"]


CLASSES = {"cats/b/1.pgm": dot(1), "cats/2.pgm": dot(2), "dogs/1.pgm": dot(3), "ants/1.pgm": dot(4)}


def test_a_folder_of_folders_gives_the_same_labels_however_it_is_packed(tmp_path):
    folder = tmp_path / "pets" / "all"
    for name, content in CLASSES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    packed = [
        shutil.make_archive(tmp_path / f"{kind}{number}", kind, *place)
        for kind in ("zip", "tar")
        for number, place in enumerate([(folder,), (folder.parent,), (tmp_path, "pets")])
    ]
    places = [str(folder), str(folder.parent), *packed]
    assert len(places) == 8
    for place in places:
        pictures = open_collection(place)
        assert list(values(pictures).values()) == [4, 2, 1, 3], place
        assert labels_by_folder(pictures.names).tolist() == [0, 1, 1, 2], place
        options = {"data_dir": place, "image_size": 4, "channels": 1}
        train = load_source("image_folder", "train", **options)
        test = load_source("image_folder", "test", **options)
        assert images(train)[:, 0, 0, 0].tolist() == [2, 1, 3]
        assert (train.labels.tolist(), test.labels.tolist()) == ([1, 1, 2], [0])


def patched(path, *changes):
    """Overwrite what follows a marker: (marker, bytes after it, new bytes), everywhere."""
    content = bytearray(Path(path).read_bytes())
    for marker, offset, new in changes:
        place = content.find(marker)
        assert place >= 0
        while place >= 0:
            content[place + offset : place + offset + len(new)] = new
            place = content.find(marker, place + 4)
    Path(path).write_bytes(content)
    return path


LOCAL, CENTRAL = b"PK\3\4", b"PK\1\2"


def test_encrypted_and_oddly_compressed_members(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a.pgm": dot(1)})
    patched(path, (LOCAL, 6, b"\1\0"), (CENTRAL, 8, b"\1\0"))
    assert values(open_archive(path)) == {"a.pgm": "it is encrypted"}
    with pytest.raises(UserError, match="none of the 1 pictures .*a.zip/a.pgm: it is encrypted"):
        load_source("image_folder", "train", data_dir=path, image_size=4, channels=1)
    path = write_zip(tmp_path / "b.zip", {"b.pgm": dot(1)}, zipfile.ZIP_LZMA)
    cause = "compressed by method 14 of .zip files, which is not read"
    assert values(open_archive(path)) == {"b.pgm": cause}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_members_are_named_and_the_others_read(method, tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 256, [40, 40], np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "BMP")
    files = {f"{n}.bmp": file.getvalue() for n in range(4)}
    path = write_zip(tmp_path / "a.zip", files, method)
    with zipfile.ZipFile(path) as archive:
        offsets = [info.header_offset for info in archive.infolist()]
    content = bytearray(Path(path).read_bytes())
    content[offsets[1] + 1200] ^= 1  # a bit of its pixels
    content[offsets[2]] = 0  # its header
    Path(path).write_bytes(content)
    source = load_source("image_folder", "train", data_dir=path, image_size=40, channels=1)
    np.testing.assert_array_equal(images(source)[..., 0], [noise])
    assert capsys.readouterr().err.splitlines() == [
        f"warning: picture left out, unreadable: {path}/1.bmp (it is damaged in the archive)",
        f"warning: picture left out, unreadable: {path}/2.bmp (it is damaged in the archive)",
        f"{path}: 4 pictures found, 2 read, 2 unreadable, 1 for training",
    ]


def test_what_a_member_becomes_has_a_limit_that_no_header_moves(tmp_path, monkeypatch):
    bomb = dot(1) + bytes(2 * 10**7)
    path = write_zip(tmp_path / "a.zip", {"a.pgm": bomb, "b.pgm": dot(2)})
    assert os.path.getsize(path) < 10**6
    monkeypatch.setattr(decoding, "MAX_BYTES", 10**7)
    expected = {"a.pgm": "its 20,000,012 bytes are more than 10,000,000", "b.pgm": 2}
    assert values(open_archive(path)) == expected
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("a.pgm").file_size
    lie = struct.pack("<I", 1000)
    content = Path(path).read_bytes()
    assert content.count(struct.pack("<I", size)) == 2  # in the member's header and the directory
    Path(path).write_bytes(content.replace(struct.pack("<I", size), lie))
    read = []
    real = decoding.Image.open
    monkeypatch.setattr(
        decoding.Image, "open", lambda *args, **more: read.append(1) or real(*args, **more)
    )
    assert values(open_archive(path)) == {"a.pgm": "it is damaged in the archive", "b.pgm": 2}
    assert len(read) == 1


def test_of_a_member_that_lies_no_more_than_its_claim_is_in_memory(tmp_path):
    import tracemalloc

    path = write_zip(tmp_path / "a.zip", {"a.pgm": dot(1) + bytes(2 * 10**7)})
    size = struct.pack("<I", 2 * 10**7 + 12)
    content = Path(path).read_bytes()
    Path(path).write_bytes(content.replace(size, struct.pack("<I", 1000)))
    pictures = open_archive(path)
    tracemalloc.start()
    try:
        assert values(pictures) == {"a.pgm": "it is damaged in the archive"}
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_other_forms_of_a_zip(tmp_path):
    """Of 64 bits, streamed, behind something else, with names of other systems."""
    path = str(tmp_path / "a.zip")
    with open(path, "wb") as file:
        file.write(b"#!/bin/sh\nexit\n" * 100)
        archive = zipfile.ZipFile(file, "w")
        with archive, archive.open("a.pgm", "w", force_zip64=True) as member:
            member.write(dot(1))
    assert values(open_archive(path)) == {"a.pgm": 1}

    class Pipe(io.RawIOBase):
        written = b""

        def writable(self):
            return True

        def write(self, content):
            self.written += bytes(content)
            return len(content)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.pgm", dot(2))
    Path(path).write_bytes(pipe.written)
    assert values(open_archive(path)) == {"b.pgm": 2}

    # Bytes that are UTF-8, without a word on it; others; and the separator of Windows.
    for raw, name in (("é猫".encode(), "é猫.pgm"), (b"caf\x82", "café.pgm"), (b"c\\d", "c/d.pgm")):
        write_zip(path, {"x" * len(raw) + ".pgm": dot(3)})
        content = Path(path).read_bytes().replace(b"x" * len(raw), raw)
        Path(path).write_bytes(content)
        patched(path, (CENTRAL, 5, b"\0"))  # made by Windows
        assert values(open_archive(path)) == {name: 3}


def test_links_in_a_zip(tmp_path):
    path = str(tmp_path / "a.zip")
    links = {"b.pgm": "in/a.pgm", "in/c.pgm": "../b.pgm", "d.pgm": "d.pgm", "e.pgm": "/etc/a.pgm"}
    links |= {"f.pgm": "../in/a.pgm", "g.pgm": "in", "h.pgm": "x" * 5000, "i.pgm": "\udcff"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/a.pgm", dot(1))
        archive.mkdir("in") if hasattr(archive, "mkdir") else archive.writestr("in/", b"")
        for name, target in links.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target.encode(errors="surrogateescape"))
    nothing = "a link to what is not in the archive"
    assert values(open_archive(path)) == {
        **{"b.pgm": 1, "in/a.pgm": 1, "in/c.pgm": 1},
        **dict.fromkeys(["d.pgm", "e.pgm", "f.pgm", "g.pgm", "h.pgm", "i.pgm"], nothing),
    }


def test_links_and_devices_in_a_tar(tmp_path):
    path = str(tmp_path / "a.tar")
    kinds = {
        "b.pgm": (tarfile.SYMTYPE, "in/a.pgm"),
        "c.pgm": (tarfile.LNKTYPE, "top/in/a.pgm"),
        "d.pgm": (tarfile.SYMTYPE, "../../etc/d.pgm"),
        "e.pgm": (tarfile.FIFOTYPE, ""),
        "f.pgm": (tarfile.LNKTYPE, "top/nowhere.pgm"),
        "g.pgm": (tarfile.DIRTYPE, ""),
    }
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("top/in/a.pgm")
        info.size = len(dot(1))
        archive.addfile(info, io.BytesIO(dot(1)))
        for name, (kind, target) in kinds.items():
            info = tarfile.TarInfo(f"top/{name}")
            info.type, info.linkname = kind, target
            archive.addfile(info)
    nothing = "a link to what is not in the archive"
    assert values(open_archive(path)) == {
        **{"top/b.pgm": 1, "top/c.pgm": 1, "top/d.pgm": nothing, "top/e.pgm": "not a file"},
        **{"top/f.pgm": nothing, "top/in/a.pgm": 1},
    }


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_a_tar(form, tmp_path):
    files = {f"{'long ' * 60}/{name}.pgm": dot(value) for name, value in (("猫", 1), ("b", 2))}
    pictures = open_archive(write_tar(tmp_path / "a.tar", files, format=form))
    assert values(pictures) == {f"{'long ' * 60}/b.pgm": 2, f"{'long ' * 60}/猫.pgm": 1}


def test_a_tar_that_holds_a_zip_at_its_end_is_a_tar(tmp_path):
    inner = Path(write_zip(tmp_path / "in.zip", {"b.pgm": dot(2)})).read_bytes()
    path = write_tar(tmp_path / "a.tar", {"a.pgm": dot(1), "in.zip": inner})
    content = Path(path).read_bytes().rstrip(b"\0")
    Path(path).write_bytes(content + bytes(1024))
    assert zipfile.is_zipfile(path) and values(open_archive(path)) == {"a.pgm": 1}


def cut(path, keep):
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[:keep])


FILES = {f"{n}.pgm": dot(n) for n in range(5)}


@pytest.mark.parametrize("kind, message", [
    ("missing", "data_dir '.*' is not a folder, nor a .zip or a .tar"),
    ("pipe", "data_dir '.*' is not a folder, nor a .zip or a .tar"),
    ("empty file", "is empty: it should be a .zip or a .tar"),
    ("text", "is neither a folder nor a .zip or a .tar"),
    ("picture", "is neither a folder nor a .zip or a .tar"),
    ("empty zip", r"no pictures \(.*\) in "),
    ("empty tar", r"no pictures \(.*\) in "),
    ("npz", r"no pictures \(.*\) in "),
    ("zip of a zip", r"no pictures \(.*\) in .*; left out: 1 archive, not looked into"),
    ("cut zip", r"is cut short or damaged: copy or make it again \(File is not a zip file\)"),
    ("cut tar", r"is cut short or damaged: copy or make it again \(its 2,563 bytes end within"),
    ("cut header", r"is cut short or damaged: copy or make it again \(at byte 2,048\)"),
    ("damaged tar", r"is cut short or damaged: copy or make it again \(at byte 1,024\)"),
    ("unreadable name", r"is cut short or damaged: copy or make it again \('utf-8' codec"),
    ("gz", "make a plain .tar of it, once, with: gunzip -k .*x.tar.gz'?$"),
    ("bz2", "make a plain .tar of it, once, with: bunzip2 -k .*x.tar.bz2'?$"),
    ("xz", "make a plain .tar of it, once, with: unxz -k .*x.tar.xz'?$"),
])  # fmt: skip
def test_what_is_no_archive_is_one_line(kind, message, tmp_path):
    path = tmp_path / f"x.tar.{kind}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "text":
        path.write_text("this is no archive, but it is long enough to be one\n" * 100)
    elif kind == "picture":
        Image.new("L", (4, 4)).save(path, "PNG")
    elif kind in ("gz", "bz2", "xz"):
        write_tar(path, FILES, f"w:{kind}")
    elif kind == "npz":
        with open(path, "wb") as file:
            np.savez(file, images=np.zeros([2, 4, 4]))
    elif kind == "zip of a zip":
        inner = Path(write_zip(tmp_path / "in.zip", FILES)).read_bytes()
        write_zip(path, {"in.zip": inner})
    elif kind == "unreadable name":
        write_zip(path, {"é.pgm": dot(1)})
        path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xff"))
    elif kind == "empty file":
        path.touch()
    elif kind != "missing":
        write = write_zip if "zip" in kind else write_tar
        write(path, {} if "empty" in kind else FILES)
        if kind == "cut zip":
            cut(path, path.stat().st_size // 2)
        if kind == "cut tar":
            cut(path, 2 * 1024 + 512 + 3)
        if kind == "cut header":
            cut(path, 2 * 1024 + 100)
        if kind == "damaged tar":
            content = bytearray(path.read_bytes())
            content[1024:1100] = b"x" * 76
            path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load_source("image_folder", "train", data_dir=path, image_size=4, channels=1)
    assert str(path) in one_line(error)


@pytest.mark.parametrize("rest, line", [
    (b"", "what may have followed: it stops without the mark of its end"),
    (bytes(100), "what may have followed: it stops without the mark of its end"),
    (bytes(1024) + b"second", "what follows the mark of its end"),
    (bytes(10240), None),
])  # fmt: skip
def test_how_a_tar_ends(rest, line, tmp_path):
    path = tmp_path / "a.tar"
    write_tar(path, FILES)
    path.write_bytes(path.read_bytes()[: 1024 * 5] + rest)
    pictures = open_archive(str(path))
    assert list(values(pictures).values()) == [*range(5)]
    assert pictures.left_out == ([line] if line else [])


def test_an_archive_that_cannot_be_read(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.zip", FILES)
    pictures = open_archive(path)
    os.remove(path)
    assert set(values(pictures).values()) == {"No such file or directory"}
    with pytest.raises(UserError, match="a.zip cannot be read: No such file"):
        open_archive(path)


@both
def test_a_changed_archive_is_another_one(kind, tmp_path):
    path = WRITERS[kind](tmp_path / "a", FILES)
    pictures = open_archive(path)
    os.utime(path, ns=(0, pictures.stamp[1]))
    assert open_archive(path).fingerprint() == pictures.fingerprint()
    assert pictures.read(2).getpixel((0, 0)) == 2
    os.utime(path, ns=(0, pictures.stamp[1] + 1))
    assert open_archive(path).fingerprint() != pictures.fingerprint()
    with pytest.raises(UserError, match="a was changed while it was read: start again") as error:
        pictures.read(2)
    assert not isinstance(error.value, PictureError)
    os.rename(path, tmp_path / "b")
    other = open_archive(str(tmp_path / "b"))
    assert other.fingerprint() != open_archive(WRITERS[kind](path, FILES)).fingerprint()


def read_all(pictures):
    return [pictures.read(place).getpixel((0, 0)) for place in range(len(pictures.names))]


@both
def test_many_threads_and_other_processes_read_the_same(kind, tmp_path):
    files = {f"{n:03}.pgm": dot(n) for n in range(200)}
    pictures = open_archive(WRITERS[kind](tmp_path / "a", files))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for found in pool.map(read_all, [pictures] * 8):
            assert found == [*range(200)]
    copy = pickle.dumps(pictures)
    assert len(copy) < 200 * 60  # no more than names and places
    assert read_all(pickle.loads(copy)) == [*range(200)]


@both
def test_many_pictures_are_decoded_into_the_cache(kind, tmp_path, monkeypatch, capsys):
    """By other processes, once; another archive in its place is another one."""
    monkeypatch.setattr(prepared, "_FEW", 0)
    files = {f"top/{n % 2}/{n:03}.pgm": dot(n) for n in range(50)} | {"top/0/bad.pgm": b"P5"}
    path = WRITERS[kind](tmp_path / "a", files)
    options = {"image_size": 4, "channels": 1, "cache_dir": tmp_path / "cache"}
    for said in (": preparing 51 pictures, once, in ", ""):
        source = load_source("image_folder", "train", data_dir=path, **options)
        greys = images(source)[:, 0, 0, 0]
        assert isinstance(source.images, FileImages) and len(greys) == 47
        np.testing.assert_array_equal(source.labels, greys % 2)
        error = capsys.readouterr().err
        assert said in error and ("preparing" in error) == bool(said)
    os.remove(path)
    WRITERS[kind](path, {name: dot(7) for name in files})
    source = load_source("image_folder", "train", data_dir=path, **options)
    assert np.unique(images(source)).tolist() == [7]


@both
@pytest.mark.parametrize("top", ["", "runs/a/"])
def test_pictures_of_a_run_are_left_out(kind, top, tmp_path):
    files = {
        f"{top}config.json": b"{}",
        f"{top}checkpoints/1/index": b"",
        f"{top}samples/1.pgm": dot(1),
        "b/config.json": b"{}",
        "b/2.pgm": dot(2),
    }
    path = WRITERS[kind](tmp_path / "pictures", files)
    if not top:
        with pytest.raises(UserError, match="all of it: it holds a run, whose pictures are sampl"):
            open_archive(path)
        return
    pictures = open_archive(path)
    assert list(pictures.names) == ["b/2.pgm"]
    assert pictures.left_out == ["runs/a: it holds a run, whose pictures are samples"]


@both
def test_links_to_folders_are_counted(kind, tmp_path):
    path, links = tmp_path / "pictures", {"cats": "dogs", "birds": "/data/birds", "text": "note"}
    WRITERS[kind](path, {"dogs/1.pgm": dot(1), "note": b""})
    if kind == "zip":
        with zipfile.ZipFile(path, "a") as archive:
            for name, target in links.items():
                info = zipfile.ZipInfo(name)
                info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, target)
    else:
        with tarfile.open(path, "a") as archive:
            for name, target in links.items():
                info = tarfile.TarInfo(name)
                info.type, info.linkname = tarfile.SYMTYPE, target
                archive.addfile(info)
    pictures = open_archive(str(path))
    assert list(pictures.names) == ["dogs/1.pgm"]
    assert pictures.left_out == ["2 links to a folder, or out of the archive, not followed"]
