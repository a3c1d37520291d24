"""Denoising score matching against closed forms and the reference."""

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.losses import denoising_score_matching

SIGMAS = tf.constant([1.0, 0.3, 0.05])
LABELS = tf.constant([2, 0, 1, 2, 0])
LEVEL = SIGMAS.numpy()[LABELS.numpy()]


def examples(*shape):
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(5, *shape)).astype(np.float32)
    return images, rng.normal(size=images.shape).astype(np.float32)


@pytest.mark.parametrize("name", ["ncsn_cifar10_ngf8", "ncsn_mnist_ngf8"])
def test_loss_is_that_of_the_reference(golden, golden_network, name):
    vectors = golden(name)
    loss = denoising_score_matching(
        golden_network(name),
        *(vectors[key] for key in ("images", "labels", "noise", "sigmas")),
    )
    assert loss.shape == (4,)
    np.testing.assert_allclose(loss, vectors["dsm_per_example"], rtol=1e-5)


def test_the_answer_that_knows_the_noise_costs_nothing():
    images, noise = examples(4, 6, 3)

    def perfect(x, labels):
        return -noise / tf.reshape(tf.gather(SIGMAS, labels), [-1, 1, 1, 1])

    loss = denoising_score_matching(perfect, images, LABELS, noise, SIGMAS)
    np.testing.assert_array_equal(loss, np.zeros(5, np.float32))


def test_the_score_function_sees_the_perturbed_images():
    images, noise = examples(4, 6, 3)
    seen = []

    def score_fn(x, labels):
        seen.append((x, labels))
        return tf.zeros_like(x)

    denoising_score_matching(score_fn, images, LABELS, noise, SIGMAS)
    ((x, labels),) = seen
    np.testing.assert_allclose(x, images + LEVEL[:, None, None, None] * noise, rtol=1e-6)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("anneal_power", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(2,), (4, 6, 3)], ids=["vectors", "images"])
def test_zero_score(anneal_power, shape):
    images, noise = examples(*shape)
    loss = denoising_score_matching(
        lambda x, _: tf.zeros_like(x), images, LABELS, noise, SIGMAS, anneal_power
    )
    square = np.square(noise.astype(np.float64)).reshape(5, -1).sum(1)
    np.testing.assert_allclose(loss, 0.5 * square * LEVEL ** (anneal_power - 2.0), rtol=1e-5)


def test_zero_score_costs_half_the_dimension_on_average():
    noise = np.random.default_rng(1).normal(size=(5, 20_000)).astype(np.float32)
    loss = denoising_score_matching(
        lambda x, _: tf.zeros_like(x), tf.zeros_like(noise), LABELS, noise, SIGMAS
    )
    np.testing.assert_allclose(loss, 10_000, atol=4 * np.sqrt(20_000 / 2))


@pytest.mark.parametrize("anneal_power", [0.0, 2.0])
def test_loss_is_the_formula(anneal_power):
    images, noise = examples(4, 6, 3)

    def score_fn(x, labels):
        return tf.sin(x) * tf.cast(1 + labels, tf.float32)[:, None, None, None]

    loss = denoising_score_matching(score_fn, images, LABELS, noise, SIGMAS, anneal_power)
    for b in range(5):
        sigma = float(LEVEL[b])
        score = np.sin(images[b] + sigma * noise[b].astype(np.float64)) * (1 + int(LABELS[b]))
        expected = 0.5 * np.sum((score + noise[b] / sigma) ** 2) * sigma**anneal_power
        np.testing.assert_allclose(loss[b], expected, rtol=1e-5)
