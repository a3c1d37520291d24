"""The sampler of a run: an image is a function of its seed, whoever is drawn with it."""

import os
import signal
from contextlib import nullcontext
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.backend import signals
from ncsn_tf.backend.devices import mirrored_strategy
from ncsn_tf.sampling.conditional import ConditionalLangevin, Known, Measurement
from ncsn_tf.sampling.langevin import AnnealedLangevin, annealed_langevin
from ncsn_tf.sampling.probability_flow import ProbabilityFlow
from ncsn_tf.sampling.sampler import NUM_PIECES, Sampler
from ncsn_tf.schedule import geometric_sigmas

SHAPE = (8, 8, 1)
SIGMAS = geometric_sigmas(1.0, 0.01, 3)
SETTINGS = {"step_lr": 1e-4, "num_steps_each": 5, "tile": 2}
SEEDS = [3, -1, 2**40, 7, 0]


class Network(keras.Model):
    """A convolution, scaled by the level."""

    def __init__(self):
        super().__init__()
        self.convolution = keras.layers.Conv2D(1, 3, padding="same", activation="tanh")
        self(tf.zeros([1, *SHAPE]), tf.zeros([1], tf.int32))

    def call(self, x, levels):
        scale = tf.gather([1.0, 10.0, 100.0], levels)
        return scale[:, None, None, None] * self.convolution(0.5 - x)


def make_sampler(num_replicas, chain=None):
    strategy = mirrored_strategy([f"CPU:{i}" for i in range(num_replicas)])
    keras.utils.set_random_seed(1)
    with strategy.scope():
        return Sampler(Network(), chain or AnnealedLangevin(SIGMAS, True), SHAPE, **SETTINGS)


@pytest.fixture(scope="module")
def one():
    return make_sampler(1)


@pytest.fixture(scope="module")
def images(one):
    return one.draw(SEEDS)


def test_images_are_those_of_the_chain(one, images):
    assert images.shape == (5, 8, 8, 1)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert len(np.unique(images[:, 3, 3, 0])) > 1
    draw = tf.function(
        lambda seeds: annealed_langevin(one.network, seeds, SHAPE, SIGMAS, 1e-4, 5, denoise=True),
        autograph=False,
    )
    expected = draw(tf.constant(SEEDS, tf.int64))
    np.testing.assert_allclose(images, expected, atol=1e-4)


@pytest.mark.parametrize("chosen", [[2], [4, 1, 2, 3, 0, 4, 2]])
def test_an_image_depends_on_its_seed_alone(one, images, chosen):
    drawn = one.draw([SEEDS[index] for index in chosen])
    np.testing.assert_array_equal(drawn, images[chosen])


def test_two_replicas_draw_the_same_images(images):
    two = make_sampler(2)
    for count in (5, 1):
        np.testing.assert_array_equal(two.draw(SEEDS[:count]), images[:count])


def test_a_condition_goes_with_its_image(images):
    """Over two replicas, of five images, in pieces: the known pixels are those of each seed."""
    two = make_sampler(2, ConditionalLangevin(SIGMAS, Measurement()))
    values = np.linspace(0, 1, 5 * 64, dtype=np.float32).reshape(5, 8, 8, 1)
    places = np.zeros_like(values)
    places[:, :, :3] = 1
    drawn = two.draw(SEEDS, condition=Known(values, places))
    np.testing.assert_array_equal(drawn[:, :, :3], values[:, :, :3])
    assert np.std(drawn[:, :, 3:], axis=0).mean() > 0.1  # the rest is each image's own
    np.testing.assert_array_equal(
        two.draw(SEEDS[3:4], condition=Known(values[3:4], places[3:4])), drawn[3:4]
    )
    free = two.draw(SEEDS, condition=Known(values, np.zeros_like(places)))
    assert not np.array_equal(free, drawn)


def test_each_piece_can_be_watched(one, images):
    states = []
    drawn = one.draw(SEEDS, lambda state: states.append(state()))
    np.testing.assert_array_equal(drawn, images)
    assert len(states) == len(one.pieces) == 15
    assert {state.shape for state in states} == {(5, 8, 8, 1)}
    assert states[0].min() < 0  # the chain is not clipped
    assert all(np.any(state != states[0]) for state in states[1:])


@pytest.mark.parametrize(
    "num_levels, num_steps_each", [(2, 1), (3, 33), (10, 10), (10, 100), (7, 31)]
)
def test_pieces_cover_every_step_once(one, num_levels, num_steps_each):
    chain = AnnealedLangevin(geometric_sigmas(1.0, 0.01, num_levels))
    settings = SETTINGS | {"num_steps_each": num_steps_each}
    pieces = Sampler(one.network, chain, SHAPE, **settings).pieces
    steps = [step for start, stop in pieces for step in range(start, stop)]
    assert steps == list(range(num_levels * num_steps_each))
    assert len(pieces) <= 2 * NUM_PIECES


@pytest.mark.parametrize("flow", [False, True])
def test_calls_of_any_length_draw_the_same_images(one, images, flow, monkeypatch):
    """How long a call may be depends on the time that the calls before it took."""
    sampler = Sampler(pulled, ProbabilityFlow(SIGMAS), SHAPE, **SETTINGS) if flow else one
    expected = sampler.draw(SEEDS) if flow else images
    monkeypatch.setattr(sampler, "pieces", [(0, sampler.pieces[-1][1])])
    for most in (1, 2, 4, 100):
        monkeypatch.setattr(sampler, "_pace", SimpleNamespace(most=most, call=nullcontext))
        np.testing.assert_array_equal(sampler.draw(SEEDS), expected)


def test_a_signal_ends_the_chain(one, monkeypatch):
    calls = []

    def advance(state, *args):
        calls.append(args)
        os.kill(os.getpid(), signal.SIGINT)
        return state

    monkeypatch.setattr(one, "_advance", advance)
    with signals.deferred(lambda name: None), pytest.raises(signals.Interrupted):
        one.draw(SEEDS)
    assert len(calls) == 1


def pulled(x, levels):
    """The score of N(0, 0.1^2), more or less."""
    sigma = tf.gather(SIGMAS, levels)[:, None, None, None]
    return -x / (0.01 + sigma**2) - 0.1 * x**3


def test_each_image_has_its_own_number_of_evaluations(one):
    ode = Sampler(pulled, ProbabilityFlow(SIGMAS, denoise=True, jumps=True), SHAPE, **SETTINGS)
    assert ode.num_evaluations is None and ode.evaluations is None
    ode.draw(SEEDS)
    together = ode.evaluations
    assert together.shape == (5,) and len(np.unique(together)) > 1
    # One at the start, one after each of two jumps between levels, and one to denoise.
    assert np.all(together % 6 == 4)
    ode.draw(SEEDS[3:4])
    np.testing.assert_array_equal(ode.evaluations, together[3:4])
    one.draw(SEEDS[:1])
    assert one.evaluations is None and one.num_evaluations == 3 * 5 + 1
