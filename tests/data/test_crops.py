"""The centred rectangle that is kept of a picture, and what is made of it."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from source_checks import images

from ncsn_tf.data import pictures
from ncsn_tf.data.crops import centred_box
from ncsn_tf.data.decoding import fitted, fitted_pixels
from ncsn_tf.data.masks import load_mask
from ncsn_tf.data.source import crop_and_resize
from ncsn_tf.data.sources import load_source

SIDES = st.integers(1, 400)
MANY = settings(max_examples=100, deadline=None, derandomize=True, database=None)
NOISE = np.random.default_rng(0).integers(0, 256, (10, 24)).astype(np.uint8)


@MANY
@given(SIDES, SIDES, st.integers(1, 99), st.integers(0, 500))
def test_squares_are_what_they_always_were(height, width, wanted, crop_size):
    side = min(height, width, crop_size or 500)
    expected = (height - side) // 2, (width - side) // 2, side, side
    assert centred_box(height, width, (wanted, wanted), crop_size) == expected


@MANY
@given(SIDES, SIDES, st.tuples(SIDES, SIDES), st.integers(0, 300))
@example(9, 9, (4, 6), 6)
@example(1, 400, (400, 1), 0)
def test_a_rectangle_has_the_shape_and_is_the_largest(height, width, wanted, crop_size):
    top, left, rows, columns = centred_box(height, width, wanted, crop_size)
    assert 1 <= rows <= height and 1 <= columns <= width
    assert (top, left) == ((height - rows) // 2, (width - columns) // 2)
    # One side is what it is, and the other differs from its due by rounding alone.
    by_rows, by_columns = rows * wanted[1] / wanted[0], columns * wanted[0] / wanted[1]
    assert abs(by_rows - columns) <= 0.5 or abs(by_columns - rows) <= 0.5 or min(rows, columns) == 1
    largest = centred_box(height, width, wanted)[2:]
    assert largest[0] == height or largest[1] == width
    if 0 < crop_size < min(largest):
        assert min(rows, columns) == crop_size
    else:
        assert (rows, columns) == largest
    turned = centred_box(width, height, wanted[::-1], crop_size)
    assert turned == (left, top, columns, rows)


def test_a_crop_alone_keeps_the_pixels():
    picture = Image.fromarray(NOISE)
    np.testing.assert_array_equal(fitted(picture, (10, 16)), NOISE[:, 4:20])
    np.testing.assert_array_equal(fitted(picture, (5, 8), crop_size=5), NOISE[2:7, 8:16])
    np.testing.assert_array_equal(fitted(picture, (8, 5), crop_size=5), NOISE[1:9, 9:14])
    np.testing.assert_array_equal(fitted(picture, (10, 16), crop_size=99), NOISE[:, 4:20])
    np.testing.assert_array_equal(
        crop_and_resize(NOISE[..., None], (5, 8), 5)[..., 0], NOISE[2:7, 8:16]
    )


@pytest.mark.parametrize("by", ["Pillow", "TensorFlow"])
def test_a_ramp_stays_a_ramp(by):
    """Antialiased bilinear means of a linear function are its values at the pixels' centres."""
    ramp = np.broadcast_to(np.arange(8, 248, 8, dtype=np.uint8), (12, 30))
    if by == "Pillow":
        small = fitted_pixels(Image.fromarray(ramp), (6, 12, 1))
    else:
        small = crop_and_resize(ramp[..., None], (6, 12)).numpy()
    assert small.shape == (6, 12, 1)
    # The middle 24 of 30 columns, in pairs whose centres are half a pixel, 4, right of the first.
    np.testing.assert_array_equal(small[:, 1:-1, 0] - np.arange(12)[1:-1] * 16 - 32 - 4, 0)


def test_one_rule_for_all_pictures(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    expected = fitted_pixels(Image.fromarray(NOISE), (4, 6, 1))
    for size in ("4x6", (4, 6)):
        source = load_source(
            "image_folder", "train", data_dir=tmp_path, image_size=size, channels=1
        )
        assert source.image_shape == (4, 6, 1)
        np.testing.assert_array_equal(images(source)[0], expected)
    (completed,) = pictures.load(tmp_path / "a.png", (4, 6, 1), resize=True)
    np.testing.assert_array_equal(completed, expected)
    bright = np.zeros((10, 24), np.uint8)
    bright[:5] = 255
    bright[:, :4] = bright[:, 20:] = 255  # what is cropped away
    Image.fromarray(bright).save(tmp_path / "mask.png")
    mask = load_mask(str(tmp_path / "mask.png"), (5, 8), resize=True)
    np.testing.assert_array_equal(mask, np.arange(5)[:, None].repeat(8, 1) < 2)


@pytest.mark.parametrize("size", ["4x", "x", "4x6x8", (4,), (4, 6, 8), (4.0, 6), 4.5, None, True])
def test_what_is_no_size(size):
    with pytest.raises(ValueError, match="not "):
        load_source("digits", "train", image_size=size, channels=1)
