"""Class labels and classifier-free guidance, on a mixture whose conditional scores are known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf import sde
from ncsn_tf.sampling import Rows, Sampler, SdeRoute, draw, labelled, make_chain
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.schedule.sde import LadderScore
from ncsn_tf.toy.densities import GaussianMixture

MEANS = np.array([[0.2, 0.2], [0.8, 0.3], [0.5, 0.9]], np.float32)
WEIGHTS = [0.5, 0.3, 0.2]
VARIANCE = 0.01**2
SIGMAS = geometric_sigmas(1.0, 0.01, 12).numpy()
WHOLE = GaussianMixture(WEIGHTS, MEANS, VARIANCE)
CLASSES = [GaussianMixture([1.0], [mean], VARIANCE) for mean in MEANS]


def at_sigma(x, sigma, labels=None):
    """The score of the mixture, or of the class of each x: of noise sigma [B]."""
    if labels is None:
        return WHOLE.score(x, sigma)
    scores = tf.stack([density.score(x, sigma) for density in CLASSES], 1)
    return tf.gather(scores, labels, batch_dims=1)


class Score:
    """The exact conditional score, at levels and between them; counts how often it is asked."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, levels, *labels):
        self.calls.append(bool(labels))
        return at_sigma(x, tf.gather(SIGMAS, levels), *labels)

    def at_sigma(self, x, sigma, *labels):
        return at_sigma(x, sigma, *labels)


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.0])
def test_the_score_is_that_of_the_closed_form(guidance):
    """Of Gaussians: (1 - w) times the mixture's score and w times the class's."""
    x = np.random.default_rng(0).random([6, 2], np.float32)
    labels, levels = np.arange(6) % 3, np.arange(6, dtype=np.int32) * 2
    sigma = SIGMAS[levels]
    weighted = -np.square(x[:, None] - MEANS).sum(-1) / (2 * (VARIANCE + sigma**2))[:, None]
    share = np.exp(weighted - weighted.max(1, keepdims=True)) * WEIGHTS
    share /= share.sum(1, keepdims=True)
    pulls = (MEANS - x[:, None]) / (VARIANCE + sigma**2)[:, None, None]
    whole, own = (share[..., None] * pulls).sum(1), pulls[np.arange(6), labels]
    expected = (1 - guidance) * whole + guidance * own
    score = labelled(Score(), tf.constant(labels), tf.fill([6], guidance))
    np.testing.assert_allclose(score(tf.constant(x), levels), expected, rtol=1e-3, atol=1e-2)
    between = score.at_sigma(tf.constant(x), tf.constant(sigma))
    np.testing.assert_allclose(between, expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    "guidance, calls",
    [([1.0, 1.0], [True]), ([0.0, 0.0], [False]), ([1.0, 1.5], [True, False])],
)
def test_evaluations_that_nobody_asks_for_are_left_out(guidance, calls):
    score = Score()
    guided = labelled(score, tf.constant([1, 1]), tf.constant(guidance))
    guided(tf.zeros([2, 2]), tf.constant([0, 1]))
    assert score.calls == calls


def test_images_that_are_not_drawn_ask_for_nothing():
    """Padding of a tile has guidance 0, and no steps."""
    score = Score()
    guidance, drawn = tf.constant([1.0, 0.0]), tf.constant([True, False])
    bound = labelled(score, tf.constant([1, 0]), guidance, drawn)
    bound(tf.zeros([2, 2]), tf.constant([0, 1]))
    assert score.calls == [True]


SAMPLERS = {
    "ald": {"num_steps_each": 20, "step_lr": 2e-5},
    "cas": {"num_steps_each": 3},
    "pc": {"snr": 0.2, "num_steps_each": 2},
    "ode": {"rtol": 1e-3, "atol": 1e-3},
    "euler": {},
    "heun": {},
    "dpm": {},
    "dpm_sde": {},
    "ancestral": {},
}


