"""What becomes of each kind of file, pixel by pixel, by whichever way it is read."""

import dataclasses
import io
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import soak
import tensorflow as tf
from PIL import Image, features
from source_checks import images, one_line

from ncsn_tf.commands import train
from ncsn_tf.commands.console import run_command
from ncsn_tf.data import pictures
from ncsn_tf.data.collection import open_collection
from ncsn_tf.data.decoding import PictureError, decode_picture, fitted_pixels, read_picture
from ncsn_tf.data.sources import load_source

SIDE = 16
GREY = np.arange(256, dtype=np.uint8).reshape(SIDE, SIDE)
COLOUR = np.stack([GREY, GREY[::-1], GREY.T], axis=-1)
# A JPEG keeps blocks of one grey exactly.
BLOCKS = np.kron(np.uint8([[10, 90], [170, 250]]), np.ones([8, 8], np.uint8))
INKS = np.stack([BLOCKS, 255 - BLOCKS, BLOCKS // 2, 0 * BLOCKS], axis=-1)  # of no black
MORE = [Image.new("L", (SIDE, SIDE), 200)]  # frames and pages after the first
COLOURED = [Image.new("RGB", (SIDE, SIDE), "red")]


def encode(pixels, kind, mode=None, **options):
    """The bytes of a file that Pillow writes."""
    file = io.BytesIO()
    picture = Image.fromarray(pixels) if mode is None else Image.fromarray(pixels, mode)
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(name, content):
    whole = name + content
    return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))


