"""Conditional chains against exact recursions; what is known of an image stays as it is."""

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf import sampling
from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream
from ncsn_tf.sampling.chain import Rows
from ncsn_tf.sampling.conditional import (
    ConditionalLangevin,
    InterpolatingLangevin,
    Known,
    Measurement,
    Mixture,
)
from ncsn_tf.sampling.langevin import AnnealedLangevin
from ncsn_tf.schedule import geometric_sigmas

SHAPE = (2, 2, 3)
SIZE = 12
PLACES = np.array([[1, 0], [0, 1]], np.float32)[..., None]
ALL = np.ones_like(PLACES)
CASES = {
    "inpaint": (Measurement(), PLACES),
    "colorize": (Measurement(grey=True), ALL),
    "super_resolve": (Measurement(factor=2), ALL),
    "one grey block": (Measurement(factor=2, grey=True), ALL),
    "colorize some": (Measurement(grey=True), PLACES),
}


def projection(name):
    """P as a matrix [SIZE, SIZE], written down without the code."""
    kind, places = CASES[name]
    index = np.arange(SIZE).reshape(SHAPE)
    pixel, channel = index // 3, index % 3
    block = np.zeros_like(index) if kind.factor == 2 else pixel
    block = (block * 3 + (0 if kind.grey else channel)).ravel()
    same = block[:, None] == block[None, :]
    known = np.broadcast_to(places, SHAPE).ravel()
    return same / same.sum(1, keepdims=True) * known[:, None]


# --- the law: a Gaussian of correlated numbers, whose perturbed score is known ---

GENERATOR = np.random.RandomState(5)
MEAN = GENERATOR.uniform(0.2, 0.8, SIZE)
_ROOT = GENERATOR.normal(size=(SIZE, 3))
COVARIANCE = 0.1 * _ROOT @ _ROOT.T + 0.05 * np.eye(SIZE)
IMAGE = GENERATOR.uniform(0, 1, SHAPE).astype(np.float32)


class GaussianScore:
    """Of N(MEAN, COVARIANCE) perturbed at each image's level."""

    def __init__(self, sigmas):
        perturbed = [COVARIANCE + float(sigma) ** 2 * np.eye(SIZE) for sigma in sigmas]
        self.precisions = tf.constant(np.linalg.inv(perturbed), tf.float32)

    def __call__(self, x, levels):
        centred = tf.reshape(x, [-1, SIZE]) - tf.constant(MEAN, tf.float32)
        precisions = tf.gather(self.precisions, levels)
        return tf.reshape(-tf.linalg.matvec(precisions, centred), tf.shape(x))


def known(image, places, count):
    """The same image and places for each of `count` rows."""
    return Known(*(tf.tile(value[None], [count, 1, 1, 1]) for value in (image, places)))


def before_clipping(chain, rows):
    """The last state with the known part set, as the recursion has it; `finish` also clips."""
    score = GaussianScore(chain.sigmas)

    def run(rows):
        stop = chain.num_steps(tf.reduce_max(rows.num_steps_each))
        x = chain.advance(score, chain.start(rows.seeds, SHAPE), rows, 0, stop)
        return chain.measurement.replace(x, rows.condition)

    return tf.function(run, autograph=False)(rows).numpy()


def draw(chain, rows, **options):
    score = GaussianScore(chain.sigmas)
    run = tf.function(
        lambda rows: sampling.draw(chain, score, rows, SHAPE, **options), autograph=False
    )
    return run(rows).numpy()


def exact_law(sigmas, step_lr, steps, p, redraw):
    """Mean and covariance of the chain's result, by the linear recursion of (x, z_y)."""
    eye, zero = np.eye(SIZE), np.zeros((SIZE, SIZE))
    y = IMAGE.ravel().astype(np.float64)
    mean = np.concatenate([np.full(SIZE, 0.5), np.zeros(SIZE)])
    covariance = np.block([[eye / 12, zero], [zero, eye]])

    def apply(matrix, shift, noise):
        nonlocal mean, covariance
        mean = matrix @ mean
        mean[:SIZE] += shift
        covariance = matrix @ covariance @ matrix.T
        covariance[:SIZE, :SIZE] += noise * eye

    for sigma in np.asarray(sigmas, np.float64):
        size = step_lr * (sigma / float(sigmas[-1])) ** 2
        precision = np.linalg.inv(COVARIANCE + sigma**2 * eye)
        for step in range(steps):
            if redraw or step == 0:
                covariance[SIZE:] = covariance[:, SIZE:] = 0
                covariance[SIZE:, SIZE:] = eye
            apply(np.block([[eye - p, sigma * p], [zero, eye]]), p @ y, 0.0)
            apply(
                np.block([[eye - size * precision, zero], [zero, eye]]),
                size * precision @ MEAN,
                2 * size,
            )
            if not redraw:
                apply(np.block([[eye - p, sigma * p], [zero, eye]]), p @ y, 0.0)
    apply(np.block([[eye - p, zero], [zero, eye]]), p @ y, 0.0)
    return mean[:SIZE], covariance[:SIZE, :SIZE]


