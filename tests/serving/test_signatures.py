"""The signatures of an export on a network small enough to call often."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from small_network import Network

from ncsn_tf import sampling
from ncsn_tf.backend.compat import raw_variables
from ncsn_tf.sampling import ConsistentAnnealing, Rows, consistent_step_range
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.serving import contract
from ncsn_tf.serving.signatures import sampler_module
from ncsn_tf.settings.config import Config

CONFIG = Config(
    dataset="digits",
    image_size=8,
    channels=1,
    num_levels=3,
    step_lr=1e-4,
    num_steps_each=3,
    denoise=True,
    sampling_tile=2,
)
MAX_STEPS_EACH = 7
SEEDS = 2**40 + np.arange(5)
SAMPLE = {  # more steps than the default, fewer, and rows that are impossible
    "seed": SEEDS,
    "steps_per_level": np.array([0, 3, 1, -7, 2**31 - 1], np.int32),
    "step_lr": np.array([0.0, 1e-4, 5e-5, np.nan, -np.inf], np.float32),
}
SCORE = {
    "x": np.linspace(-1, 2, 5 * 64, dtype=np.float32).reshape(5, 8, 8, 1),
    "label": np.array([0, 1, 2, -1, 1000], np.int32),
}


@pytest.fixture(scope="module")
def network():
    return Network()


@pytest.fixture(scope="module")
def call(network):
    """(signature, **arrays) -> {output: array}."""
    module = sampler_module(network, CONFIG, MAX_STEPS_EACH)

    def call(name, **inputs):
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        return {key: value.numpy() for key, value in getattr(module, name)(**tensors).items()}

    return call


def rows(inputs, index):
    return {name: value[index] for name, value in inputs.items()}


def test_sampling_signatures_agree_with_the_sampler(call, network):
    sigmas = geometric_sigmas(CONFIG.sigma_begin, CONFIG.sigma_end, CONFIG.num_levels)
    settings = (CONFIG.image_shape, sigmas, CONFIG.step_lr, CONFIG.num_steps_each)
    draw = tf.function(
        lambda seeds: sampling.annealed_langevin(network, seeds, *settings, denoise=True, tile=2)
    )
    samples = draw(tf.constant(SEEDS)).numpy()
    assert samples.std() > 0.1
    default = np.zeros(5, np.int32)
    answer = call("sample", seed=SEEDS, steps_per_level=default, step_lr=default.astype("f4"))
    np.testing.assert_array_equal(answer["samples"], samples)
    np.testing.assert_array_equal(answer["image"], np.round(samples * 255))
    np.testing.assert_array_equal(call("sample_uint8", seed=SEEDS)["image"], answer["image"])
    for pngs in (answer["image_bytes"], call("serving_default", seed=SEEDS)["image_bytes"]):
        decoded = [tf.io.decode_png(png).numpy() for png in pngs]
        np.testing.assert_array_equal(decoded, answer["image"])


def test_a_row_has_the_same_answer_alone_merged_and_padded(call):
    """Rows of other lengths beside it change no bit of it."""
    merged = call("sample", **SAMPLE)
    assert len(np.unique(merged["samples"].sum(axis=(1, 2, 3)))) == 5
    for row in range(5):
        alone = call("sample", **rows(SAMPLE, [row]))
        padded = call("sample", **rows(SAMPLE, [row] * 3))
        np.testing.assert_array_equal(alone["samples"][0], merged["samples"][row])
        np.testing.assert_array_equal(padded["samples"], merged["samples"][[row] * 3])
        assert alone["image_bytes"][0] == merged["image_bytes"][row]
    merged = call("score", **SCORE)["score"]
    for row in range(5):
        np.testing.assert_array_equal(call("score", **rows(SCORE, [row]))["score"][0], merged[row])


def test_impossible_rows_are_moved_to_possible_ones(call):
    """Never an error: it would fail the strangers' requests that a server merged with it."""

    def sample(steps, lr):
        inputs = {"steps_per_level": np.array([steps], np.int32), "step_lr": np.array([lr], "f4")}
        return call("sample", seed=SEEDS[:1], **inputs)["samples"]

    asked = np.array([0, -1, 3, 7, 8, 2**31 - 1], np.int32)
    answer = call("sample", seed=np.arange(6), steps_per_level=asked, step_lr=np.zeros(6, "f4"))
    assert answer["steps_per_level"].dtype == np.int32
    assert answer["steps_per_level"].tolist() == [3, 3, 3, 7, 7, 7]
    default = sample(CONFIG.num_steps_each, CONFIG.step_lr)
    for steps, lr in [(0, 0.0), (-(2**31), -1.0), (3, np.nan), (0, np.inf), (-1, -np.inf)]:
        np.testing.assert_array_equal(sample(steps, lr), default)
    most = sample(MAX_STEPS_EACH, CONFIG.step_lr)
    for steps in (MAX_STEPS_EACH + 1, 2**31 - 1):
        np.testing.assert_array_equal(sample(steps, CONFIG.step_lr), most)
    for steps, lr in [(1, 1e-4), (MAX_STEPS_EACH - 1, 1e-4), (3, 2e-4)]:
        assert not np.array_equal(sample(steps, lr), default)
        assert not np.array_equal(sample(steps, lr), most)


