"""The blocks against compositions of their parts; shapes, precision, serialisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.models import functional
from ncsn_tf.models.blocks import PreactivatedConvolution, ResidualBlock
from ncsn_tf.models.refinement import (
    ChainedResidualPooling,
    MultiResolutionFusion,
    RefineBlock,
    ResidualConvolutionUnits,
)

NUM_LEVELS = 3
LEVELS = tf.constant([2, 0])


def normal(*shape):
    return tf.constant(np.random.default_rng(shape[-1]).normal(size=shape), tf.float32)


def built(block, *shapes):
    block.build(list(shapes) if len(shapes) > 1 or isinstance(block, RefineBlock) else shapes[0])
    return block


def assert_near(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def zero_kernels(layers):
    for layer in layers:
        layer.kernel.assign(tf.zeros(layer.kernel.shape))


def kernel_shapes(block):
    return [tuple(weight.shape) for weight in block.weights if len(weight.shape) == 4]


def test_preactivated_convolution():
    block = built(PreactivatedConvolution(5, NUM_LEVELS, dilation=2), (None, 6, 8, 4))
    x = normal(2, 6, 8, 4)
    expected = block.conv(tf.nn.elu(block.norm(x, LEVELS)))
    np.testing.assert_array_equal(block(x, LEVELS), expected)
    assert block.conv.dilation == 2
    assert len(block.weights) == 3
    assert (
        len(built(PreactivatedConvolution(5, NUM_LEVELS, use_bias=False), (1, 6, 8, 4)).weights)
        == 2
    )


# --- residual block ---


@pytest.mark.parametrize("dilation", [1, 2])
def test_residual_block_with_the_identity_as_shortcut(dilation):
    block = built(ResidualBlock(4, NUM_LEVELS, dilation=dilation), (None, 6, 8, 4))
    x = normal(2, 6, 8, 4)
    assert_near(block(x, LEVELS), x + block.stage2(block.stage1(x, LEVELS), LEVELS))
    assert kernel_shapes(block) == [(3, 3, 4, 4)] * 2
    assert block.stage1.conv.dilation == block.stage2.conv.dilation == dilation


def test_residual_block_that_pools():
    block = built(ResidualBlock(6, NUM_LEVELS, first=True), (None, 6, 8, 4))
    x = normal(2, 6, 8, 4)
    y = block(x, LEVELS)
    assert y.shape == (2, 3, 4, 6)
    # The reference pools after both convolutions.
    unpooled = built(PreactivatedConvolution(6, NUM_LEVELS), (None, 6, 8, 4))
    unpooled.set_weights(block.stage2.get_weights())
    main = unpooled(block.stage1(x, LEVELS), LEVELS)
    assert_near(y, functional.mean_pool(main) + functional.mean_pool(block.shortcut(x)))
    assert kernel_shapes(block) == [(3, 3, 4, 4), (3, 3, 4, 6), (1, 1, 4, 6)]
    assert tuple(block.shortcut.bias.shape) == (6,)


def test_pooling_commutes_with_the_shortcut():
    block = built(ResidualBlock(6, NUM_LEVELS, first=True), (None, 6, 8, 4))
    x = normal(2, 6, 8, 4)
    before = block.shortcut(functional.mean_pool(x))
    np.testing.assert_allclose(before, functional.mean_pool(block.shortcut(x)), atol=1e-6)


@pytest.mark.parametrize("filters", [4, 6])
def test_first_residual_block_of_a_dilated_stage(filters):
    """It keeps the size, and its shortcut is a dilated convolution even between equal widths."""
    block = built(ResidualBlock(filters, NUM_LEVELS, dilation=2, first=True), (None, 6, 8, 4))
    x = normal(2, 6, 8, 4)
    y = block(x, LEVELS)
    assert y.shape == (2, 6, 8, filters)
    assert_near(y, block.stage2(block.stage1(x, LEVELS), LEVELS) + block.shortcut(x))
    assert kernel_shapes(block) == [(3, 3, 4, 4), (3, 3, 4, filters), (3, 3, 4, filters)]
    assert block.shortcut.dilation == block.stage1.conv.dilation == block.stage2.conv.dilation == 2
    assert tuple(block.shortcut.bias.shape) == (filters,)


def test_identity_needs_equal_channels():
    with pytest.raises(ValueError, match="block of 6 filters .* got 4 channels"):
        ResidualBlock(6, NUM_LEVELS).build((None, 6, 8, 4))


# --- parts of the refine block ---


def test_residual_convolution_units():
    block = built(ResidualConvolutionUnits(4, NUM_LEVELS, num_units=2), (None, 6, 8, 4))
    x = normal(2, 6, 8, 4)
    a, b, c, d = block.stages
    middle = x + b(a(x, LEVELS), LEVELS)
    assert_near(block(x, LEVELS), middle + d(c(middle, LEVELS), LEVELS))
    assert len(block.weights) == 8  # no biases
    zero_kernels(stage.conv for stage in block.stages)
    np.testing.assert_array_equal(block(x, LEVELS), x)


def test_multi_resolution_fusion():
    fine, coarse = normal(2, 6, 8, 4), normal(2, 3, 4, 5)
    block = built(MultiResolutionFusion(3, NUM_LEVELS), fine.shape, coarse.shape)
    paths = [
        conv(norm(x, LEVELS))
        for x, norm, conv in zip([fine, coarse], block.norms, block.convs, strict=True)
    ]
    y = block([fine, coarse], LEVELS)
    assert_near(y, paths[0] + functional.resize_align_corners(paths[1], 6, 8))
    assert all(conv.use_bias for conv in block.convs)


def test_chained_residual_pooling():
    block = built(ChainedResidualPooling(4, NUM_LEVELS), (None, 6, 8, 4))
    x = normal(2, 6, 8, 4)
    pool = functional.average_pool_5x5
    start = tf.nn.elu(x)
    first = block.convs[0](pool(block.norms[0](start, LEVELS)))
    second = block.convs[1](pool(block.norms[1](first, LEVELS)))
    assert_near(block(x, LEVELS), start + first + second)
    assert len(block.weights) == 4  # no biases
    zero_kernels(block.convs)
    np.testing.assert_array_equal(block(x, LEVELS), start)


# --- refine block ---


@pytest.mark.parametrize("last, units", [(False, 1), (True, 3)])
def test_refine_block_of_one_input(last, units):
    x = normal(2, 4, 6, 4)
    block = built(RefineBlock(4, NUM_LEVELS, last=last), x.shape)
    assert block.fusion is None
    assert len(block.adapters) == 1
    assert block.adapters[0].num_units == 2
    assert block.output_units.num_units == units
    expected = block.output_units(block.pooling(block.adapters[0](x, LEVELS), LEVELS), LEVELS)
    assert_near(block([x], LEVELS), expected)
    assert len(block.weights) == 2 * (4 + 2 + 2 * units)


def test_refine_block_takes_the_size_of_its_first_input():
    fine, coarse = normal(2, 8, 4, 4), normal(2, 4, 2, 5)
    block = built(RefineBlock(3, NUM_LEVELS), fine.shape, coarse.shape)
    y = block([fine, coarse], LEVELS)
    assert y.shape == (2, 8, 4, 3)
    assert [adapter.filters for adapter in block.adapters] == [4, 5]
    adapted = [f(x, LEVELS) for f, x in zip(block.adapters, [fine, coarse], strict=True)]
    fused = block.fusion(adapted, LEVELS)
    assert_near(y, block.output_units(block.pooling(fused, LEVELS), LEVELS))


# --- the second generation ---


def test_blocks_without_normalisation():
    fine, coarse = normal(2, 6, 8, 4), normal(2, 3, 4, 5)
    options = {"num_levels": NUM_LEVELS, "normalization": "none", "pool_kind": "max"}
    block = built(RefineBlock(3, **options), fine.shape, coarse.shape)
    assert all(len(weight.shape) in (1, 4) for weight in block.weights)  # kernels and biases
    elu, pool = tf.nn.elu, functional.max_pool_5x5

    def units(part, x):
        for first, second in zip(part.stages[::2], part.stages[1::2], strict=True):
            x = x + second.conv(elu(first.conv(elu(x))))
        return x

    adapted = [units(part, x) for part, x in zip(block.adapters, (fine, coarse), strict=True)]
    convolved = [conv(x) for conv, x in zip(block.fusion.convs, adapted, strict=True)]
    start = elu(convolved[0] + functional.resize_align_corners(convolved[1], 6, 8))
    first = block.pooling.convs[0](pool(start))
    second = block.pooling.convs[1](pool(first))
    expected = units(block.output_units, start + first + second)
    assert_near(block([fine, coarse], LEVELS), expected)
    np.testing.assert_array_equal(
        block([fine, coarse], LEVELS), block([fine, coarse], LEVELS[::-1])
    )


def test_residual_block_with_unconditional_normalisation():
    block = built(
        ResidualBlock(6, NUM_LEVELS, first=True, normalization="unconditional"), (2, 6, 8, 4)
    )
    x = normal(2, 6, 8, 4)
    tables = [tuple(weight.shape) for weight in block.weights if len(weight.shape) == 2]
    assert tables == [(1, 12), (1, 12)]
    np.testing.assert_array_equal(block(x, LEVELS), block(x, LEVELS[::-1]))


@pytest.mark.parametrize(
    "cls, option",
    [(ResidualBlock, "normalization"), (ChainedResidualPooling, "pool_kind")],
)
def test_unknown_kinds(cls, option):
    with pytest.raises(ValueError, match=f"{option} must be one of .*, not 'batch'"):
        cls(4, NUM_LEVELS, **{option: "batch"})


# --- all blocks ---

BLOCKS = [
    (PreactivatedConvolution, {"dilation": 2, "use_bias": False}, [(2, 6, 8, 4)]),
    (PreactivatedConvolution, {"pool": True}, [(2, 6, 8, 4)]),
    (ResidualBlock, {"dilation": 2, "first": True}, [(2, 6, 8, 4)]),
    (ResidualBlock, {"first": True}, [(2, 6, 8, 4)]),
    (ResidualConvolutionUnits, {"num_units": 3}, [(2, 6, 8, 4)]),
    (MultiResolutionFusion, {}, [(2, 6, 8, 4), (2, 3, 4, 5)]),
    (ChainedResidualPooling, {}, [(2, 6, 8, 4)]),
    (RefineBlock, {"last": True}, [(2, 6, 8, 4), (2, 3, 4, 5)]),
    (
        RefineBlock,
        {"normalization": "none", "pool_kind": "max"},
        [(2, 6, 8, 4), (2, 3, 4, 5)],
    ),
    (ResidualBlock, {"normalization": "unconditional"}, [(2, 6, 8, 4)]),
]


def all_blocks(test):
    return pytest.mark.parametrize(
        "cls, options, shapes", BLOCKS, ids=[cls.__name__ for cls, _, _ in BLOCKS]
    )(test)


def call(block, shapes):
    inputs = [normal(*shape) for shape in shapes]
    several = len(shapes) > 1 or isinstance(block, RefineBlock)
    return block(inputs if several else inputs[0], LEVELS)


@all_blocks
def test_serialisation_round_trip(cls, options, shapes):
    block = built(cls(4, num_levels=NUM_LEVELS, name="block", **options), *shapes)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(block))
    assert type(copy) is cls
    assert copy.get_config() == block.get_config()
    if not copy.built:
        built(copy, *shapes)
    copy.set_weights(block.get_weights())
    np.testing.assert_array_equal(call(copy, shapes), call(block, shapes))


@all_blocks
def test_mixed_precision(cls, options, shapes):
    keras.utils.set_random_seed(0)
    exact = built(cls(4, NUM_LEVELS, **options), *shapes)
    block = built(cls(4, NUM_LEVELS, dtype="mixed_bfloat16", **options), *shapes)
    assert all(tf.as_dtype(weight.dtype) == tf.float32 for weight in block.weights)
    block.set_weights(exact.get_weights())
    y, expected = call(block, shapes), call(exact, shapes).numpy()
    assert y.dtype == tf.bfloat16
    error = tf.cast(y, tf.float32).numpy() - expected
    assert 1e-4 < np.abs(error).max() / np.abs(expected).max() < 0.03
