"""The third generation's networks against the reference's numbers; sizes, settings, precision."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from golden_sde import golden_network, network_of

from ncsn_tf.backend.compat import raw_variables
from ncsn_tf.models.ddpm import DDPM
from ncsn_tf.models.ncsnpp import NCSNpp
from ncsn_tf.models.reference_weights import load_reference_weights, reference_shapes
from ncsn_tf.models.unet_steps import unet_steps
from ncsn_tf.schedule import geometric_sigmas

GOLDEN = [
    *("ncsnpp_ve_continuous", "ncsnpp_ve_discrete", "ncsnpp_ve_highres", "ddpmpp_vp", "ddpm_vp"),
    *("ncsnpp_variant_cat_ddpm", "ncsnpp_variant_unconditional"),
    *("ncsnpp_variant_residual_fir_patched", "ncsnpp_variant_residual_plain_patched"),
]
SMALL = {"image_shape": (8, 8, 1), "features": 4, "multipliers": (1, 2), "num_res_blocks": 1}
DENSE_PATHS = {"attention_sizes": (4,), "progressive_input": "residual"}


def config_of(vectors):
    return json.loads(bytes(vectors["config"]))


@pytest.fixture(scope="module")
def loaded(golden):
    """name -> (network with the weights of a golden file, its vectors); shared, not changed."""
    return lambda name: (golden_network(golden, name)[0], golden(f"sde/{name}"))


def error(values, expected):
    """The largest error, in units of each example's largest value."""
    axes = tuple(range(1, expected.ndim))
    return (np.abs(np.asarray(values) - expected).max(axes) / np.abs(expected).max(axes)).max()


@pytest.mark.parametrize("name", GOLDEN)
def test_output_is_that_of_the_reference(name, loaded):
    network, vectors = loaded(name)
    output = network(vectors["x"], vectors["time_cond"])
    assert output.dtype == tf.float32
    assert error(output, vectors["output"]) < 1e-5


@pytest.mark.parametrize("name", GOLDEN)
def test_embedding_is_that_of_the_reference(name, loaded):
    network, vectors = loaded(name)
    assert error(network.embed0.embed(vectors["time_cond"]), vectors["embedding"]) < 1e-5
    if network.conditional:
        assert error(network.embed0(vectors["time_cond"]), vectors["temb"]) < 1e-5


