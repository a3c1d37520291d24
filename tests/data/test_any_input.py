"""Whatever bytes, pictures, names and arrays there are: it works, or it is one line."""

import io
import os
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ncsn_tf.data import arrays_source, decoding, folder, pictures
from ncsn_tf.data.archive import open_archive
from ncsn_tf.data.collection import labels_by_folder
from ncsn_tf.data.listing import find_pictures
from ncsn_tf.data.masks import load_mask
from ncsn_tf.errors import UserError
from ncsn_tf.files import read_arrays

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"]
KINDS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"]


def works(function, *arguments):
    """The value of a function, or None where it raised one line; nothing else may happen."""
    try:
        return function(*arguments)
    except UserError as error:
        assert str(error) and "\n" not in str(error).replace(str(arguments[0]), "")
        return None
    except (FileNotFoundError, ValueError) as error:  # of masks
        assert str(error).startswith("mask=")
        return None


@st.composite
def encoded(draw):
    """The bytes of a random picture in a random format; b"" where Pillow cannot write it so."""
    mode, kind = draw(st.sampled_from(MODES)), draw(st.sampled_from(KINDS))
    size = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    picture = Image.new(mode, size, draw(st.integers(0, 255)) if mode in "1LPI;16F" else 0)
    exif = picture.getexif()
    exif[0x0112] = draw(st.integers(0, 10))
    file = io.BytesIO()
    try:
        picture.save(file, kind, exif=exif.tobytes())
    except (OSError, ValueError):
        return b""
    return file.getvalue()


@st.composite
def damaged(draw):
    """A picture of which bytes were changed, cut off or repeated."""
    content = bytearray(draw(encoded()) or b"x")
    for place in draw(st.lists(st.integers(0, 2000), max_size=6)):
        content[place % len(content)] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, 2 * len(content)))])


@QUICK
@given(content=st.one_of(encoded(), damaged(), st.binary(max_size=300)))
def test_any_bytes_as_record_picture_mask_and_arrays(content, tmp_path):
    picture = works(decoding.decode_picture, content)
    if picture is not None:
        assert picture.mode in ("L", "RGB")
        for channels in (1, 3):
            pixels = decoding.fitted_pixels(picture, (5, 5, channels))
            assert (pixels.shape, pixels.dtype) == ((5, 5, channels), np.uint8)
    for name in ("a.png", "a.npz"):
        (tmp_path / name).write_bytes(content)
        works(pictures.load, tmp_path / name, (5, 5, 3), True)
        works(lambda path: read_arrays(path), tmp_path / name)
    mask = works(load_mask, str(tmp_path / "a.png"), 5, True)
    assert mask is None or (mask.shape == (5, 5) and 0 < mask.sum() < 25)
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "a.png"]


NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=20
)


@QUICK
@given(
    names=st.lists(
        st.tuples(NAMES, st.sampled_from([".png", ".PNG", "[1].gif", " .jpg", ".txt", ""])),
        max_size=6,
    ),
    deep=st.booleans(),
)
def test_any_names_in_a_folder(names, deep, capsys):
    content = decoding_bytes()
    with tempfile.TemporaryDirectory() as top:
        for name, ending in names:
            place = Path(top, "sub [*]\\" if deep else "", name + ending)
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(content)
        before = sorted(Path(top).rglob("*"))
        found = find_pictures(top)
        wanted = {
            str(path)
            for path in before
            if path.is_file()
            and not path.name.startswith(".")
            and os.path.splitext(path.name)[1].lower() in decoding.SUFFIXES
        }
        assert set(found.paths) == wanted
        source = works(lambda path: folder.load("train", path, (4, 4, 3), 0), top)
        assert (source is None) == (not wanted)
        assert sorted(Path(top).rglob("*")) == before
    error = capsys.readouterr().err
    assert all(char.isprintable() or char == "\n" or ord(char) >= 0x80 for char in error)


def decoding_bytes():
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    return file.getvalue()