def test_steps_that_consistent_annealing_cannot_take_are_moved_to_its_own(network):
    """Each row's range is that of its own number of steps."""
    config = dataclasses.replace(CONFIG, sampler="cas", cas_step_lr=7e-5)
    module = sampler_module(network, config, MAX_STEPS_EACH)

    def sample(steps, lr):
        steps, lr = np.array(steps, np.int32), np.array(lr, np.float32)
        seeds = np.full(len(steps), SEEDS[0])
        return module.sample(tf.constant(seeds), tf.constant(steps), tf.constant(lr))["samples"]

    chain = ConsistentAnnealing(geometric_sigmas(1.0, 0.01, 3), denoise=True)

    @tf.function(autograph=False)
    def by_hand(steps, lr):
        rows = Rows.fill(SEEDS[:1], lr, steps)
        return sampling.draw(chain, network, rows, CONFIG.image_shape, tile=2)[0]

    lowest, highest = consistent_step_range(chain.sigmas, np.arange(8))
    steps = [3, 3, 3, 3, 1, 1, 1, 7]
    asked = [0, lowest[3] * 0.999, highest[3] * 1.001, 9e-5, 8e-5, 1.05e-4, np.nan, lowest[3]]
    # One step a level cannot take the export's own 7e-5: it has the middle of its range.
    taken = [7e-5, 7e-5, 7e-5, 9e-5, 1e-4, 1.05e-4, 1e-4, lowest[3]]
    samples = sample(steps, asked)
    assert np.isfinite(samples).all()
    for row, pair in enumerate(zip(steps, taken, strict=True)):
        expected = by_hand(tf.constant(pair[0]), tf.constant(pair[1], tf.float32))
        np.testing.assert_allclose(samples[row], expected, atol=1e-6)
    default = module.sample_uint8(tf.constant(SEEDS[:1]))["image"]
    np.testing.assert_array_equal(default[0], np.round(samples[0] * 255))
    assert np.abs(samples[3] - samples[0]).max() > 0.01


def test_levels_outside_are_moved_to_the_nearest_inside(call, network):
    x = SCORE["x"][:1]
    for level, inside in [(0, 0), (-1, 0), (-(2**31), 0), (2, 2), (3, 2), (2**31 - 1, 2)]:
        answer = call("score", x=x, label=np.array([level], np.int32))["score"]
        expected = network(x, np.array([inside])).numpy()
        np.testing.assert_allclose(answer, expected, rtol=1e-6)


def test_a_run_away_chain_still_answers(call):
    inputs = {"steps_per_level": np.array([7, 0], np.int32), "step_lr": np.array([3e38, 0], "f4")}
    answer = call("sample", seed=SEEDS[:2], **inputs)
    np.testing.assert_array_equal(
        answer["image"][1], call("sample_uint8", seed=SEEDS[1:2])["image"][0]
    )
    assert not tf.io.decode_png(answer["image_bytes"][0]).numpy().any()
    assert not answer["samples"][0].any() and answer["steps_per_level"].tolist() == [0, 3]
    x = np.stack([np.full([8, 8, 1], bad, "f4") for bad in (np.nan, np.inf, 3e38, 0.25)])
    score = call("score", x=x, label=np.zeros(4, np.int32))["score"]
    assert np.isfinite(score).all() and not score[0].any() and score[3].any()


def test_weights_are_attached_as_raw_variables(network):
    module = sampler_module(network, CONFIG, MAX_STEPS_EACH)
    assert [id(v) for v in module.variables] == [id(v) for v in raw_variables(network)]
    assert all(isinstance(variable, tf.Variable) for variable in module.variables)
    assert all(callable(getattr(module, name)) for name in contract.SAMPLING)
