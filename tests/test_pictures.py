"""Pictures that users name: read as they are, or one line that says what is wrong."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ncsn_tf import pictures
from ncsn_tf.errors import ConfigError, UserError

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


def test_what_is_transparent_is_white(save):
    clear = np.zeros((8, 8, 4), np.uint8)
    assert np.all(load(save("clear.png", clear), 3)[0] == 255)


def test_16_bits_with_a_transparent_value(tmp_path):
    """Its greys stay what they are, and the transparent one is white."""
    picture = Image.fromarray(GREY.astype(np.uint16) * 257)
    picture.save(tmp_path / "plain.png")
    # Pillow writes no such chunk for 16 bits.
    chunk = b"tRNS" + struct.pack(">H", 257 * int(GREY[0, 5]))
    chunk = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    plain = (tmp_path / "plain.png").read_bytes()
    place = plain.index(b"IDAT") - 4
    (tmp_path / "clear.png").write_bytes(plain[:place] + chunk + plain[place:])
    with Image.open(tmp_path / "clear.png") as opened:
        assert opened.info["transparency"] == 257 * int(GREY[0, 5])
    expected = GREY.copy()
    expected[0, 5] = 255
    (found,) = load(str(tmp_path / "clear.png"))
    np.testing.assert_array_equal(found[:, :, 0], expected)


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
    with pytest.raises(UserError) as error:
        load(wide)
    assert str(error.value) == (
        f"{wide} has 16 x 8 pixels, not 8 x 8: give one of that size, or --resize"
    )
    (square,) = load(wide, resize=True)
    np.testing.assert_array_equal(square[:, :, 0], np.tile(GREY, (1, 2))[:, 4:12])
    small = save("small.png", GREY[:4, :4])
    assert load(small, also_sizes=[4])[0].shape == (4, 4, 1)
    assert load(small, resize=True)[0].shape == (8, 8, 1)
    with pytest.raises(UserError, match="4 x 4 pixels, not 8 x 8 or 2 x 2: "):
        load(small, also_sizes=[2])


def test_colour_and_grey(save):
    grey, colour = save("grey.png", GREY), save("colour.png", COLOUR)
    with pytest.raises(UserError, match="grey.png is grey, and the network draws colour: "):
        load(grey, 3)
    with pytest.raises(UserError, match="colour.png has colours, and the network draws grey: "):
        load(colour, 1)
    assert load(grey, 3, also_grey=True)[0].shape == (8, 8, 1)
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


@pytest.mark.parametrize(
    "mask, unknown",
    [
        ("left", np.s_[:, :4]),
        ("right", np.s_[:, 4:]),
        ("top", np.s_[:4]),
        ("bottom", np.s_[4:]),
        ("center", np.s_[2:6, 2:6]),
    ],
)
def test_named_masks(mask, unknown):
    expected = np.zeros((8, 8), bool)
    expected[unknown] = True
    np.testing.assert_array_equal(pictures.load_mask(mask, 8), expected)


def test_the_random_mask_is_half_of_the_pixels():
    mask = pictures.load_mask("random", 8)
    assert mask.sum() == 32
    np.testing.assert_array_equal(mask, pictures.load_mask("random", 8))
    assert 0 < mask[:, :4].sum() < 32


def test_white_is_what_is_to_be_filled(save):
    pixels = np.where(GREY > 120, 128, 127).astype(np.uint8)
    np.testing.assert_array_equal(pictures.load_mask(save("mask.png", pixels), 8), GREY > 120)
    large = save("large.png", pixels.repeat(2, 0).repeat(2, 1))
    with pytest.raises(UserError, match="large.png has 16 x 16 pixels, not 8 x 8: "):
        pictures.load_mask(large, 8)
    np.testing.assert_array_equal(pictures.load_mask(large, 8, resize=True), GREY > 120)


def test_masks_that_cannot_be_used(save):
    with pytest.raises(UserError, match="--mask=middle is neither a file nor one of left, right"):
        pictures.load_mask("middle", 8)
    with pytest.raises(ConfigError, match="black.png leaves nothing to fill: white is"):
        pictures.load_mask(save("black.png", np.zeros((8, 8), np.uint8)), 8)