def conditional_law(p):
    """Mean and covariance of N(MEAN, COVARIANCE) given P x = P IMAGE."""
    gain = COVARIANCE @ p @ np.linalg.pinv(p @ COVARIANCE @ p)
    mean = MEAN + gain @ p @ (IMAGE.ravel() - MEAN)
    return mean, COVARIANCE - gain @ p @ COVARIANCE


@pytest.mark.parametrize(
    "name, redraw",
    [
        *(("inpaint", True), ("colorize", False), ("super_resolve", True)),
        pytest.param("inpaint", False, marks=pytest.mark.slow),
        pytest.param("colorize", True, marks=pytest.mark.slow),
        pytest.param("super_resolve", False, marks=pytest.mark.slow),
    ],
)
def test_mean_and_covariance_follow_the_exact_recursion(name, redraw):
    """Few levels and long steps: z_y drawn at the wrong time, or put elsewhere, would show."""
    measurement, places = CASES[name]
    sigmas, step_lr, steps, count = geometric_sigmas(1.0, 0.5, 2), 0.2, 6, 69_000
    chain = ConditionalLangevin(sigmas, measurement, redraw)
    rows = Rows.fill(tf.range(count, dtype=tf.int64), step_lr, steps, known(IMAGE, places, count))
    x = before_clipping(chain, rows).reshape(count, SIZE).astype(np.float64)
    law = [
        exact_law(sigmas, step_lr, steps, projection(name), rule) for rule in (redraw, not redraw)
    ]
    mean, covariance = law[0]
    found = np.cov(x.T)
    deviation = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(x.mean(0) - mean) <= 4.5 * deviation / np.sqrt(count) + 1e-5)
    spread = np.outer(deviation, deviation) ** 2 + covariance**2
    assert np.all(np.abs(found - covariance) <= 4.5 * np.sqrt(spread / count) + 1e-6)
    # The two rules differ by more than is allowed.
    assert np.max(np.abs(law[1][1] - covariance) / np.sqrt(spread / count + 1e-12)) > 8


@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_many_levels_draw_nearly_the_conditional_law(name, redraw):
    """The recursion that the chain follows, at a finer schedule than one can draw here."""
    p = projection(name)
    mean, covariance = conditional_law(p)
    found_mean, found = exact_law(geometric_sigmas(3.0, 0.01, 100), 2e-5, 100, p, redraw)
    scale = np.sqrt(np.trace(covariance))
    assert np.linalg.norm(found_mean - mean) < 0.05 * scale
    assert np.linalg.norm(found - covariance) < 0.05 * np.linalg.norm(covariance)
    # The law without the condition is not near.
    assert np.linalg.norm(COVARIANCE - covariance) > 0.3 * np.linalg.norm(covariance)


@pytest.mark.parametrize("redraw", [False, True])
def test_the_noise_of_the_known_part(redraw):
    """One draw a level that also comes after the update, or one before each update."""
    rows = Rows.fill([3, 9], 0.05, 4, known(IMAGE, PLACES, 2))
    chain = ConditionalLangevin(geometric_sigmas(2.0, 0.5, 2), Measurement(), redraw)
    seen = []

    def score(x, levels):
        seen.append(x.numpy())
        return -x

    x = chain.start(rows.seeds, SHAPE)
    for index in range(8):
        x = chain.step(score, x, rows, tf.constant(index))
        level, step = divmod(index, 4)
        counters = (level, step if redraw else 0)
        noise = random.normal(rows.seeds, SHAPE, Stream.MEASUREMENT, counters)
        expected = np.where(PLACES, IMAGE + (2.0, 0.5)[level] * noise, 0)
        np.testing.assert_allclose(seen[-1] * PLACES, expected, atol=1e-5)
        if redraw:
            assert np.abs(x * PLACES - expected).max() > 0.1
        else:
            np.testing.assert_allclose(x * PLACES, expected, atol=1e-5)


