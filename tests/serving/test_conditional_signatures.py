"""The conditional signatures of an export: what is known stays, whoever is merged with it."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_network import Network
from tensorflow.core.protobuf import saved_model_pb2

from ncsn_tf import sampling
from ncsn_tf.errors import ConfigError
from ncsn_tf.models.noisy_classifier import NoisyClassifier
from ncsn_tf.sampling import (
    GuidedScore,
    InterpolatingLangevin,
    Known,
    Measurement,
    Mixture,
    Rows,
)
from ncsn_tf.serving import contract, export
from ncsn_tf.serving.conditional_signatures import conditional_functions
from ncsn_tf.settings.config import Config
from ncsn_tf.training.classifier import save_classifier
from ncsn_tf.training.run_conditions import completion_chain
from ncsn_tf.training.run_sampler import chain_of, make_sigmas

CONFIG = Config(
    dataset="digits",
    image_size=8,
    channels=3,
    features=2,
    sigma_begin=0.05,
    num_levels=2,
    step_lr=1e-6,
    num_steps_each=2,
    sampling_tile=2,
)
GENERATOR = np.random.RandomState(1)
SEEDS = 2**40 + np.arange(3)
IMAGES = GENERATOR.randint(0, 256, (3, 8, 8, 3)).astype(np.uint8)
# Filled from 128 on, as by the pictures that sample.py takes.
FILLED = GENERATOR.randint(0, 2, (3, 8, 8, 1)).astype(bool)
FILLED[2] = False
MASKS = np.where(FILLED, [[[[128]]], [[[255]]], [[[0]]]], [[[[127]]], [[[1]]], [[[0]]]])
MASKS = MASKS.astype(np.uint8)
GREYS = GENERATOR.randint(0, 256, (3, 8, 8, 1)).astype(np.uint8)
SMALL = GENERATOR.randint(0, 256, (3, 4, 4, 3)).astype(np.uint8)
GREYS[:, 0], GREYS[:, 1], SMALL[:, 0], SMALL[:, 1] = 0, 255, 0, 255
INPUTS = {
    "inpaint": {"seed": SEEDS, "image": IMAGES, "mask": MASKS},
    "colorize": {"seed": SEEDS, "image": GREYS},
    "super_resolve": {"seed": SEEDS, "image": SMALL},
    "interpolate": {
        "seed": SEEDS,
        "other_seed": SEEDS[::-1].copy(),
        "share": np.array([0.0, 0.5, 1.0], np.float32),
    },
    "sample_class": {"seed": SEEDS, "label": np.array([0, 1, 2], np.int32)},
}


class BatchDependent(Network):
    """Answers by the size of the batch, as libraries do in the last bits: here in all of them."""

    def __call__(self, x, levels):
        return super().__call__(x, levels) * tf.cast(tf.shape(x)[0], tf.float32) ** 6


@pytest.fixture(scope="module")
def network():
    return BatchDependent(channels=3)


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(2)
    return NoisyClassifier(CONFIG.image_shape, 2, make_sigmas(CONFIG).numpy(), 3)


@pytest.fixture(scope="module")
def exported(network, classifier, tmp_path_factory):
    """Path of an export."""
    folder = tmp_path_factory.mktemp("export")
    save_classifier(folder / "classifier.npz", classifier)
    conditional = export.ConditionalSettings(
        factor=2, classifier=folder / "classifier.npz", classifier_scale=50.0
    )
    return export.save_sampler(network, CONFIG, folder, {}, conditional=conditional)


@pytest.fixture(scope="module")
def signatures(exported):
    """{name: function} of the loaded export."""
    return tf.saved_model.load(str(exported)).signatures


@pytest.fixture(scope="module")
def call(signatures):
    """(signature, **arrays) -> {output: array} of the loaded export."""

    def call(name, **inputs):
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        return {key: value.numpy() for key, value in signatures[name](**tensors).items()}

    return call


@pytest.fixture(scope="module")
def answers(call):
    return {name: call(name, **inputs) for name, inputs in INPUTS.items()}


def test_known_pixels_are_the_inputs(answers):
    images = answers["inpaint"]["image"]
    assert images.dtype == np.uint8
    known = np.broadcast_to(~FILLED, images.shape)
    np.testing.assert_array_equal(images[known], IMAGES[known])
    np.testing.assert_array_equal(images[2], IMAGES[2])  # nothing to fill
    assert np.mean(images[~known] != IMAGES[~known]) > 0.9


def test_means_are_the_inputs(answers):
    images = answers["colorize"]["image"]
    rounding = {"rtol": 0, "atol": 0.5 + 1e-4}
    np.testing.assert_allclose(images.mean(-1), GREYS[..., 0], **rounding)
    blocks = answers["super_resolve"]["image"].reshape(3, 4, 2, 4, 2, 3)
    np.testing.assert_allclose(blocks.mean((2, 4)), SMALL, **rounding)
    for drawn in (images[:, 2:], blocks[:, 2:]):  # bounds matter also where none is measured
        assert np.mean((drawn == 0) | (drawn == 255)) > 0.05


def test_the_export_draws_what_the_chain_does(answers, network):
    values = (IMAGES / 255).astype(np.float32)
    rows = Rows.fill(SEEDS, CONFIG.step_lr, 2, Known(values, (~FILLED).astype(np.float32)))
    chain = completion_chain(CONFIG, Measurement())
    draw = tf.function(
        lambda rows: sampling.draw(chain, network, rows, (8, 8, 3), tile=2), autograph=False
    )
    np.testing.assert_array_equal(answers["inpaint"]["image"], sampling.to_uint8(draw(rows)))
    pngs = [tf.io.decode_png(png).numpy() for png in answers["inpaint"]["image_bytes"]]
    np.testing.assert_array_equal(pngs, answers["inpaint"]["image"])


def test_interpolation_starts_at_its_seed(call, answers):
    images = answers["interpolate"]["image"]
    np.testing.assert_array_equal(images[0], call("sample_uint8", seed=SEEDS[:1])["image"][0])
    assert not np.array_equal(images[2], call("sample_uint8", seed=SEEDS[2:])["image"][0])
    for share, row in [(np.nan, 0), (-3.0, 0), (7.0, 2)]:
        inputs = {key: value[[row]] for key, value in INPUTS["interpolate"].items()}
        inputs["share"] = np.array([share], np.float32)
        np.testing.assert_array_equal(call("interpolate", **inputs)["image"][0], images[row])


def test_shares_are_of_a_quarter_turn(answers, network):
    shares = [np.cos([0.0, np.pi / 4, np.pi / 2]), np.sin([0.0, np.pi / 4, np.pi / 2])]
    own, other = np.float32(shares)
    own[2] = 0.0
    condition = Mixture(SEEDS[::-1].copy(), own, other)
    rows = Rows.fill(SEEDS, CONFIG.step_lr, CONFIG.num_steps_each, condition)
    chain = InterpolatingLangevin(make_sigmas(CONFIG))
    draw = tf.function(
        lambda rows: sampling.draw(chain, network, rows, (8, 8, 3), tile=2), autograph=False
    )
    expected = sampling.to_uint8(draw(rows)).numpy().astype(int)
    difference = np.abs(answers["interpolate"]["image"] - expected)
    assert difference.max() <= 1 and np.mean(difference > 0) < 0.01


def test_a_class_is_drawn_by_the_guided_score(call, answers, network, classifier):
    images = answers["sample_class"]["image"]

    score = GuidedScore(network, classifier, 50.0)

    @tf.function(autograph=False)
    def draw(rows, target):
        def guided(x, levels):
            return score(x, levels, target)

        return sampling.draw(chain_of(CONFIG), guided, rows, (8, 8, 3), tile=2)

    for row in range(3):
        rows = Rows.fill(SEEDS[[row]], CONFIG.step_lr, CONFIG.num_steps_each)
        expected = sampling.to_uint8(draw(rows, tf.constant(row))).numpy().astype(int)
        assert np.abs(images[row] - expected[0]).max() <= 1
    unguided = call("sample_uint8", seed=SEEDS)["image"]
    assert np.mean(images != unguided) > 0.01
    for label, row in [(-9, 0), (2**31 - 1, 2)]:
        inputs = {"seed": SEEDS[[row]], "label": np.array([label], np.int32)}
        np.testing.assert_array_equal(call("sample_class", **inputs)["image"][0], images[row])


@pytest.mark.parametrize("name", INPUTS)
def test_a_row_has_the_same_answer_alone_and_merged(name, call, answers):
    for row in (1, 2):
        alone = call(name, **{key: value[[row]] for key, value in INPUTS[name].items()})
        np.testing.assert_array_equal(alone["image"][0], answers[name]["image"][row])


def test_the_network_is_in_the_export_once_more_at_most(exported, network, classifier):
    """However many conditional signatures there are: they call one function."""
    model = saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes())
    functions = model.meta_graphs[0].graph_def.library.function
    convolutions = sum(node.op == "Conv2D" for fn in functions for node in fn.node_def)
    kernels, of_classifier = (
        sum(len(weight.shape) == 4 for weight in model.weights) for model in (network, classifier)
    )
    # That of the chain, of `score`, and one for all that is conditional: no more.
    assert convolutions == 3 * kernels + of_classifier


def test_metadata_is_that_of_any_export(exported):
    assert json.loads((exported / "metadata.json").read_text())["max_steps_each"] == 20


def test_the_signatures_are_those_of_the_contract(signatures):
    sizes = contract.image_sizes(CONFIG.image_shape, factor=2)
    there = contract.SAMPLING | contract.CONDITIONAL
    assert set(signatures) == set(there)
    for name, signature in there.items():
        ((), specs) = signatures[name].structured_input_signature
        for found, expected in (
            (specs, signature.inputs),
            (signatures[name].structured_outputs, signature.outputs),
        ):
            assert {
                key: contract.Tensor(tensor.dtype.name, tuple(tensor.shape.as_list()))
                for key, tensor in found.items()
            } == {key: tensor.sized(sizes) for key, tensor in expected.items()}


def test_what_cannot_be_exported(network):
    with pytest.raises(ConfigError, match="--factor=3 must divide the 8 pixels"):
        conditional_functions(network, CONFIG, factor=3)
    with pytest.raises(ConfigError, match="needs --sampler=ald or pc, not --sampler=cas"):
        conditional_functions(network, dataclasses.replace(CONFIG, sampler="cas"), factor=2)
    grey = conditional_functions(network, dataclasses.replace(CONFIG, channels=1))
    assert sorted(grey) == ["inpaint", "interpolate", "super_resolve"]
