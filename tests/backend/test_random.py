"""The stream is Philox4x32-10, the same everywhere, and its numbers have the promised laws."""

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream

DRAWS = [random.normal, random.uniform]
SHAPE = (5, 7, 3)  # 105 numbers: neither whole blocks nor whole vectors
SEEDS = np.array([0, 1, 2, 7, -1, -(2**63), 2**63 - 1, 1 + 2**32, 123456789012345], np.int64)


def philox(counter, key):
    """Philox4x32-10 on Python integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1 = (product1 >> 32) ^ c1 ^ k0, product1 & 0xFFFFFFFF
        c2, c3 = (product0 >> 32) ^ c3 ^ k1, product0 & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


@pytest.mark.parametrize(
    "counter, key, expected",
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_known_answers_of_random123(counter, key, expected):
    block = random.philox4x32(
        [tf.constant([word], tf.uint32) for word in counter],
        [tf.constant([word], tf.uint32) for word in key],
    )
    assert [int(word[0]) for word in block] == expected
    assert philox(counter, key) == expected


def test_words_are_the_blocks_addressed_by_seed_counters_and_stream():
    words = random.random_words(SEEDS, 10, Stream.LEVEL, (3, tf.range(len(SEEDS)))).numpy()
    for b, seed in enumerate(SEEDS.tolist()):
        key = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
        blocks = [philox((block, 3, b, int(Stream.LEVEL)), key) for block in range(3)]
        assert words[b].tolist() == sum(blocks, [])[:10]


def test_more_words_extend_fewer_words():
    many = random.random_words(SEEDS, 300, Stream.LANGEVIN)
    for count in (1, 64, 65):
        few = random.random_words(SEEDS, count, Stream.LANGEVIN)
        np.testing.assert_array_equal(few, many[:, :count])


def test_xla_gives_the_same_bits():
    compiled = tf.function(random.random_words, jit_compile=True)
    arguments = (SEEDS, 105, Stream.LANGEVIN, (3, 4))
    np.testing.assert_array_equal(compiled(*arguments), random.random_words(*arguments))
    compiled = tf.function(random.uniform, jit_compile=True)
    arguments = (SEEDS, SHAPE, Stream.LANGEVIN, (3, 4))
    np.testing.assert_array_equal(compiled(*arguments), random.uniform(*arguments))


def test_xla_gives_the_same_normal_numbers_up_to_rounding():
    compiled = tf.function(random.normal, jit_compile=True)
    arguments = (SEEDS, SHAPE, Stream.LANGEVIN, (3, 4))
    np.testing.assert_allclose(compiled(*arguments), random.normal(*arguments), atol=3e-6)


@pytest.mark.parametrize("draw", DRAWS)
def test_a_row_is_a_function_of_its_seed_alone(draw):
    compiled = tf.function(lambda seeds: draw(seeds, SHAPE, Stream.LANGEVIN, (2, 5)))
    together = compiled(tf.constant(SEEDS)).numpy()
    assert together.shape == (len(SEEDS), *SHAPE)
    for b in range(len(SEEDS)):
        np.testing.assert_array_equal(compiled(tf.constant(SEEDS[b : b + 1]))[0], together[b])
    np.testing.assert_array_equal(compiled(tf.constant(SEEDS[::-1].copy()))[::-1], together)
    crowd = tf.concat([tf.range(1000, 1024, dtype=tf.int64), SEEDS], 0)
    np.testing.assert_array_equal(compiled(crowd)[24:], together)


@pytest.mark.parametrize("draw", DRAWS)
def test_seeds_streams_and_counters_give_distinct_rows(draw):
    draws = [draw(SEEDS, (4,), stream).numpy() for stream in Stream]
    draws += [
        draw(SEEDS, (4,), Stream.LANGEVIN, c).numpy() for c in ((0, 1), (1, 0), (1, 1), (0, -1))
    ]
    rows = np.concatenate(draws)
    assert len(np.unique(rows, axis=0)) == len(rows) == (len(Stream) + 4) * len(SEEDS)


def test_counters_may_be_numbers_or_tensors_and_count_modulo_two_to_the_32():
    expected = random.random_words(SEEDS, 4, Stream.FLIP, (2**32 - 1, 7))
    for counters in (
        (-1, 7 + 2**32),
        (tf.constant(-1), tf.constant(7, tf.int64)),
        (tf.constant(2**32 - 1, tf.int64), tf.fill([len(SEEDS)], 7)),
    ):
        words = random.random_words(SEEDS, 4, Stream.FLIP, counters)
        np.testing.assert_array_equal(words, expected)


def test_uniform_law():
    values = random.uniform(tf.range(512, dtype=tf.int64), (2048,), Stream.INITIAL_STATE).numpy()
    assert values.dtype == np.float32
    assert values.min() >= 0.0
    assert values.max() < 1.0
    np.testing.assert_array_equal(values * 2.0**24 % 1.0, 0.0)
    counts = np.histogram(values, 64, (0.0, 1.0))[0]
    expected = values.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 110  # chi^2 of 63 degrees: p = 2e-4


def test_normal_law():
    values = random.normal(tf.range(512, dtype=tf.int64), (2048,), Stream.LANGEVIN).numpy()
    assert values.dtype == np.float32
    size = values.size
    wide = values.astype(np.float64)
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((wide**power).mean() - moment) < 4 * np.sqrt(variance / size)
    for bound, share in [(1.0, 0.3173105), (3.0, 2.699796e-3), (4.0, 6.334248e-5)]:
        beyond = (np.abs(wide) > bound).mean()
        assert abs(beyond - share) < 4 * np.sqrt(share / size)
    assert 4.5 < np.abs(wide).max() < 6.8


def test_the_numbers_of_a_row_are_uncorrelated_and_so_are_their_squares():
    """Pairs share a radius in the Box-Muller transform: their squares would show a wrong angle."""
    values = random.normal(tf.range(20000, dtype=tf.int64), (64,), Stream.LANGEVIN).numpy()
    for numbers in (values, np.square(values)):
        correlation = np.corrcoef(numbers, rowvar=False) - np.eye(64)
        assert np.abs(correlation).max() < 5 / np.sqrt(20000)


def test_normal_numbers_are_finite_for_the_extreme_words(monkeypatch):
    def extreme(seeds, num_blocks, stream, counters):
        words = tf.constant([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFF80, 0xFFFFFFFF], tf.uint32)
        radius, angle = tf.meshgrid(words, words)
        tile = tf.tile(tf.reshape(radius, [1, -1]), [1, 2])[:, :num_blocks]
        other = tf.tile(tf.reshape(angle, [1, -1]), [1, 2])[:, :num_blocks]
        return tile, tile, other, other

    monkeypatch.setattr(random, "_blocks", extreme)
    values = random.normal([0], (144,), Stream.LANGEVIN).numpy()
    assert np.isfinite(values).all()
    assert 6.6 < np.abs(values).max() < 6.8


@pytest.mark.parametrize("maximum", [1, 7, 10, 232])
def test_integers_are_flat_in_their_range(maximum):
    seeds = tf.range(-50_000, 50_000, dtype=tf.int64)
    values = random.integers(seeds, maximum, Stream.LEVEL, (0, 9)).numpy()
    assert values.dtype == np.int32
    assert values.shape == (100_000,)
    counts = np.bincount(values, minlength=maximum)
    assert len(counts) == maximum
    expected = 100_000 / maximum
    freedom = maximum - 1
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_squared - freedom) <= 4 * np.sqrt(2 * freedom)


def test_integers_scale_the_whole_word():
    words = random.random_words(SEEDS, 1, Stream.LEVEL).numpy()[:, 0].astype(object)
    for maximum in (10, 2**31 - 1):
        values = random.integers(SEEDS, maximum, Stream.LEVEL).numpy()
        assert values.tolist() == [int(word) * maximum >> 32 for word in words]
