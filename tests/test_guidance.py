"""Guided scores of a mixture whose classes, scores and posterior are known."""

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf import langevin
from ncsn_tf.guidance import GuidedScore
from ncsn_tf.schedule import geometric_sigmas

SIGMAS = geometric_sigmas(1.0, 0.1, 4)
MEANS = np.array([[-1.0, 0.5], [1.5, 0.0], [0.0, 2.0]], np.float32)  # of the classes
WEIGHTS = np.array([0.5, 0.2, 0.3], np.float32)
DEVIATION = 0.3


def variance(labels):
    return DEVIATION**2 + tf.square(tf.gather(SIGMAS, labels))[:, None]


def classifier(x, labels):
    """log p(y, x | i) up to a constant of y: logits of the posterior."""
    distance = tf.reduce_sum(tf.square(x[:, None] - MEANS), -1)
    return np.log(WEIGHTS) - distance / (2 * variance(labels))


def class_score(target):
    return lambda x, labels: (MEANS[target] - x) / variance(labels)


def mixture_score(x, labels):
    shares = tf.nn.softmax(classifier(x, labels))
    return (tf.matmul(shares, tf.constant(MEANS)) - x) / variance(labels)


POINTS = tf.constant(np.random.RandomState(0).normal(size=(40, 2)) * 2, tf.float32)
LABELS = tf.constant(np.arange(40) % 4, tf.int32)


@pytest.mark.parametrize("target", range(3))
def test_score_and_classifier_give_the_score_of_the_class(target):
    found = GuidedScore(mixture_score, classifier, target)(POINTS, LABELS)
    np.testing.assert_allclose(found, class_score(target)(POINTS, LABELS), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0])
def test_the_scale_weighs_the_gradient(scale):
    plain = mixture_score(POINTS, LABELS)
    gradient = class_score(1)(POINTS, LABELS) - plain
    found = GuidedScore(mixture_score, classifier, 1, scale)(POINTS, LABELS)
    np.testing.assert_allclose(found, plain + scale * gradient, rtol=1e-3, atol=5e-3)


def test_the_guided_chain_draws_the_class():
    def draw(score):
        run = tf.function(
            lambda seeds: langevin.annealed_langevin(
                score, seeds, (2,), SIGMAS, 2e-3, 30, clip=False
            ),
            autograph=False,
        )
        return run(tf.range(4000, dtype=tf.int64)).numpy()

    x = draw(GuidedScore(mixture_score, classifier, 1))
    np.testing.assert_allclose(x, draw(class_score(1)), atol=1e-2)
    np.testing.assert_allclose(x.mean(0), MEANS[1], atol=0.05)
    assert np.abs(draw(mixture_score).mean(0) - MEANS[1]).max() > 0.5