@pytest.mark.parametrize(
    "sampler",
    [
        name if name == "dpm_sde" else pytest.param(name, marks=pytest.mark.slow)
        for name in SAMPLERS
    ],
)
def test_every_sampler_lands_in_the_mode_of_each_image(sampler):
    settings = dict(SAMPLERS[sampler])
    steps, step_lr = settings.pop("num_steps_each", 1), settings.pop("step_lr", None)
    chain = make_chain(sampler, SIGMAS, denoise=True, num_steps_each=steps, **settings)
    labels = np.arange(30) % 3
    step_lr = step_lr or (1.5e-5 if sampler == "cas" else 0.0)
    rows = Rows.fill(range(30), step_lr, steps, (), labels.tolist(), [1.0, 1.0, 1.5] * 10)
    drawn = tf.function(lambda rows: draw(chain, Score(), rows, (2,), clip=False), autograph=False)
    nearest = np.argmin(np.square(drawn(rows).numpy()[:, None] - MEANS).sum(-1), axis=1)
    np.testing.assert_array_equal(nearest, labels)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["pc", "ode", "dpm_sde"])
def test_along_an_equation(sampler):
    equation = sde.VP(num_scales=120)

    def score_fn(x, t, *labels):  # of x(t) = m image + std z
        mean = equation.mean_scale(t)
        mean = tf.ones_like(equation.std(t)) if mean is None else mean
        return at_sigma(x / mean[:, None], equation.std(t) / mean, *labels) / mean[:, None]

    labels = np.arange(12) % 3
    if sampler == "dpm_sde":
        chain = make_chain(sampler, SIGMAS, denoise=True, num_evaluations=20)
        score_fn = LadderScore(score_fn, equation, SIGMAS)
    else:
        settings = {"snr": 0.1} if sampler == "pc" else {"rtol": 1e-3, "atol": 1e-3}
        chain = make_chain(sampler, SdeRoute(equation), denoise=True, **settings)
    one = Sampler(score_fn, chain, (2,), step_lr=0.0, num_steps_each=1, tile=12)
    drawn = one.draw(range(12), labels=labels, guidance=1.0 if sampler == "pc" else 1.5)
    nearest = np.argmin(np.square(drawn[:, None] - MEANS).sum(-1), axis=1)
    np.testing.assert_array_equal(nearest, labels)


class Network:
    """A convolution of 8 x 8 images, with a picture for each of three classes and for none."""

    num_classes = 3

    def __init__(self):
        start = keras.initializers.RandomNormal(stddev=0.1, seed=0)
        self.convolution = keras.layers.Conv2D(
            8, 3, padding="same", activation="tanh", kernel_initializer=start
        )
        self.convolution.build((None, 8, 8, 1))
        self.trainable_variables = self.weights = self.convolution.trainable_variables
        self.pictures = np.random.default_rng(0).random([4, 8, 8, 1], np.float32)

    def __call__(self, x, levels, labels=None):
        labels = tf.fill(tf.shape(levels), 3) if labels is None else labels
        sigma = tf.gather(SIGMAS, levels)[:, None, None, None]
        target = tf.gather(self.pictures, labels)
        wave = tf.reduce_mean(self.convolution(target - x), -1, keepdims=True)
        return (target - x + 0.1 * wave) / sigma**2


@pytest.fixture(scope="module")
def network():
    return Network()


def test_an_image_is_the_same_alone_and_among_others(network):
    chain = make_chain("dpm_sde", SIGMAS[:3], denoise=True, num_evaluations=3)
    one = Sampler(network, chain, (8, 8, 1), step_lr=0.0, num_steps_each=1, tile=2)
    seeds, labels = np.arange(5), np.array([0, 2, 1, 3, 2])
    guidance = np.array([1.0, 2.0, 0.0, 1.5, 1.0], np.float32)
    together = one.draw(seeds, labels=labels, guidance=guidance)
    for index in (1, 2):
        place = slice(index, index + 1)
        alone = one.draw(seeds[place], labels=labels[place], guidance=guidance[place])
        np.testing.assert_array_equal(alone, together[place])
    free = one.draw(seeds)  # as are guidance 0 and the number of no class, but for rounding
    np.testing.assert_allclose(free[2:4], together[2:4], atol=1e-5)
    np.testing.assert_array_equal(one.draw([1], labels=[1]), one.draw([1], labels=1, guidance=1))
    assert not np.array_equal(one.draw([1], labels=[0]), one.draw([1], labels=[1]))
