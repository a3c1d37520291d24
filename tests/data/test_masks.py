"""Masks by name and from pictures."""

import numpy as np
import pytest
from PIL import Image

from ncsn_tf.data.masks import load_mask
from ncsn_tf.errors import UserError

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


@pytest.fixture
def save(tmp_path):
    """(name, array) -> path."""

    def save(name, pixels):
        Image.fromarray(pixels).save(tmp_path / name)
        return str(tmp_path / name)

    return save


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
    np.testing.assert_array_equal(load_mask(mask, 8), expected)


@pytest.mark.parametrize(
    "mask, unknown",
    [("left", np.s_[:, :3]), ("top", np.s_[:4]), ("center", np.s_[2:6, 1:4])],
)
def test_named_masks_of_rectangles(mask, unknown):
    expected = np.zeros((8, 6), bool)
    expected[unknown] = True
    np.testing.assert_array_equal(load_mask(mask, (8, 6)), expected)
    assert load_mask("random", (8, 6)).shape == (8, 6) and load_mask("random", (8, 6)).sum() == 24


def test_the_random_mask_is_half_of_the_pixels():
    mask = load_mask("random", 8)
    assert mask.sum() == 32
    np.testing.assert_array_equal(mask, load_mask("random", 8))
    assert 0 < mask[:, :4].sum() < 32


def test_white_is_what_is_to_be_filled(save):
    pixels = np.where(GREY > 120, 128, 127).astype(np.uint8)
    np.testing.assert_array_equal(load_mask(save("mask.png", pixels), 8), GREY > 120)
    large = save("large.png", pixels.repeat(2, 0).repeat(2, 1))
    with pytest.raises(UserError, match="large.png has 16x16 pixels .*, not 8x8: "):
        load_mask(large, 8)
    np.testing.assert_array_equal(load_mask(large, 8, resize=True), GREY > 120)


def test_masks_that_cannot_be_used(save, tmp_path):
    with pytest.raises(
        FileNotFoundError, match="^mask=middle is neither a file nor one of left, right"
    ):
        load_mask("middle", 8)
    with pytest.raises(ValueError, match="^mask=.*black.png leaves nothing to fill: white is"):
        load_mask(save("black.png", np.zeros((8, 8), np.uint8)), 8)
    with pytest.raises(ValueError, match="^mask=.*white.png leaves nothing known: black is"):
        load_mask(save("white.png", np.full((8, 8), 255, np.uint8)), 8)
    with pytest.raises(ValueError, match="leaves nothing"):
        load_mask("right", 1)
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(UserError, match="text.png cannot be read: not a picture"):
        load_mask(str(tmp_path / "text.png"), 8)


@pytest.mark.parametrize(
    "mode, drawn, clear",
    [
        ("LA", (255, 255), (255, 0)),
        ("RGBA", (255, 255, 255, 255), (255, 255, 255, 0)),
        ("RGBA", (255, 255, 255, 255), (0, 0, 0, 0)),
        ("RGB", (255, 255, 0), (0, 0, 255)),  # by luminance
        ("I;16", 65535, 257 * 127),
    ],
)
def test_what_is_transparent_or_dark_is_kept(mode, drawn, clear, tmp_path):
    mask = Image.new(mode, (8, 8), clear)
    for x in range(8):
        for y in range(3):
            mask.putpixel((x, y), drawn)
    mask.save(tmp_path / "mask.png")
    expected = np.zeros((8, 8), bool)
    expected[:3] = True
    np.testing.assert_array_equal(load_mask(str(tmp_path / "mask.png"), 8), expected)


def test_a_mask_is_cropped_as_the_pictures_are(save):
    wide = np.zeros((16, 32), np.uint8)
    wide[:, 8:16] = 255  # the left half of the centred square
    expected = np.zeros((8, 8), bool)
    expected[:, :4] = True
    np.testing.assert_array_equal(load_mask(save("a.png", wide), 8, resize=True), expected)
    cropped = load_mask(save("a.png", wide), 8, resize=True, crop_size=8)
    np.testing.assert_array_equal(cropped, expected)