@QUICK
@given(
    dtype=st.sampled_from(["u1", "i8", "f4", "bool", "U3", "c8", "M8[s]"]),
    shape=st.lists(st.integers(0, 5), max_size=5),
    member=st.sampled_from(["images", "../../images", "/images", "x"]),
)
def test_any_arrays_as_pictures(dtype, shape, member, tmp_path):
    file = io.BytesIO()
    np.save(file, np.zeros(shape, dtype))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(f"{member}.npy", file.getvalue())
    loaded = works(pictures.load, tmp_path / "a.npz", (4, 4, 3), True)
    fits = dtype == "u1" and len(shape) == 4 and shape[-1] in (1, 3) and 0 not in shape
    assert (loaded is not None) == (fits and member == "images")
    assert os.listdir(tmp_path) == ["a.npz"]  # names from data lead nowhere


@pytest.mark.parametrize("what", ["bytes", "pixels", "bomb"])
def test_a_picture_has_limits(what, tmp_path, monkeypatch):
    Image.new("1", (5000, 4000)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 10_000
    monkeypatch.setattr(decoding, "MAX_BYTES" if what == "bytes" else "MAX_PIXELS", 1000)
    if what == "bomb":  # Pillow's own limit, where it is the lower one
        monkeypatch.undo()
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match="a.png cannot be read: it.* more than [0-9,]+( pixels)?$"):
        decoding.read_picture(tmp_path / "a.png")
    with pytest.raises(UserError, match="more than "):
        decoding.decode_picture((tmp_path / "a.png").read_bytes())


def test_what_is_compressed_beside_the_pixels_has_limits_too(tmp_path):
    """A text chunk of a PNG that would be 100 MB."""
    import struct
    import zlib

    data = b"zTXt" + b"a\0\0" + zlib.compress(bytes(10**8), 9)
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    plain = decoding_bytes()
    place = plain.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(plain[:place] + chunk + plain[place:])
    with pytest.raises(UserError, match="a.png cannot be read: Decompressed data too large"):
        decoding.read_picture(tmp_path / "a.png")


def test_what_is_no_file_and_what_would_start_a_program(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match="pipe.png cannot be read: not a file"):
        decoding.read_picture(tmp_path / "pipe.png")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n"
    with pytest.raises(UserError, match="not a picture"):
        decoding.decode_picture(eps)
    with pytest.raises(UserError, match="cannot be read"):
        decoding.read_picture(str(tmp_path / "a\0b.png"))


def small_archives():
    files = {"a.pgm": b"P5 1 1 255 1", "b/c.pgm": b"P5 1 1 255 2", "d.png": b"", "e.zip": b"PK"}
    place = io.BytesIO()
    write = io.BytesIO()
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with tarfile.open(fileobj=write, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in {**files, "猫" * 60 + ".pgm": b"P5 1 1 255 3"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return place.getvalue(), write.getvalue()


@QUICK
@given(
    which=st.sampled_from(small_archives()),
    changes=st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), max_size=6),
    keep=st.floats(0, 1.2),
)
def test_any_bytes_as_an_archive(which, changes, keep, tmp_path):
    content = bytearray(which)
    for place, value in changes:
        content[place % len(content)] = value
    path = tmp_path / "a"
    path.write_bytes(content[: int(len(content) * keep)])
    try:
        pictures = open_archive(str(path))
    except UserError as error:
        assert "\n" not in str(error) and str(path) in str(error)
        return
    for place in range(len(pictures.names)):
        works(pictures.read, place)
    labels_by_folder(pictures.names)
    assert sorted(os.listdir(tmp_path)) == ["a"]


@QUICK
@given(
    dtype=st.sampled_from(["u1", "i8", "f4", "f2", "f8", "bool", "U3", "c8", "M8[s]", "u1,f4"]),
    shape=st.lists(st.integers(0, 5), max_size=5),
    name=st.sampled_from(["images", "../images", "/images", "x", "x_train"]),
    change=st.tuples(st.integers(0, 400), st.integers(0, 255)) | st.none(),
)
def test_any_arrays(dtype, shape, name, change, tmp_path):
    file = io.BytesIO()
    np.save(file, np.zeros(shape, dtype))
    content = bytearray(file.getvalue())
    if change is not None:
        content[change[0] % len(content)] = change[1]
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(f"{name}.npy", content)
    for path in ("a.npy", "a.npz"):
        try:
            source = arrays_source.load("train", str(tmp_path / path), (4, 4, 3), 0)
        except UserError as error:
            assert "\n" not in str(error) and path in str(error)
        else:
            assert source.image_shape == (4, 4, 3)