PUBLISHED = {  # number of parameters, of which the last are not trained
    "ve/cifar10_ncsnpp_continuous": (62_758_787, 128, {"progressive_input": "residual"}),
    "ve/cifar10_ncsnpp_deep_continuous": (
        *(107_586_947, 128),
        {"progressive_input": "residual", "num_res_blocks": 8},
    ),
    "ve/cifar10_ncsnpp": (
        *(62_693_251, 0),
        {"progressive_input": "residual", "embedding": "positional", "scale_by_sigma": False},
    ),
    "vp/cifar10_ncsnpp_deep_continuous": (
        *(107_521_411, 0),
        {
            "progressive_input": "residual",
            "embedding": "positional",
            "scale_by_sigma": False,
            "num_res_blocks": 8,
        },
    ),
    "vp/cifar10_ddpmpp": (
        *(61_804_419, 0),
        {"embedding": "positional", "fir": False, "scale_by_sigma": False},
    ),
    "vp/cifar10_ddpmpp_deep_continuous": (
        *(106_632_579, 0),
        {"embedding": "positional", "fir": False, "scale_by_sigma": False, "num_res_blocks": 8},
    ),
    "ve/ffhq_256": (
        *(65_574_421, 128),
        {
            "image_shape": (256, 256, 3),
            "multipliers": (1, 1, 2, 2, 2, 2, 2),
            "num_res_blocks": 2,
            "progressive_input": "input_skip",
            "progressive": "output_skip",
        },
    ),
    "ve/ffhq_1024": (
        *(105_785_880, 16),
        {
            "image_shape": (1024, 1024, 3),
            "features": 16,
            "multipliers": (1, 2, 4, 8, 16, 32, 32, 32),
            "num_res_blocks": 1,
            "progressive_input": "input_skip",
            "progressive": "output_skip",
        },
    ),
    "vp/ddpm/cifar10": (35_218_947, 0, {"cls": DDPM}),
    "vp/ddpm/church": (
        *(111_569_923, 0),
        {"cls": DDPM, "image_shape": (256, 256, 3), "multipliers": (1, 1, 2, 2, 4, 4)},
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_number_of_parameters(name, monkeypatch):
    """Of the published configurations; the weights are counted, and not made."""
    trained, fixed, settings = PUBLISHED[name]
    settings = {"image_shape": (32, 32, 3), **settings}
    shapes = {True: [], False: []}

    def add_weight(self, name=None, shape=None, trainable=True, **kwargs):
        shapes[trainable].append(tuple(shape))

    monkeypatch.setattr(keras.layers.Layer, "add_weight", add_weight)
    settings.pop("cls", NCSNpp)(**settings)
    numbers = [sum(int(np.prod(shape)) for shape in part) for part in shapes.values()]
    assert numbers == [trained, fixed]


def test_steps_are_numbered_as_the_modules_of_the_reference():
    """The table of the high-resolution network, as the vectors' README lists its modules."""
    steps = unet_steps(
        *(16, 3, 8, (1, 1, 2), 1, (8,)),
        progressive_input="input_skip",
        progressive="output_skip",
        embedding_modules=3,
    )
    assert " ".join(step.name for step in steps if step.has_layer) == (
        "embed0 convolve3 block4 block5 take6 block7 attend8 block9 take10 block11 "
        "block12 attend13 block14 block15 block16 begin17 block19 block20 block21 attend22 "
        "draw23 block25 block26 block27 draw28"
    )
    assert [step.filters for step in steps if step.action == "join"] == [32, 24, 24, 16, 16, 16]
    assert [step.name for step in steps if step.resample == "down"] == ["block5", "block9"]
    assert [step.name for step in steps if step.resample == "up"] == ["block19", "block25"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image_shape": (9, 8, 1)}, "multiples of 2 for 2 levels, not 9 x 8"),
        ({"image_shape": (8, 8, 0)}, "must be positive"),
        ({"features": 6}, "6 channels cannot be normalised in min.* = 1 groups|multiple of 4"),
        ({"features": 136, "multipliers": (1,)}, "136 channels .* more a multiple of 32"),
        ({"embedding": "sine"}, "embedding must be one of fourier, positional, not 'sine'"),
        ({"progressive": "cat"}, "progressive must be one of none, output_skip, residual"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), not 1.0"),
        ({"embedding": "positional"}, "scale_by_sigma with a positional embedding needs sigmas"),
        ({"sigmas": [1.0, 0.0]}, "sigmas must be a vector of positive noise levels"),
    ],
)
def test_what_the_network_cannot_have(changes, message):
    if "features" in changes and changes["features"] == 6:
        changes = {"features": 9}
        message = "9 channels cannot be normalised in min.9 // 4, 32. = 2 groups"
    with pytest.raises(ValueError, match=message):
        NCSNpp(**{**SMALL, **changes})


def test_ddpm_needs_multiples_of_its_groups():
    with pytest.raises(ValueError, match="48 channels are no multiple of 32 groups"):
        DDPM((8, 8, 1), 48, (1, 2), 1)


def test_attention_is_placed_by_the_actual_width():
    network = NCSNpp((12, 24, 1), 4, (1, 1, 1), 1, (12,))
    at = [step.name for step in network.steps if step.action == "attend"]
    assert len(at) == 3  # a level's way down and up, and the middle
    y = network(tf.zeros([2, 12, 24, 1]), tf.ones([2]))
    assert y.shape == (2, 12, 24, 1) and np.isfinite(y).all()


def test_initial_weights():
    """Section by section: the bounds of uniform numbers, and what starts as nothing."""
    keras.utils.set_random_seed(1)
    network = NCSNpp((8, 8, 3), 16, (1, 2), 1, (8,), block="ddpm", progressive_input="residual")

    def assert_uniform(variable, scale, fans):
        bound = np.sqrt(3 * scale / (sum(fans) / 2))
        largest = np.abs(np.asarray(variable)).max()
        assert 0.9 * bound < largest <= bound * (1 + 1e-6)

    block = next(
        getattr(network, step.name)
        for step in network.steps
        if step.action == "block" and step.filters == 32
    )
    assert_uniform(network.convolve3.kernel, 1.0, (27, 144))
    assert_uniform(block.conv0.kernel, 1.0, (144, 288))
    assert_uniform(block.conv1.kernel, 1e-10, (288, 288))
    assert_uniform(block.dense.kernel, 1.0, (64, 32))
    assert_uniform(block.shortcut.kernel, 0.1, (16, 32))
    attention = network.attend5
    assert_uniform(attention.qkv, 0.1, (16, 16))
    assert_uniform(attention.out.kernel, 1e-10, (16, 16))
    assert_uniform(network.embed0.dense0.kernel, 1.0, (32, 64))
    last = network.steps[-1]
    assert last.action == "finish"
    assert_uniform(getattr(network, last.name).conv.kernel, 1e-10, (144, 27))
    merge = next(step for step in network.steps if step.action == "merge")
    assert_uniform(getattr(network, merge.name).kernel, 1.0, (27, 144))
    np.testing.assert_array_equal(block.norm0.table, [[1.0] * 16, [0.0] * 16])
    for weight in network.weights:
        if "bias" in weight.name:
            np.testing.assert_array_equal(weight, tf.zeros(weight.shape))
    frequencies = np.asarray(network.embed0.frequencies)
    assert 8 < frequencies.std() < 28
    assert len(network.non_trainable_variables) == 1
    y = network(tf.random.uniform([2, 8, 8, 3]), tf.constant([1.0, 2.0]))
    assert np.abs(y).max() < 1e-3  # the output starts as almost nothing


def test_biggan_shortcuts_start_like_other_convolutions():
    network = NCSNpp((8, 8, 3), 16, (1, 2), 1)
    bound = np.sqrt(3 / 16)  # 16 channels to 16
    assert 0.9 * bound < np.abs(np.asarray(network.block5.shortcut.kernel)).max() <= bound


@pytest.mark.parametrize(
    "name", [pytest.param("ncsnpp_ve_highres", marks=pytest.mark.slow), "ddpmpp_vp"]
)
def test_mixed_precision(name, loaded):
    network, vectors = loaded(name)
    config = config_of(vectors)
    mixed = network_of(config, dtype="mixed_bfloat16")
    mixed.set_weights(network.get_weights())
    assert all(tf.as_dtype(weight.dtype) == tf.float32 for weight in mixed.weights)
    output = mixed(vectors["x"], vectors["time_cond"])
    assert output.dtype == tf.float32
    # The lower bound: it did compute in bfloat16. The condition is not rounded to it.
    assert 1e-4 < error(output, vectors["output"]) < 0.1
    np.testing.assert_array_equal(
        mixed.embed0(vectors["time_cond"]), network.embed0(vectors["time_cond"])
    )


def random_weights(network, seed=0):
    rng = np.random.default_rng(seed)
    network.set_weights(
        [w + 0.2 * rng.normal(size=w.shape).astype(np.float32) for w in network.get_weights()]
    )
    return network


def test_all_weights_are_trained():
    """All but the key's bias, which the softmax does not see."""
    network = random_weights(
        NCSNpp(**SMALL, **DENSE_PATHS, progressive="residual", block="ddpm", centered=True)
    )
    x = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    with tf.GradientTape() as tape:
        y = network(x, tf.constant([0.1, 1.0, 10.0]))
        loss = tf.reduce_sum(y * tf.cos(tf.reshape(tf.range(192.0), y.shape)))
    gradients = tape.gradient(loss, raw_variables(network))
    for weight, gradient in zip(network.trainable_variables, gradients, strict=True):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, weight.name


@pytest.mark.parametrize(
    "embedding", [pytest.param("fourier", marks=pytest.mark.slow), "positional"]
)
def test_recomputed_gradients_are_the_same(embedding):
    """With dropout too: its noise is drawn again as it was."""
    settings = {
        **(SMALL if embedding == "fourier" else {**SMALL, "multipliers": (1,)}),
        "embedding": embedding,
        "scale_by_sigma": embedding == "fourier",
        "dropout": 0.5,
    }
    plain = random_weights(NCSNpp(**settings))
    recomputed = NCSNpp(**settings, recompute=True)
    recomputed.set_weights(plain.get_weights())
    x = tf.random.stateless_uniform([2, 8, 8, 1], (1, 2))
    condition = tf.constant([0.5, 2.0])

    def noise(index, shape):
        return tf.random.stateless_uniform(shape, (3, index))

    def gradients(network):
        @tf.function(autograph=False)
        def run(x):
            with tf.GradientTape() as tape:
                y = network(x, condition, training=True, dropout_noise=noise)
                loss = tf.reduce_sum(tf.square(y))
            return tape.gradient(loss, raw_variables(network))

        graph = run.get_concrete_function(x).graph.as_graph_def()
        nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
        return run(x), sum(node.op == "Conv2D" for node in nodes)

    (expected, once), (values, twice) = gradients(plain), gradients(recomputed)
    assert twice > 1.5 * once
    flat, other = (np.concatenate([np.ravel(v) for v in part]) for part in (values, expected))
    assert np.linalg.norm(flat - other) < 1e-4 * np.linalg.norm(other)


def test_dropout():
    network = random_weights(NCSNpp(**SMALL, dropout=0.25))
    x, condition = tf.random.stateless_uniform([2, 8, 8, 1], (1, 2)), tf.constant([1.0, 2.0])
    shapes = {}

    def none_dropped(index, shape):
        shapes[index] = tuple(int(size) for size in shape)
        return tf.ones(shape)

    plain = network(x, condition)
    np.testing.assert_array_equal(network(x, condition, training=False), plain)
    first, second = (network(x, condition, training=True) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3 * np.abs(plain).max()
    tf.random.set_seed(3)
    first = network(x, condition, training=True)
    tf.random.set_seed(3)
    np.testing.assert_array_equal(network(x, condition, training=True), first)
    # Kept numbers are 4/3 of what they were: conv1 of every block does the same to its kernel.
    kept = network(x, condition, training=True, dropout_noise=none_dropped)
    scaled = NCSNpp(**SMALL)
    scaled.set_weights(network.get_weights())
    blocks = [step for step in scaled.steps if step.action == "block"]
    for step in blocks:
        kernel = getattr(scaled, step.name).conv1.kernel
        kernel.assign(kernel * (4 / 3))
    assert error(kept, scaled(x, condition).numpy()) < 1e-5
    assert list(shapes) == [step.index for step in blocks]
    assert shapes[blocks[0].index] == (2, 8, 8, 4) and shapes[blocks[1].index] == (2, 4, 4, 4)


def test_a_share_is_dropped():
    network = NCSNpp(**SMALL, dropout=0.25)
    h = network._drop(
        lambda shape: tf.random.stateless_uniform(shape, (1, 2)), tf.ones([50, 10, 20])
    )
    assert set(np.unique(h)) == {np.float32(0), np.float32(1) / np.float32(0.75)}
    assert abs(np.mean(h.numpy() == 0) - 0.25) < 0.02


@pytest.mark.parametrize("cls", [NCSNpp, DDPM])
def test_configuration_round_trip(cls):
    own = {
        NCSNpp: {"features": 4, "progressive": "output_skip", "fir_kernel": (1, 2, 1)},
        DDPM: {"features": 32},
    }[cls]
    settings = {"dropout": 0.1, "sigmas": [3.0, 0.5], "dtype": "mixed_bfloat16", "name": "small"}
    network = cls((8, 12, 2), multipliers=(1, 1), num_res_blocks=1, **own, **settings)
    serialised = keras.saving.serialize_keras_object(network)
    for copy in (
        cls.from_config(network.get_config()),
        keras.saving.deserialize_keras_object(serialised),
    ):
        assert type(copy) is cls and copy.name == "small"
        assert copy.get_config() == network.get_config()
        shapes = [tuple(variable.shape) for variable in copy.trainable_variables]
        assert shapes == [tuple(variable.shape) for variable in network.trainable_variables]
        assert copy.compute_dtype == "bfloat16"


@pytest.mark.parametrize(
    "name",
    [
        "ncsnpp_variant_cat_ddpm",
        pytest.param("ncsnpp_variant_residual_fir_patched", marks=pytest.mark.slow),
    ],
)
def test_checkpoint_restores_before_the_first_call(name, loaded, tmp_path):
    network, vectors = loaded(name)
    path = tf.train.Checkpoint(network=network).write(str(tmp_path / "weights"))
    fresh = type(network).from_config(network.get_config())
    status = tf.train.Checkpoint(network=fresh).read(path)
    status.assert_consumed()
    status.assert_existing_objects_matched()
    arguments = vectors["x"], vectors["time_cond"]
    np.testing.assert_array_equal(fresh(*arguments), network(*arguments))


@pytest.mark.slow
def test_graph_stays_small():
    """Tracing and starting take time in proportion to the nodes: the 62.8 M network's table."""
    network = NCSNpp((32, 32, 3), 4, progressive_input="residual")
    forward = tf.function(network, autograph=False)
    graph = forward.get_concrete_function(
        tf.TensorSpec([2, 32, 32, 3]), tf.TensorSpec([2])
    ).graph.as_graph_def()
    nodes = len(graph.node) + sum(len(fn.node_def) for fn in graph.library.function)
    assert nodes < 4000


def test_the_graph_optimizer_has_nothing_to_say(capfd):
    network = NCSNpp(**SMALL, **DENSE_PATHS, progressive="output_skip")
    forward = tf.function(network, autograph=False)
    forward(tf.zeros([2, 8, 8, 1]), tf.ones([2]))
    assert "failed" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["ncsnpp_variant_cat_ddpm", "ddpm_vp", "ddpmpp_vp"])
def test_reference_names_and_shapes(name, loaded, golden_params):
    """In the order of the reference's modules, which is that of its averaged weights."""
    network, _ = loaded(name)
    expected = {key: value.shape for key, value in golden_params(f"sde/{name}").items()}
    assert reference_shapes(network) == expected
    assert list(reference_shapes(network)) == list(expected)


def test_reference_noise_levels_are_compared(loaded, golden_params):
    network, _ = loaded("ncsnpp_ve_discrete")
    arrays = golden_params("sde/ncsnpp_ve_discrete")
    sigmas = geometric_sigmas(50.0, 0.01, 1000).numpy()
    load_reference_weights(network, {**arrays, "sigmas": sigmas})
    with pytest.raises(ValueError, match="1000 from 25 to 0.005, are not the network's, 1000 fr"):
        load_reference_weights(network, {**arrays, "sigmas": sigmas / 2})
    del arrays["all_modules.3.Dense_0.bias"]
    with pytest.raises(ValueError, match="no parameter 'all_modules.3.Dense_0.bias'"):
        load_reference_weights(network, arrays)
