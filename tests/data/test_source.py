"""Sources of arrays, and the crop of their images."""

import os

import numpy as np
import pytest

from ncsn_tf.data.encoded import EncodedImages
from ncsn_tf.data.image_file import FileImages
from ncsn_tf.data.source import Source, crop_and_resize, from_arrays

BYTES = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3).astype(np.uint8)


def test_bytes_are_kept_and_fractions_are_rounded_to_them():
    source = from_arrays(BYTES)
    np.testing.assert_array_equal(source.images.array, BYTES)
    assert (source.num_examples, source.image_shape, source.name) == (2, (4, 6, 3), "arrays")
    assert source.labels is None
    for dtype in (np.float32, np.float64):
        floats = from_arrays((BYTES / 255).astype(dtype), name="mine")
        np.testing.assert_array_equal(floats.images.array, BYTES)
        assert (floats.images.array.dtype, floats.name) == (np.uint8, "mine")


def test_greys_may_come_without_an_axis_of_channels():
    source = from_arrays(BYTES[..., 0], labels=np.array([3, 0], np.uint8))
    np.testing.assert_array_equal(source.images.array, BYTES[..., :1])
    np.testing.assert_array_equal(source.labels, [3, 0])
    assert source.labels.dtype == np.int64


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (BYTES[0, 0], None, r"images must be \[N, H, W\] or \[N, H, W, C\], not \[6, 3\]"),
        (BYTES[:0], None, r"not \[0, 4, 6, 3\]"),
        (BYTES.astype(int), None, "images must be uint8, or float in .* not int64"),
        (BYTES / 128.0, None, r"must be in \[0, 1\]"),
        (BYTES / -255.0, None, r"must be in \[0, 1\]"),
        (np.full([1, 4, 4], np.nan), None, r"must be in \[0, 1\]"),
        (BYTES, [1], r"labels must be 2 whole numbers, one an image, not int64 \[1\]"),
        (BYTES, [0.0, 1.0], "whole numbers, .* not float64"),
        (BYTES, [0, -1], "labels must be at least 0, not -1"),
    ],
)
def test_arrays_that_are_no_images(images, labels, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(images, labels)


def test_crop_and_resize_keeps_the_centred_square():
    rows, columns = np.meshgrid(np.arange(5), np.arange(8), indexing="ij")
    image = (10 * rows + columns).astype(np.uint8)[..., None]  # [5, 8, 1]
    largest = crop_and_resize(image, 5).numpy()
    np.testing.assert_array_equal(largest, image[:, 1:6])
    np.testing.assert_array_equal(crop_and_resize(image, 3, crop_size=3), image[1:4, 2:5])
    np.testing.assert_array_equal(crop_and_resize(image, 5, crop_size=99), largest)
    np.testing.assert_array_equal(
        crop_and_resize(np.stack([image, image + 1]), 3, crop_size=3)[1], image[1:4, 2:5] + 1
    )


def test_crop_and_resize_antialiases_and_rounds():
    image = np.zeros([8, 8, 3], np.uint8)
    image[:, [1, 2, 5, 6]] = 255  # stripes that a plain bilinear resize would alias to white
    small = crop_and_resize(image, 2).numpy()
    assert small.dtype == np.uint8
    assert np.all(np.abs(small.astype(int) - 127.5) < 40)
    pair = np.array([[[0], [3]], [[0], [3]]], np.uint8)
    # bilinear with half-pixel centres: 0, 0.75, 2.25, 3, rounded
    np.testing.assert_array_equal(crop_and_resize(pair, 4)[0, :, 0], [0, 1, 2, 3])


def test_fingerprints_tell_sources_apart(tmp_path):
    array = np.random.RandomState(0).randint(0, 256, (300, 2, 2, 1), np.uint8)

    def of_array(array, labels=None):
        return from_arrays(array, labels).fingerprint()

    def of_file(array, rows=None, unreadable=()):
        path = tmp_path / "images.npy"
        np.save(path, array)
        os.utime(path, ns=(0, 0))  # files of the same time
        return Source(FileImages(path, rows, unreadable), "file").fingerprint()

    def of_records(records, value=1):
        def decode(record):
            return np.full([2, 2, 1], record[0] * value, np.uint8)

        return Source(EncodedImages(records, decode, (2, 2, 1), "records"), "r").fingerprint()

    changed, last = array.copy(), array.copy()
    changed[150, 1, 1] ^= 1
    last[-1, 1, 1] ^= 1  # one of those that are looked at in a file
    labels = np.arange(300) % 2
    found = [
        of_array(array),
        of_array(changed),
        of_array(array[::-1]),
        of_array(array, labels),
        of_array(array, 1 - labels),
        of_array(array.reshape(300, 1, 4, 1)),
        of_file(array),
        of_file(last),
        of_file(array, rows=np.arange(299)),
        of_file(array, unreadable=[150]),
        of_records([b"a", b"b"]),
        of_records([b"a", b"c"]),
        of_records([b"a", b"b"], value=2),
    ]
    assert len(set(found)) == len(found)
    assert (of_array(array.copy()), of_file(array), of_records([b"a", b"b"])) == (
        found[0],
        found[6],
        found[10],
    )