def png(samples, depth, colour_type, *chunks, size=None):
    """A PNG of what Pillow does not write; `size` is what its header says that it is."""
    height, width = size or samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    rows = samples.astype(">u2" if depth == 16 else "u1").reshape(len(samples), -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def turned(orientation, kind, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(COLOUR if kind == "PNG" else BLOCKS, kind, exif=exif, **options)


def upright(pixels, orientation):
    """What EXIF says of where the first row and the first column are seen."""
    return {
        1: pixels,  # top, left
        2: pixels[:, ::-1],  # top, right
        3: pixels[::-1, ::-1],  # bottom, right
        4: pixels[::-1],  # bottom, left
        5: pixels.swapaxes(0, 1),  # left, top
        6: pixels.swapaxes(0, 1)[:, ::-1],  # right, top
        7: pixels.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
        8: pixels.swapaxes(0, 1)[::-1],  # left, bottom
    }[orientation]


def palette(**options):
    picture = Image.fromarray(GREY % 4)
    picture.putpalette([0, 0, 0, 7, 77, 177, 255, 0, 0, 0, 255, 0])
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    return file.getvalue()


def without_marker(jpeg, marker):
    """A JPEG without its first segment of that marker."""
    place = jpeg.index(marker)
    (length,) = struct.unpack(">H", jpeg[place + 2 : place + 4])
    return jpeg[:place] + jpeg[place + 2 + length :]


def white_is_zero(tiff):
    entry, negative = (struct.pack("<HHIHH", 262, 3, 1, value, 0) for value in (1, 0))
    assert tiff.count(entry) == 1
    return tiff.replace(entry, negative)


def over_white(values, alpha):
    """Values [..., C] below an alpha of 0 or 255 [...]."""
    return np.where(alpha[..., None] == 255, values, 255)


COLOURS = np.array([[0, 0, 0], [7, 77, 177], [255, 0, 0], [0, 255, 0]], np.uint8)
EXACT_ALPHA = np.where(GREY % 2, 255, 0).astype(np.uint8)
DEEP = GREY.astype(np.uint16) * 257
ODD = np.uint16(9 * 257 + (GREY % 3 - 1.0) * 100)  # near 9, on both sides of it
SECOND = {"save_all": True, "append_images": MORE}
THIRD = {"save_all": True, "append_images": COLOURED}

# The name of a file, its bytes, and what it becomes: [H, W], which is grey, or [H, W, 3].
KINDS = [
    ("grey.png", encode(GREY, "PNG"), GREY),
    ("colour.png", encode(COLOUR, "PNG"), COLOUR),
    ("1 bit.png", encode(GREY > 100, "PNG"), 255 * (GREY > 100)),
    ("16 bits.png", encode(DEEP, "PNG"), GREY),
    ("16 bits, rounded.png", encode(DEEP // 2, "PNG"), np.round(DEEP // 2 / 257)),
    ("16 bits, near 9.png", encode(ODD, "PNG"), np.full([SIDE, SIDE], 9)),
    (
        "16 bits, one of them transparent.png",
        png(DEEP, 16, 0, chunk(b"tRNS", struct.pack(">H", 5 * 257))),
        np.where(GREY == 5, 255, GREY),
    ),
    (
        "16 bits, none of them transparent.png",
        png(DEEP, 16, 0, chunk(b"tRNS", struct.pack(">H", 5))),
        GREY,
    ),
    # Of these Pillow reads the upper 8 bits.
    ("16 bits of colours.png", png(COLOUR * np.uint16(256) + 255, 16, 2), COLOUR),
    (
        "16 bits with alpha.png",
        png(np.stack([DEEP, EXACT_ALPHA * np.uint16(257)], -1), 16, 4),
        over_white(GREY[..., None], EXACT_ALPHA)[..., 0],
    ),
    (
        "grey with alpha.png",
        encode(np.stack([GREY, EXACT_ALPHA], -1), "PNG"),
        over_white(GREY[..., None], EXACT_ALPHA)[..., 0],
    ),
    ("black with any alpha.png", encode(np.stack([0 * GREY, GREY], -1), "PNG"), 255 - GREY),
    (
        "colour with alpha.png",
        encode(np.dstack([COLOUR, EXACT_ALPHA]), "PNG"),
        over_white(COLOUR, EXACT_ALPHA),
    ),
    ("wholly transparent.png", encode(np.dstack([COLOUR, 0 * GREY]), "PNG"), 0 * COLOUR + 255),
    (
        "one transparent colour.png",
        encode(COLOUR, "PNG", transparency=tuple(map(int, COLOUR[3, 5]))),
        np.where(np.equal(COLOUR, COLOUR[3, 5]).all(-1, keepdims=True), 255, COLOUR),
    ),
    (
        "one transparent grey.png",
        encode(GREY, "PNG", transparency=7),
        np.where(GREY == 7, 255, GREY),
    ),
    ("palette.png", palette(), COLOURS[GREY % 4]),
    (
        "palette, one transparent.png",
        palette(transparency=2),
        over_white(COLOURS[GREY % 4], np.where(GREY % 4 == 2, 0, 255)),
    ),
    (
        "palette with alphas.png",
        palette(transparency=bytes([0, 255, 255, 0])),
        over_white(COLOURS[GREY % 4], np.array([0, 255, 255, 0])[GREY % 4]),
    ),
    ("inks.tif", encode(INKS, "TIFF", "CMYK"), 255 - INKS[..., :3]),
    # 128 of 255 parts of the light are left over where there is black, and all ink or none.
    (
        "inks and black.tif",
        encode(np.dstack([INKS[..., :3] // 128 * 255, 0 * GREY + 127]), "TIFF", "CMYK"),
        np.where(INKS[..., :3] // 128, 0, 128),
    ),
    ("inks, inverted by Adobe.jpg", encode(INKS, "JPEG", "CMYK", quality=100), 255 - INKS[..., :3]),
    (
        "inks, inverted in silence.jpg",
        without_marker(encode(INKS, "JPEG", "CMYK", quality=100), b"\xff\xee"),
        255 - INKS[..., :3],
    ),
    ("plain.jpg", encode(BLOCKS, "JPEG", quality=100), BLOCKS),
    ("progressive.jpg", encode(BLOCKS, "JPEG", quality=100, progressive=True), BLOCKS),
    *((f"orientation {n}.png", turned(n, "PNG"), upright(COLOUR, n)) for n in (*range(1, 9),)),
    *((f"orientation {n}.jpg", turned(n, "JPEG", quality=100), upright(BLOCKS, n)) for n in (3, 6)),
    ("orientation 9, which is none.png", turned(9, "PNG"), COLOUR),
    ("orientation 8.webp", turned(8, "WEBP", lossless=True), upright(BLOCKS, 8)),
    ("orientation 5.tif", turned(5, "TIFF"), upright(BLOCKS, 5)),
    ("animated.gif", encode(GREY, "GIF", **SECOND), GREY),
    ("animated.png", encode(COLOUR, "PNG", **THIRD), COLOUR),
    ("animated.webp", encode(COLOUR, "WEBP", lossless=True, **THIRD), COLOUR),
    ("pages.tif", encode(COLOUR, "TIFF", **THIRD), COLOUR),
    ("two pictures.mpo.jpg", encode(BLOCKS, "MPO", quality=100, **SECOND), BLOCKS),
    ("lzw.tiff", encode(COLOUR, "TIFF", compression="tiff_lzw"), COLOUR),
    ("16 bits.tif", encode(DEEP, "TIFF"), GREY),
    ("white is 0.tif", white_is_zero(encode(GREY, "TIFF")), 255 - GREY),
    ("16 bits, white is 0.tif", white_is_zero(encode(DEEP, "TIFF")), 255 - GREY),
    ("bitmap.bmp", encode(COLOUR, "BMP"), COLOUR),
    ("wavelets.jp2", encode(GREY, "JPEG2000"), GREY),
    ("text.pgm", b"P2 16 16 255\n" + " ".join(map(str, GREY.ravel())).encode(), GREY),
    ("colour.ppm", encode(COLOUR, "PPM"), COLOUR),
    ("UPPER.PNG", encode(COLOUR, "PNG"), COLOUR),
    ("Upper.JpEg", encode(BLOCKS, "JPEG", quality=100), BLOCKS),
    ("a png.jpg", encode(COLOUR, "PNG"), COLOUR),
    ("a jpeg.gif", encode(BLOCKS, "JPEG", quality=100), BLOCKS),
    (" spaces  .png", encode(GREY, "PNG"), GREY),
    ('it\'s "so".png', encode(GREY, "PNG"), GREY),
    ("two\nlines\t.png", encode(GREY, "PNG"), GREY),
    ("\N{CAT} кошка 猫 قطة.png", encode(GREY, "PNG"), GREY),
    ("-rf *[1]?$(x);%s{0}\\.png", encode(GREY, "PNG"), GREY),
    ("deep/er/.png.png/a.b.png", encode(GREY, "PNG"), None),  # in a hidden folder
    ("deep/er/png/a.b.png", encode(GREY, "PNG"), GREY),
    ("._grey.png", encode(GREY, "PNG"), None),
    (".DS_Store", b"\0\0\0\1Bud1", None),
    ("__MACOSX/._grey.png", b"\0\5\x16\7", None),
    ("notes.txt", b"no picture", None),
]
if features.check("avif"):
    same = np.repeat(BLOCKS[..., None], 3, axis=-1)
    options = {"quality": 100, "subsampling": "4:4:4"}
    KINDS.append(("av1.avif", encode(same, "AVIF", **options), same))

WHOLE = encode(COLOUR, "PNG")
NOISE = np.random.default_rng(0).integers(0, 256, [64, 64, 3], np.uint8)
NOISE = encode(NOISE, "JPEG", progressive=True)
EXIF_OF_LIES = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack(
    # To be turned by a quarter, and with a horizontal resolution that is no number.
    "<HHHIIHHIII",
    2,
    0x112,
    3,
    1,
    6,
    0x11A,
    1,
    1,
    7,
    0,
)
# What is left out: the name of a file, its bytes, and the reason that is given.
LEFT_OUT = [
    ("empty.png", b"", "not a picture"),
    ("text.png", b"this is no picture", "not a picture"),
    ("page.jpg", b"<!DOCTYPE html><html>404</html>", "not a picture"),
    ("drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    ("half.png", WHOLE[: len(WHOLE) // 2], "image file is truncated"),
    ("half.jpg", NOISE[: len(NOISE) // 2], "image file is truncated"),
    ("bomb.png", png(GREY, 8, 0, size=(10**5, 10**5)), "it has more than 178,956,970 pixels"),
    ("lies.jpg", encode(COLOUR, "JPEG", exif=EXIF_OF_LIES), "its EXIF data, is damaged"),
]


@dataclasses.dataclass
class Ways:
    """The same files, in every place that pictures are read from."""

    places: dict[str, str]

    def readers(self) -> dict[str, Callable[[str], np.ndarray]]:
        """{way: a function from a file's name to its pixels, uint8 [H, W, 3]}."""
        shape = (SIDE, SIDE, 3)

        def through(place):
            collection = open_collection(place)
            numbers = {name: number for number, name in enumerate(collection.names)}
            return lambda name: fitted_pixels(collection.read(numbers[name]), shape)

        def file(name):
            return os.path.join(self.places["folder"], name)

        def record(name):
            with open(file(name), "rb") as opened:
                return fitted_pixels(decode_picture(opened.read()), shape)

        return {
            **{way: through(place) for way, place in self.places.items()},
            "record": record,
            "file": lambda name: fitted_pixels(read_picture(file(name)), shape),
            "to complete": lambda name: pictures.load(file(name), shape)[0],
        }


@pytest.fixture(scope="module")
def put(tmp_path_factory):
    """A function from files, {name: bytes}, to a folder, a .zip and a .tar of them."""

    def put(files):
        top = tmp_path_factory.mktemp("files")
        folder = top / "folder"
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        with zipfile.ZipFile(top / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        with tarfile.open(top / "a.tar", "w") as archive:
            archive.add(folder, arcname=".")
        places = {"folder": "folder", "zip": "a.zip", "tar": "a.tar"}
        return Ways({way: str(top / name) for way, name in places.items()})

    return put


@pytest.fixture(scope="module")
def ways(put):
    return put({name: content for name, content, _ in KINDS})


@pytest.fixture(scope="module")
def readers(ways):
    return ways.readers()


# Greys that it reads as colours, which are the same greys.
COLOURS_TO_PILLOW = ("16 bits with alpha.png", "orientation 8.webp")


@pytest.mark.parametrize(
    "name, expected", [(name, expected) for name, _, expected in KINDS if expected is not None]
)
def test_what_a_file_becomes(name, expected, readers, ways, recwarn, capfd):
    as_colours = np.broadcast_to(
        expected[..., None] if expected.ndim == 2 else expected, [SIDE, SIDE, 3]
    )
    for way, read in readers.items():
        np.testing.assert_array_equal(read(name), as_colours, err_msg=way)
    if name not in COLOURS_TO_PILLOW:
        picture = read_picture(os.path.join(ways.places["folder"], name))
        assert picture.mode == ("L" if expected.ndim == 2 else "RGB")
    assert not recwarn.list and "".join(capfd.readouterr()) == ""


def test_what_is_taken_for_a_picture(ways):
    wanted = sorted(name for name, _, expected in KINDS if expected is not None)
    left_out = ["2 hidden folders", "1 hidden picture"]
    for way, place in ways.places.items():
        collection = open_collection(place)
        assert (collection.names, collection.left_out) == (wanted, left_out), way


def test_all_of_them_as_training_pictures(ways, capsys):
    """The same pixels, in the same order and splits, from the folder and the archives."""
    found = {}
    for way, place in ways.places.items():
        for split in ("train", "test"):
            options = {"data_dir": place, "image_size": SIDE, "channels": 3}
            found[way, split] = images(load_source("image_folder", split, **options))
    table = {name: expected for name, _, expected in KINDS if expected is not None}
    for place, name in enumerate(sorted(table)[::20]):
        expected = table[name][..., None] if table[name].ndim == 2 else table[name]
        expected = np.broadcast_to(expected, [SIDE, SIDE, 3])
        np.testing.assert_array_equal(found["folder", "test"][place], expected)
    assert len(found["folder", "train"]) + len(found["folder", "test"]) == len(table)
    for way, split in found:
        np.testing.assert_array_equal(found[way, split], found["folder", split])
    assert "unreadable" not in capsys.readouterr().err


@pytest.mark.parametrize("name, cause", [(name, cause) for name, _, cause in LEFT_OUT])
def test_what_is_left_out(name, cause, left_out, recwarn, capfd):
    for way, read in left_out[1].items():
        with pytest.raises(PictureError) as error:
            read(name)
        assert cause in one_line(error), way
        assert way == "record" or name in one_line(error)
    assert not recwarn.list and "".join(capfd.readouterr()) == ""


@pytest.fixture(scope="module")
def left_out(put):
    ways = put({"good.png": WHOLE} | {name: content for name, content, _ in LEFT_OUT})
    return ways, ways.readers()


@pytest.mark.parametrize("way", ["folder", "zip", "tar"])
def test_what_is_left_out_is_named_and_counted(way, left_out, capsys):
    place = left_out[0].places[way]
    source = load_source("image_folder", "train", data_dir=place, image_size=SIDE, channels=3)
    np.testing.assert_array_equal(images(source), COLOUR[None])
    *lines, shared, counts = capsys.readouterr().err.splitlines()
    for line, (name, _, cause) in zip(lines, sorted(LEFT_OUT), strict=True):
        start = f"warning: picture left out, unreadable: {place}/{name} ("
        assert line.startswith(start) and cause in line
    assert shared.endswith("has one picture that can be read: it is for training and for test")
    assert counts == f"{place}: 9 pictures found, 1 read, 8 unreadable, 1 for training"


def test_a_damaged_tiff_is_left_out():
    """libtiff, which reads it, has a line of its own on the standard error."""
    noise = np.random.default_rng(0).integers(0, 256, [64, 64], np.uint8)
    content = encode(noise, "TIFF", compression="tiff_adobe_deflate")
    np.testing.assert_array_equal(decode_picture(content), noise)
    with pytest.raises(PictureError, match="cannot be read: it is damaged$"):
        decode_picture(content[:2000] + bytes([content[2000] ^ 1]) + content[2001:])


def test_what_pillow_warns_of_is_no_noise(tmp_path):
    """It does so of EXIF data that end too early; the picture is whole."""
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHI", 5, 0x10F, 2, 300)
    (tmp_path / "a.jpg").write_bytes(encode(BLOCKS, "JPEG", quality=100, exif=exif))
    with pytest.warns(UserWarning, match="Corrupt EXIF data"):  # without the filter
        np.testing.assert_array_equal(read_picture(tmp_path / "a.jpg"), BLOCKS)
    program = "import sys; from ncsn_tf.data.decoding import read_picture as read; "
    program += "print(read(sys.argv[1]).size)"
    command = [sys.executable, "-c", program, str(tmp_path / "a.jpg")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(16, 16)\n", "")


@pytest.mark.parametrize("way", ["folder", "zip", "tar"])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 5)])
def test_a_single_picture_of_few_pixels(way, size, put, capsys):
    pixel = png(np.full([*size, 3], [9, 8, 7]), 8, 2)
    place = put({"a.png": pixel}).places[way]
    for split in ("train", "test"):
        source = load_source("image_folder", split, data_dir=place, image_size=4, channels=3)
        np.testing.assert_array_equal(images(source), np.broadcast_to([9, 8, 7], [1, 4, 4, 3]))
    assert "1 picture found, 1 read, 1 for test" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["folder", "tar"])
def test_links_and_circles_of_links(way, tmp_path, capsys):
    folder = tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.png").write_bytes(encode(GREY, "PNG"))
    (folder / "b.png").symlink_to("in/a.png")
    (folder / "c.png").symlink_to("b.png")
    os.link(folder / "in" / "a.png", folder / "d.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "in" / "up").symlink_to("..")
    (folder / "in" / "out.png").symlink_to("../../outside.png")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(folder, arcname="top")
    place = folder if way == "folder" else tmp_path / "a.tar"
    source = load_source("image_folder", "train", data_dir=place, image_size=SIDE, channels=1)
    np.testing.assert_array_equal(images(source)[..., 0], [GREY] * 3)
    lines = capsys.readouterr().err.splitlines()
    unreadable = [line for line in lines if "picture left out, unreadable" in line]
    names = ["gone", "in/out", "loop"]
    for name, line in zip(names, sorted(unreadable), strict=True):
        assert f": {place}/{'top/' * (way == 'tar')}{name}.png (" in line
    assert lines[-1] == f"{place}: 7 pictures found, 4 read, 3 unreadable, 3 for training"


@pytest.mark.parametrize("way", ["folder", "tar"])
def test_a_name_that_is_no_text(way, tmp_path, capsys):
    folder = os.path.join(os.fsencode(tmp_path), b"folder")
    os.mkdir(folder)
    for name in (b"a.png", b"caf\xe9.png"):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(encode(GREY, "PNG"))
    with open(os.path.join(folder, b"\xff.png"), "wb") as file:
        file.write(b"nothing")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(os.fsdecode(folder), arcname=".")
    place = os.fsdecode(folder) if way == "folder" else str(tmp_path / "a.tar")
    assert open_collection(place).names == ["a.png", "caf\udce9.png", "\udcff.png"]
    source = load_source("image_folder", "train", data_dir=place, image_size=SIDE, channels=1)
    np.testing.assert_array_equal(images(source)[..., 0], [GREY])
    assert f"{place}/\\udcff.png (not a picture)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "way", ["folder", *(pytest.param(way, marks=pytest.mark.slow) for way in ("zip", "tar"))]
)
def test_training_goes_on_with_fewer_pictures_than_a_batch(way, put, tmp_path, monkeypatch, capsys):
    soak.use_tiny_network(monkeypatch.setattr)
    start = tf.distribute.OneDeviceStrategy("/cpu:0")
    monkeypatch.setattr(train, "start_for_training", lambda config: start)
    pixel = png(np.full([1, 1], 7), 8, 0)
    files = {"a.png": WHOLE, "b.png": pixel, "c.jpg": encode(BLOCKS, "JPEG")}
    files |= {name: content for name, content, _ in LEFT_OUT}
    place = put(files).places[way]
    flags = ["--image_size=8", "--channels=1", "--num_levels=2", "--num_steps=2", "--batch_size=8"]
    flags += ["--num_steps_each=1", "--eval_every=0", "--sample_every=0", "--noexport"]
    flags += ["--dataset=image_folder", f"--data_dir={place}", f"--workdir={tmp_path}/run"]
    with pytest.raises(SystemExit) as end:
        run_command(train.main, ["ncsn train", *flags])
    said = capsys.readouterr()
    assert end.value.code == 0, said.err
    assert f"{place}: 11 pictures found, 3 read, 8 unreadable, 2 for training" in said.err
    assert "step 2 of 2" in said.err
    assert "Traceback" not in said.err and ".py:" not in said.err
