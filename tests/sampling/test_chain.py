"""What all chains share: where they start, tiles, bytes."""

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.backend.random import Stream, uniform
from ncsn_tf.backend.tiles import in_tiles
from ncsn_tf.sampling.chain import Chain, Rows, initial_state, to_uint8
from ncsn_tf.sampling.langevin import annealed_langevin
from ncsn_tf.schedule import geometric_sigmas


def test_initial_state_is_uniform():
    seeds = tf.range(3, dtype=tf.int64)
    x = initial_state(seeds, [2, 3, 1])
    np.testing.assert_array_equal(x, uniform(seeds, (2, 3, 1), Stream.INITIAL_STATE))
    still = annealed_langevin(lambda x, levels: -x, seeds, [2, 3, 1], [1.0, 0.1], 0.0, 1)
    np.testing.assert_array_equal(still, x)


def test_sigmas_must_be_known():
    with pytest.raises(ValueError, match="known when the graph is made"):
        tf.function(lambda sigmas: Chain(sigmas).num_levels)(geometric_sigmas(1.0, 0.1, 3))


def test_rows_are_filled_from_numbers():
    rows = Rows.fill([3, 2**40], 1e-3, [5, 0])
    assert [part.dtype for part in rows[:3]] == [tf.int64, tf.float32, tf.int32]
    np.testing.assert_array_equal(rows.seeds, [3, 2**40])
    np.testing.assert_array_equal(rows.step_lr, np.float32([1e-3, 1e-3]))
    np.testing.assert_array_equal(rows.num_steps_each, [5, 0])


# --- tiles ---


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8])
def test_tiles_are_padded_with_zeros_and_of_one_size(count):
    def fn(images, numbers):
        assert images.shape == (4, 2)
        assert numbers.shape == (4,)
        # The sum over the tile makes neighbours and padding visible.
        return tf.cast(numbers, tf.float32)[:, None] + tf.reduce_sum(images, 0, keepdims=True)

    images = np.arange(2.0 * count, dtype=np.float32).reshape(count, 2)
    numbers = np.arange(count, dtype=np.int32)
    expected = np.empty_like(images)
    for start in range(0, count, 4):
        tile = slice(start, start + 4)
        expected[tile] = numbers[tile, None] + images[tile].sum(0)

    compiled = tf.function(
        lambda *batches: in_tiles(fn, 4, *batches),
        input_signature=[tf.TensorSpec([None, 2]), tf.TensorSpec([None], tf.int32)],
    )
    batches = tf.constant(images), tf.constant(numbers)
    for result in (compiled(*batches), in_tiles(fn, 4, *batches)):
        np.testing.assert_array_equal(result, expected)


# --- bytes ---


def test_bytes_are_rounded_to_the_nearest():
    levels = np.arange(256, dtype=np.float32) / 255
    assert to_uint8(levels).dtype == tf.uint8
    for shift in (0.0, 0.4 / 255, -0.4 / 255):
        np.testing.assert_array_equal(to_uint8(levels + np.float32(shift)), np.arange(256))
    np.testing.assert_array_equal(to_uint8(tf.constant([-3.0, 1.5])), [0, 255])
