"""Guided scores of a mixture whose classes, scores and posterior are known."""

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.sampling.chain import Rows, draw
from ncsn_tf.sampling.conditional import InterpolatingLangevin, Mixture
from ncsn_tf.sampling.guidance import GuidedChain, GuidedScore, OfClass
from ncsn_tf.sampling.heun import Heun
from ncsn_tf.sampling.langevin import AnnealedLangevin
from ncsn_tf.sampling.multistep import DPMSolverSDE
from ncsn_tf.sampling.predictor_corrector import PredictorCorrector
from ncsn_tf.sampling.probability_flow import ProbabilityFlow
from ncsn_tf.schedule import geometric_sigmas

SIGMAS = geometric_sigmas(1.0, 0.1, 4)
MEANS = np.array([[-1.0, 0.5], [1.5, 0.0], [0.0, 2.0]], np.float32)  # of the classes
WEIGHTS = np.array([0.5, 0.2, 0.3], np.float32)
DEVIATION = 0.3


def variance(levels):
    return DEVIATION**2 + tf.square(tf.gather(SIGMAS, levels))[:, None]


def classifier(x, levels):
    """log p(y, x | i) up to a constant of y: logits of the posterior."""
    distance = tf.reduce_sum(tf.square(x[:, None] - MEANS), -1)
    return np.log(WEIGHTS) - distance / (2 * variance(levels))


def class_score(target):
    return lambda x, levels: (MEANS[target] - x) / variance(levels)


def mixture_score(x, levels):
    shares = tf.nn.softmax(classifier(x, levels))
    return (tf.matmul(shares, tf.constant(MEANS)) - x) / variance(levels)


POINTS = tf.constant(np.random.RandomState(0).normal(size=(40, 2)) * 2, tf.float32)
LEVELS = tf.constant(np.arange(40) % 4, tf.int32)


@pytest.mark.parametrize("target", range(3))
def test_score_and_classifier_give_the_score_of_the_class(target):
    found = GuidedScore(mixture_score, classifier)(POINTS, LEVELS, target)
    np.testing.assert_allclose(found, class_score(target)(POINTS, LEVELS), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0])
def test_the_scale_weighs_the_gradient(scale):
    plain = mixture_score(POINTS, LEVELS)
    gradient = class_score(1)(POINTS, LEVELS) - plain
    found = GuidedScore(mixture_score, classifier, scale)(POINTS, LEVELS, 1)
    np.testing.assert_allclose(found, plain + scale * gradient, rtol=1e-3, atol=5e-3)


def compiled(chain, score_fn):
    return tf.function(lambda rows: draw(chain, score_fn, rows, (2,), clip=False), autograph=False)


GUIDED = GuidedScore(mixture_score, classifier)


def test_each_image_is_of_its_class():
    """Each the one that the score of its class alone draws, and unlike the unguided one."""
    rows = Rows.fill(tf.range(4000, dtype=tf.int64), 2e-3, 30)
    classes = tf.range(4000) % 3
    chain = AnnealedLangevin(SIGMAS)
    x = compiled(GuidedChain(chain), GUIDED)(rows._replace(condition=OfClass(classes))).numpy()
    each = lambda x, levels: (tf.gather(MEANS, classes) - x) / variance(levels)  # noqa: E731
    np.testing.assert_allclose(x, compiled(chain, each)(rows), atol=1e-2)
    for target in range(3):
        np.testing.assert_allclose(x[target::3].mean(0), MEANS[target], atol=0.05)
    assert np.abs(compiled(chain, mixture_score)(rows).numpy().mean(0) - MEANS[1]).max() > 0.5


def test_few_steps_draw_each_class():
    """From level to level, where the classifier is that of the density."""
    rows = Rows.fill(tf.range(3000, dtype=tf.int64), 0.0, 1, OfClass(tf.range(3000) % 3))
    chain = GuidedChain(DPMSolverSDE(SIGMAS, True, 4, "ladder", jumps=True))
    x = compiled(chain, GUIDED)(rows).numpy()
    nearest = np.square(x[:, None] - MEANS).sum(-1).argmin(1)
    assert (nearest == np.arange(3000) % 3).mean() > 0.95
    plain = compiled(chain.chain, mixture_score)(rows._replace(condition=())).numpy()
    nearest = np.square(plain[:, None] - MEANS).sum(-1).argmin(1)
    assert (nearest == np.arange(3000) % 3).mean() < 0.6


@pytest.mark.parametrize(
    "chain",
    [
        AnnealedLangevin(SIGMAS, denoise=True),
        PredictorCorrector(SIGMAS, denoise=True),
        ProbabilityFlow(SIGMAS, denoise=True, rtol=1e-3, atol=1e-3),
        DPMSolverSDE(SIGMAS, denoise=True, num_evaluations=6),
        Heun(SIGMAS, denoise=True, num_evaluations=7, churn=2.0),
    ],
)
def test_a_guided_chain_is_the_chain_with_the_guided_score(chain):
    guided = GuidedChain(chain)
    assert guided.num_steps(3) == chain.num_steps(3)
    assert guided.num_evaluations(3) == chain.num_evaluations(3)
    assert guided.dtypes == chain.dtypes and guided.denoise
    np.testing.assert_array_equal(guided.sigmas, chain.sigmas)
    rows = Rows.fill([3, 4], 2e-3, 2)
    condition = OfClass(tf.constant([1, 1]))

    @tf.function(autograph=False)
    def run(chain, score_fn, rows):
        state = chain.start(rows.seeds, (2,))
        state = chain.advance(score_fn, state, rows, 0, chain.num_steps(2))
        return chain.images(state), chain.finish(score_fn, state, rows), chain.evaluations(state)

    of_class = run(chain, lambda x, levels: GUIDED(x, levels, 1), rows)
    for found, expected in zip(
        run(guided, GUIDED, rows._replace(condition=condition)), of_class, strict=True
    ):
        if expected is not None:
            np.testing.assert_array_equal(found, expected)


def test_a_chain_under_a_condition_can_be_guided():
    """An interpolation of one class: at its end it is the guided image of its seed."""
    mixture = Mixture(tf.constant([9, 9], tf.int64), *tf.constant([[1.0, 0.0], [0.0, 1.0]]))
    rows = Rows.fill([3, 3], 2e-3, 5, OfClass(tf.constant([1, 1]), mixture))
    x = compiled(GuidedChain(InterpolatingLangevin(SIGMAS)), GUIDED)(rows)
    plain = rows._replace(condition=OfClass(tf.constant([1, 1])))
    expected = compiled(GuidedChain(AnnealedLangevin(SIGMAS)), GUIDED)(plain)
    np.testing.assert_allclose(x[0], expected[0], rtol=1e-6)
    assert np.abs(x[1] - expected[1]).max() > 0.01


def test_a_step_alone_is_guided_too():
    rows = Rows.fill([3, 4], 2e-3, 2, OfClass(tf.constant([0, 2])))
    chain, x = AnnealedLangevin(SIGMAS), tf.zeros([2, 2])
    moved = GuidedChain(chain).step(GUIDED, x, rows, 0)
    score_fn = lambda x, levels: GUIDED(x, levels, tf.constant([0, 2]))  # noqa: E731
    np.testing.assert_array_equal(moved, chain.step(score_fn, x, rows, 0))