# --- what is known ---


@pytest.mark.parametrize("name", CASES)
def test_the_measurement_is_an_orthogonal_projection(name):
    measurement, places = CASES[name]
    basis = np.eye(SIZE, dtype=np.float32).reshape(SIZE, *SHAPE)
    # Of zero images with y = e_k the known part is P e_k.
    p = measurement.replace(
        tf.zeros_like(basis), known(basis[0], places, SIZE)._replace(values=basis)
    )
    p = p.numpy().reshape(SIZE, SIZE)
    np.testing.assert_allclose(p, projection(name), atol=1e-6)
    np.testing.assert_allclose(p @ p, p, atol=1e-6)
    np.testing.assert_allclose(p, p.T, atol=1e-6)


SIGMAS = geometric_sigmas(1.0, 0.01, 4)


def five_rows():
    """Rows that differ in everything, also in what is known."""
    generator = np.random.RandomState(3)
    values = generator.randint(0, 256, (5, *SHAPE)).astype(np.float32) / np.float32(255)
    places = generator.randint(0, 2, (5, 2, 2, 1)).astype(np.float32)
    seeds = tf.constant([3, -5, 2**40, 8, 3], tf.int64)
    return Rows.fill(seeds, [1e-4, 1e-4, 5e-5, 1e-4, 1e-4], [3, 2, 1, 3, 3], Known(values, places))


@pytest.mark.parametrize("denoise", [False, True])
@pytest.mark.parametrize("redraw", [False, True])
def test_known_pixels_are_the_inputs_exactly(redraw, denoise):
    rows = five_rows()
    x = draw(ConditionalLangevin(SIGMAS, Measurement(), redraw, denoise), rows, clip=False)
    places = np.broadcast_to(rows.condition.places > 0, x.shape)
    np.testing.assert_array_equal(x[places], rows.condition.values[places])
    assert np.all(x[~places] != rows.condition.values[~places])
    pixels = np.round(rows.condition.values * 255)
    np.testing.assert_array_equal(sampling.to_uint8(x).numpy()[places], pixels[places])


@pytest.mark.parametrize("denoise", [False, True])
@pytest.mark.parametrize("name", ["colorize", "super_resolve", "one grey block", "colorize some"])
def test_means_are_the_inputs(name, denoise):
    """Also those of white and of black, and also in blocks that the chain leaves [0, 1] with."""
    measurement, places = CASES[name]
    rows = five_rows()
    values = rows.condition.values
    values[0], values[1] = 0.0, 1.0
    rows = rows._replace(condition=Known(values, np.stack([places] * 5)))
    chain = ConditionalLangevin(SIGMAS, measurement, denoise=denoise)
    state = before_clipping(chain, rows)
    known = np.broadcast_to(places > 0, state.shape)
    assert np.mean((state < 0) | (state > 1), where=known) > 0.2
    x = draw(chain, rows, clip=False)
    assert x[known].min() >= 0 and x[known].max() <= 1
    p = projection(name)
    wanted = values.reshape(5, SIZE) @ p.T
    np.testing.assert_allclose(x.reshape(5, SIZE) @ p.T, wanted, atol=1e-6)
    pixels = sampling.to_uint8(x).numpy().reshape(5, SIZE)
    assert np.all(np.abs(pixels @ p.T - 255 * wanted) <= 0.5 + 1e-3)
    assert np.abs(x.reshape(5, SIZE) - wanted)[2:].max() > 0.1


@pytest.mark.parametrize("name", ["colorize", "super_resolve", "one grey block"])
@pytest.mark.parametrize("spread", [0.1, 3.0, 1000.0])
def test_restored_blocks_are_the_nearest(name, spread):
    """The conditions of Karush, Kuhn and Tucker for the least squared distance."""
    measurement, places = CASES[name]
    generator = np.random.RandomState(4)
    x = generator.normal(0.5, spread, (50, *SHAPE)).astype(np.float32)
    y = generator.uniform(0, 1, (50, *SHAPE)).astype(np.float32)
    found = measurement.restore(x, Known(y, np.stack([places] * 50))).numpy().reshape(50, SIZE)
    p = projection(name)
    eps = 1e-6 * max(spread, 1)
    np.testing.assert_allclose(found @ p.T, y.reshape(50, SIZE) @ p.T, atol=eps)
    assert found.min() >= 0 and found.max() <= 1
    shift = found - x.reshape(50, SIZE)
    for index in range(SIZE):
        block = p[index] > 0
        # One shift for all: more only where it would be below 0 still, less only where above 1.
        least = np.where(found[:, block] > 0, shift[:, block], -np.inf).max(1)
        most = np.where(found[:, block] < 1, shift[:, block], np.inf).min(1)
        assert np.all(least <= most + 4 * eps)


