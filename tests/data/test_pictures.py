"""Pictures that users name: read as they are, or one line that says what is wrong."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ncsn_tf.data import pictures
from ncsn_tf.data.decoding import decode_picture, fitted_pixels
from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import UserError

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
COLOUR = np.stack([GREY, GREY[::-1], GREY.T], axis=-1)


@pytest.fixture
def save(tmp_path):
    """(name, array, **PIL options) -> path."""

    def save(name, pixels, mode=None, **options):
        picture = Image.fromarray(pixels)
        (picture.convert(mode) if mode else picture).save(tmp_path / name, **options)
        return str(tmp_path / name)

    return save


def load(path, channels=1, **options):
    return pictures.load(path, (8, 8, channels), **options)


def test_pixels_are_those_of_the_file(save):
    (grey,) = load(save("grey.png", GREY))
    np.testing.assert_array_equal(grey, GREY[:, :, None])
    (colour,) = load(save("colour.png", COLOUR), 3)
    np.testing.assert_array_equal(colour, COLOUR)
    (jpeg,) = load(save("colour.jpg", COLOUR, quality=100), 3)
    assert np.abs(jpeg.astype(int) - COLOUR).mean() < 20
    opaque = np.concatenate([COLOUR, np.full((8, 8, 1), 255, np.uint8)], axis=-1)
    np.testing.assert_array_equal(load(save("alpha.png", opaque), 3)[0], COLOUR)
    (palette,) = load(save("palette.png", GREY, "P"))
    np.testing.assert_array_equal(palette[:, :, 0], GREY)
    deep = GREY.astype(np.uint16) * 257
    np.testing.assert_array_equal(load(save("deep.png", deep))[0][:, :, 0], GREY)


@pytest.fixture(params=["training images", "records", "pictures to complete"])
def read(request, tmp_path):
    """A function from a file, alone in its folder, to its pixels; all ways are to agree."""

    def read(path, channels):
        if request.param == "training images":
            source = load_source(
                "image_folder", "train", data_dir=str(path.parent), image_size=8, channels=channels
            )
            return source.images.array[0]
        if request.param == "records":
            return fitted_pixels(decode_picture(path.read_bytes()), (8, 8, channels))
        return load(path, channels)[0]

    return read


def transparent_16_bits(path, values, value):
    """Write greys of 16 bits of which one is transparent; Pillow writes no such chunk."""
    Image.fromarray(values).save(path)
    chunk = b"tRNS" + struct.pack(">H", value)
    chunk = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    plain = path.read_bytes()
    place = plain.index(b"IDAT") - 4
    path.write_bytes(plain[:place] + chunk + plain[place:])
    with Image.open(path) as opened:
        assert opened.info["transparency"] == value


def colour(mode, values, **options):
    return lambda path: Image.new(mode, (8, 8), values).save(path, **options)


def palette(**options):
    def write(path):
        picture = Image.new("P", (8, 8), 1)
        picture.putpalette([0, 0, 0, 7, 77, 177])
        picture.save(path, **options)

    return write


@pytest.mark.parametrize(
    "write, channels, expected",
    [
        (colour("RGB", (10, 20, 30)), 3, [10, 20, 30]),
        (colour("RGBA", (10, 20, 30, 255)), 3, [10, 20, 30]),
        (colour("RGBA", (255, 0, 0, 0)), 3, [255, 255, 255]),  # wholly transparent: the white below
        (colour("RGBA", (255, 0, 0, 51)), 3, [255, 204, 204]),  # one fifth red on white
        (colour("RGB", (1, 2, 3), transparency=(1, 2, 3)), 3, [255, 255, 255]),
        (palette(), 3, [7, 77, 177]),
        (palette(transparency=1), 3, [255, 255, 255]),
        (colour("L", 50), 1, [50]),
        (colour("L", 50, transparency=50), 1, [255]),
        (colour("LA", (0, 102)), 1, [153]),
        (colour("1", 1), 1, [255]),
        (colour("I;16", 257 * 40), 1, [40]),
        (colour("I;16", 257 * 40 + 100), 1, [40]),
        (colour("I;16", 257 * 40 + 200), 1, [41]),
        (lambda path: transparent_16_bits(path, np.full((8, 8), 9, np.uint16), 9), 1, [255]),
        (lambda path: transparent_16_bits(path, np.full((8, 8), 771, np.uint16), 9), 1, [3]),
    ],
)
def test_one_rule_for_depth_and_transparency(write, channels, expected, read, tmp_path):
    write(tmp_path / "a.png")
    pixels = read(tmp_path / "a.png", channels)
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.uint8(expected), (8, 8, channels)))


def test_pictures_are_turned_upright(read, tmp_path):
    picture = Image.fromarray(GREY)
    exif = picture.getexif()
    exif[0x0112] = 6  # turned by 90 degrees: to be shown turned clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "a.png", 1)[:, :, 0], np.rot90(GREY, -1))


def test_16_bits_of_which_one_value_is_transparent(read, tmp_path):
    """Its greys stay what they are, and the transparent one is white."""
    values = GREY.astype(np.uint16) * 257
    transparent_16_bits(tmp_path / "a.png", values, int(values[0, 5]))
    expected = GREY.copy()
    expected[0, 5] = 255
    np.testing.assert_array_equal(read(tmp_path / "a.png", 1)[:, :, 0], expected)


def test_the_modes_are_grey_or_colour(save):
    for mode, expected in [("L", "L"), ("1", "L"), ("LA", "L"), ("RGBA", "RGB"), ("P", "RGB")]:
        assert pictures.read_picture(save("a.png", GREY, mode)).mode == expected
    assert pictures.read_picture(save("a.png", GREY.astype(np.uint16))).mode == "L"


def test_a_folder_in_the_order_of_names_and_an_npz(save, tmp_path):
    for name, shift in [("b.png", 1), ("a.png", 0), ("c.PNG", 2)]:
        save(name, GREY + np.uint8(shift), format="PNG")
    (tmp_path / "notes.txt").write_text("not a picture")
    assert [int(image[0, 0, 0]) for image in load(str(tmp_path))] == [0, 1, 2]
    images = np.stack([GREY, GREY + np.uint8(3)])[..., None]
    np.savez(tmp_path / "images.npz", images=images)
    np.testing.assert_array_equal(load(str(tmp_path / "images.npz")), images)


def test_other_sizes(save):
    wide = save("wide.png", np.tile(GREY, (1, 2)))
    with pytest.raises(pictures.SizeError) as error:
        load(wide)
    assert str(error.value) == (
        f"{wide} has 8x16 pixels (height x width), not 8x8: give one of that size"
    )
    (square,) = load(wide, resize=True)
    np.testing.assert_array_equal(square[:, :, 0], np.tile(GREY, (1, 2))[:, 4:12])
    small = save("small.png", GREY[:4, :4])
    assert load(small, also_sizes=[(4, 4)])[0].shape == (4, 4, 1)
    assert load(small, resize=True)[0].shape == (8, 8, 1)
    with pytest.raises(UserError, match="4x4 pixels .*, not 8x8 or 2x3: "):
        load(small, also_sizes=[(2, 3)])


def test_colour_and_grey_as_in_training(save, capsys):
    grey, colour = save("grey.png", GREY), save("colour.png", COLOUR)
    np.testing.assert_array_equal(load(grey, 3)[0], np.repeat(GREY[..., None], 3, -1))
    assert capsys.readouterr().err == ""
    (luminance,) = load(colour, 1)
    assert capsys.readouterr().err == (
        f"warning: 1 of 1 in {colour} with colours: made grey for the network\n"
    )
    np.testing.assert_allclose(luminance[..., 0], COLOUR @ [0.299, 0.587, 0.114], atol=1)
    same = save("same.png", np.repeat(GREY[..., None], 3, -1))
    np.testing.assert_array_equal(load(same)[0][:, :, 0], GREY)  # grey, stored as colour


def test_what_cannot_be_read(tmp_path, save):
    (tmp_path / "text.png").write_text("not a picture")
    whole = Path(save("whole.png", COLOUR)).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "broken.npz").write_bytes(b"PK not an archive")
    np.savez(tmp_path / "other.npz", x=GREY)
    np.savez(tmp_path / "flat.npz", images=GREY)
    np.savez(tmp_path / "none.npz", images=np.zeros((0, 8, 8, 1), np.uint8))
    np.save(tmp_path / "array.npy", GREY)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    np.savez_compressed(tmp_path / "damaged.npz", images=COLOUR[None].repeat(50, 0))
    damaged = bytearray((tmp_path / "damaged.npz").read_bytes())
    damaged[60:100] = bytes(40)
    (tmp_path / "damaged.npz").write_bytes(damaged)
    with pytest.raises(zlib.error), np.load(tmp_path / "damaged.npz") as arrays:
        arrays["images"]
    # To be turned by a quarter, and with a horizontal resolution that is no number.
    entries = struct.pack("<HHHIIHHII", 2, 0x112, 3, 1, 6, 0x11A, 1, 1, 7)
    save("exif.jpg", COLOUR, exif=b"Exif\0\0II*\0\x08\0\0\0" + entries + bytes(4))
    (tmp_path / "empty").mkdir()
    for name, cause in [
        ("array.npz", "array.npz cannot be read: not an .npz"),
        ("exif.jpg", "exif.jpg cannot be read: it, or its EXIF data, is damaged"),
        ("damaged.npz", "damaged.npz cannot be read: Error -3 while decompressing"),
        ("absent.png", "absent.png cannot be read: No such file"),
        ("absent.npz", "absent.npz cannot be read: No such file"),
        ("text.png", "text.png cannot be read: not a picture"),
        ("half.png", "half.png cannot be read: "),
        ("broken.npz", "broken.npz cannot be read: "),
        ("other.npz", "other.npz cannot be read: images"),
        ("flat.npz", r"must have images as uint8 \[N, H, W, 1 or 3\], not uint8 \[8, 8\]"),
        ("none.npz", "none.npz has no images"),
        ("empty", "no pictures .* in "),
    ]:
        with pytest.raises(UserError, match=cause) as error:
            load(str(tmp_path / name), 3)
        assert "\n" not in str(error.value)
