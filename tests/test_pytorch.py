"""Reference weights: what does not fit is named, and changes nothing."""

import numpy as np
import pytest

from ncsn_tf.models.networks import NCSN
from ncsn_tf.pytorch import load_reference_weights
from ncsn_tf.training.state import FlatWeights

NAME = "ncsn_mnist_ngf8"


@pytest.fixture(scope="module")
def network():
    return NCSN((28, 28, 1), features=8, num_levels=10)


@pytest.fixture
def arrays(golden_params):
    return golden_params(NAME)


def weights_of(network):
    flat = FlatWeights(network)
    flat.copy_from(network)
    return flat.vector.numpy()


def assert_rejected(network, arrays, *words):
    # Other values than any test loads: a partly changed network would show.
    arrays = {name: array + 1 for name, array in arrays.items()}
    before = weights_of(network)
    with pytest.raises(ValueError) as error:
        load_reference_weights(network, arrays)
    for word in words:
        assert word in str(error.value)
    np.testing.assert_array_equal(weights_of(network), before)


def test_layouts(network, arrays):
    load_reference_weights(network, arrays)
    kernel = arrays["res2.0.conv2.conv.weight"]
    assert kernel.shape == (16, 8, 3, 3)
    placed = network.blocks[2].stage2.conv.kernel
    for out, into, row, column in [(0, 0, 0, 0), (15, 3, 0, 2), (4, 7, 2, 1)]:
        assert placed[row, column, into, out] == kernel[out, into, row, column]
    np.testing.assert_array_equal(network.end_conv.norm.table, arrays["normalizer.embed.weight"])
    np.testing.assert_array_equal(network.begin_conv.bias, arrays["begin_conv.bias"])
    assert sum(array.size for array in arrays.values()) == network.count_params()


@pytest.mark.parametrize("name", ["begin_conv.bias", "refine4.crp.norms.1.embed.weight"])
def test_missing_parameter(network, arrays, name):
    del arrays[name]
    assert_rejected(network, arrays, "have no parameter", repr(name))


def test_unexpected_parameter(network, arrays):
    arrays["refine5.crp.convs.0.weight"] = arrays["end_conv.weight"]
    assert_rejected(network, arrays, "no place", "'refine5.crp.convs.0.weight'")


def test_prefix_of_a_data_parallel_model(network, arrays):
    arrays = {f"module.{name}": array for name, array in arrays.items()}
    assert_rejected(network, arrays, "no parameter", "'begin_conv.weight'")


@pytest.mark.parametrize(
    "name, change, shapes",
    [
        (
            "res2.0.conv2.conv.weight",
            lambda array: array.transpose(1, 0, 2, 3),
            ["(8, 16, 3, 3)", "(3, 3, 8, 16)"],
        ),
        ("normalizer.embed.weight", lambda array: array[:9], ["(9, 24)", "(10, 24)"]),
        ("normalizer.embed.weight", lambda array: array.T, ["(24, 10)", "(10, 24)"]),
        ("end_conv.bias", lambda array: array[0], ["()", "(1,)"]),
        ("end_conv.weight", lambda array: array[0], ["(8, 3, 3)", "(3, 3, 8, 1)"]),
    ],
)
def test_wrong_shape(network, arrays, name, change, shapes):
    arrays[name] = change(arrays[name])
    assert_rejected(network, arrays, repr(name), *shapes)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_value_that_is_not_finite(network, arrays, bad):
    name = "refine4.crp.norms.1.embed.weight"
    arrays[name] = arrays[name].copy()
    arrays[name][3, 5] = bad
    assert_rejected(network, arrays, "not finite", repr(name))


def test_weights_of_another_network(network, golden_params):
    assert_rejected(network, golden_params("ncsn_cifar10_ngf8"), "'begin_conv.weight'", "(8, 3, 3")