def test_nothing_known_is_no_condition():
    rows = five_rows()
    free = rows._replace(condition=Known(rows.condition.values, tf.zeros([5, 2, 2, 1])))
    expected = draw(AnnealedLangevin(SIGMAS), rows, clip=False)
    found = draw(ConditionalLangevin(SIGMAS, Measurement()), free, clip=False)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "measurement", [Measurement(), Measurement(grey=True), Measurement(factor=2)]
)
def test_an_image_is_the_same_alone_and_merged(measurement):
    chain, rows = ConditionalLangevin(SIGMAS, measurement, redraw=True), five_rows()
    merged = draw(chain, rows, tile=2)
    assert not np.array_equal(merged[0], merged[4])  # one seed, but other pixels are known
    for row in (1, 2):
        alone = draw(chain, tf.nest.map_structure(lambda v, r=row: v[r : r + 1], rows), tile=2)
        np.testing.assert_array_equal(alone[0], merged[row])


def test_pieces_are_the_whole():
    chain, rows = ConditionalLangevin(SIGMAS, Measurement(), redraw=True), five_rows()
    score = GaussianScore(SIGMAS)
    state = chain.start(rows.seeds, SHAPE)
    for start, stop in [(0, 1), (1, 5), (5, 12)]:
        state = chain.advance(score, state, rows, start, stop)
    pieces = chain.finish(score, state, rows)
    np.testing.assert_allclose(pieces, draw(chain, rows, clip=False), rtol=1e-5)


def test_blocks_must_fit():
    with pytest.raises(ValueError, match="factor 4 must divide 2 x 2 pixels"):
        Measurement(factor=4).mean(tf.zeros([1, 2, 2, 3]))
    with pytest.raises(ValueError, match="factor must be at least 1, not 0"):
        Measurement(factor=0)


# --- interpolation ---


def mixture(angles, seed=11):
    angles = np.asarray(angles)
    shares = [np.round(fn(angles), 12).astype(np.float32) for fn in (np.cos, np.sin)]
    return Mixture(tf.fill([len(angles)], tf.constant(seed, tf.int64)), *map(tf.constant, shares))


def test_the_noise_of_two_seeds_is_mixed():
    """With a score of 0 the chain is the sum of its noise: a closed form from the two ends."""

    def drawn(chain, seeds, condition=()):
        rows = Rows.fill(seeds, 1e-3, 2, condition)
        zero = lambda x, levels: tf.zeros_like(x)  # noqa: E731
        return sampling.draw(chain, zero, rows, SHAPE, clip=False).numpy()

    plain, mixing = AnnealedLangevin(SIGMAS), InterpolatingLangevin(SIGMAS)
    angles = np.linspace(0, np.pi / 2, 5)
    (own,), (other,) = (drawn(plain, [seed]) for seed in (4, 11))
    start, other_start = (plain.start([seed], SHAPE)[0] for seed in (4, 11))
    found = drawn(mixing, [4] * 5, mixture(angles))
    np.testing.assert_array_equal(found[0], own)
    for angle, image in zip(angles, found, strict=True):
        noise = np.cos(angle) * (own - start) + np.sin(angle) * (other - other_start)
        np.testing.assert_allclose(image, start + noise, atol=1e-4)


def test_the_first_image_of_an_interpolation_is_that_of_its_seed():
    rows = Rows.fill([4] * 3, 1e-4, 3, mixture([0.0, 0.7, np.pi / 2]))
    found = draw(InterpolatingLangevin(SIGMAS), rows)
    plain = draw(AnnealedLangevin(SIGMAS), rows._replace(condition=()))
    np.testing.assert_array_equal(found[0], plain[0])
    assert len(np.unique(found.reshape(3, -1), axis=0)) == 3
