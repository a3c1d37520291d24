"""The network against the reference's numbers; sizes, checkpoints, precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from ncsn_tf.backend.choices import DEPTHS
from ncsn_tf.backend.compat import raw_variables
from ncsn_tf.models.networks import NCSN, NCSNv2
from ncsn_tf.models.refinenet import STAGES, size_multiple
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.training.state import FlatWeights

GOLDEN = [
    *("ncsn_cifar10_ngf8", "ncsn_mnist_ngf8"),
    *("ncsnv2_32px_ngf8", "ncsnv2_deeper_64px_ngf4", "ncsnv2_deepest_64px_ngf4"),
]
SIGMAS = (2.0, 0.5, 0.1)


@pytest.mark.parametrize("name", GOLDEN)
def test_score_is_that_of_the_reference(golden, golden_network, name):
    vectors = golden(name)
    score = golden_network(name)(vectors["x"], vectors["labels"]).numpy()
    assert score.dtype == np.float32
    expected = vectors["score"]
    # Image by image: NCSNv2's scores at the small noise levels are thousands of times the others.
    for one, expected_one in zip(score, expected, strict=True):
        assert np.abs(one - expected_one).max() < 1e-5 * np.abs(expected_one).max()


@pytest.mark.parametrize(
    "image_shape, features, parameters",
    [((32, 32, 3), 128, 30_117_635), ((28, 28, 1), 64, 7_638_657)],
    ids=["cifar10", "mnist"],
)
def test_number_of_parameters(image_shape, features, parameters):
    network = NCSN(image_shape, features, num_levels=10)
    assert network.count_params() == parameters
    assert len(network.trainable_variables) <= 173
    assert network.non_trainable_variables == []


@pytest.mark.parametrize(
    "depth, parameters",
    [("base", 29_694_083), ("deeper", 83_445_379), ("deepest", 94_132_611)],
)
def test_number_of_parameters_of_the_second_generation(depth, parameters):
    network = NCSNv2((32, 32, 3), 128, SIGMAS, depth)
    assert network.count_params() == parameters
    assert network.non_trainable_variables == []


@pytest.mark.parametrize(
    "image_shape, features, num_levels, message",
    [
        ((31, 32, 3), 8, 10, "even and at least 4, not 31 x 32"),
        ((32, 30 + 1, 3), 8, 10, "even and at least 4, not 32 x 31"),
        ((2, 32, 3), 8, 10, "even and at least 4, not 2 x 32"),
        ((32, 32, 0), 8, 10, "not 8, 10, 0"),
        ((32, 32, 3), 1, 10, "features must be at least 2.*not 1, 10, 3"),
        ((32, 32, 3), 8, 0, "num_levels and channels at least 1, not 8, 0, 3"),
    ],
)
def test_impossible_sizes(image_shape, features, num_levels, message):
    with pytest.raises(ValueError, match=message):
        NCSN(image_shape, features, num_levels)


@pytest.mark.parametrize(
    "size, sigmas, depth, message",
    [
        (34, SIGMAS, "deeper", "multiples of 4 and at least 8, not 34 x 34"),
        (4, SIGMAS, "deeper", "multiples of 4 and at least 8, not 4 x 4"),
        (36, SIGMAS, "deepest", "multiples of 8 and at least 16, not 36 x 36"),
        (33, SIGMAS, "base", "even and at least 4, not 33 x 33"),
        (32, SIGMAS, "deep", "depth must be one of base, deeper, deepest, not 'deep'"),
        (32, (1.0, 0.0), "base", "sigmas must be a vector of positive noise levels"),
        (32, (1.0, np.inf), "base", "sigmas must be a vector of positive noise levels"),
        (32, 1.0, "base", "sigmas must be a vector of positive noise levels"),
        (32, (), "base", "num_levels and channels at least 1, not 8, 0, 3"),
    ],
)
def test_what_the_second_generation_cannot_have(size, sigmas, depth, message):
    with pytest.raises(ValueError, match=message):
        NCSNv2((size, size, 3), 8, sigmas, depth)


def test_the_settings_know_the_depths():
    assert {depth: size_multiple(depth) for depth in STAGES} == DEPTHS


@pytest.mark.parametrize("depth", STAGES)
def test_smallest_sizes_of_the_second_generation(depth):
    multiple = size_multiple(depth)
    network = NCSNv2((2 * multiple, 3 * multiple, 1), 2, SIGMAS, depth)
    score = network(tf.zeros([2, 2 * multiple, 3 * multiple, 1]), tf.zeros([2], tf.int32))
    assert score.shape == (2, 2 * multiple, 3 * multiple, 1)
    assert np.isfinite(score).all()


@pytest.mark.parametrize("depth", [None, pytest.param("deepest", marks=pytest.mark.slow)])
def test_a_turned_network_gives_turned_scores(depth):
    """Height and width change places, and so do those of the kernels."""

    def build(height, width):
        shape = (height, width, 1)
        return NCSNv2(shape, 2, SIGMAS, depth) if depth else NCSN(shape, 2, num_levels=3)

    height, width = (16, 24) if depth else (8, 12)
    network, turned = build(height, width), build(width, height)
    rng = np.random.default_rng(0)
    weights = [0.3 * rng.normal(size=w.shape).astype(np.float32) for w in network.get_weights()]
    network.set_weights(weights)
    turned.set_weights([w.swapaxes(0, 1) if w.ndim == 4 else w for w in weights])
    x = rng.random((2, height, width, 1), np.float32)
    levels = np.array([0, 2], np.int32)
    score = network(x, levels).numpy()
    np.testing.assert_allclose(
        turned(x.swapaxes(1, 2), levels).numpy().swapaxes(1, 2),
        score,
        rtol=0,
        atol=1e-4 * np.abs(score).max(),
    )
    assert np.abs(score).max() > 0.1


def test_the_score_is_the_output_over_the_noise_level(golden, golden_network):
    """Nothing else of NCSNv2 knows the level, and its noise levels are no weights."""
    vectors, network = golden("ncsnv2_32px_ngf8"), golden_network("ncsnv2_32px_ngf8")
    x = np.repeat(vectors["x"][:1], 3, axis=0)
    levels = np.array([0, 100, 231], np.int32)
    scaled = network(x, levels).numpy() * vectors["sigmas"][levels][:, None, None, None]
    np.testing.assert_allclose(scaled[1:], scaled[[0, 0]], rtol=0, atol=1e-5 * np.abs(scaled).max())
    np.testing.assert_allclose(network.sigmas, geometric_sigmas(50.0, 0.01, 232), rtol=2e-7)
    assert all("sigma" not in weight.name for weight in network.weights)


def test_the_second_generation_trains_all_of_its_weights():
    network = NCSNv2((8, 8, 1), 2, SIGMAS, "deeper")
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(network(x, tf.constant([0, 1, 2, 2]))))
    gradients = tape.gradient(loss, raw_variables(network))
    assert all(np.abs(tf.convert_to_tensor(gradient)).max() > 0 for gradient in gradients)


def weights_of(network):
    flat = FlatWeights(network)
    flat.copy_from(network)
    return flat.vector.numpy()


def test_smallest_sizes():
    network = NCSN((4, 6, 1), features=2, num_levels=1)
    score = network(tf.zeros([3, 4, 6, 1]), tf.zeros([3], tf.int32))
    assert score.shape == (3, 4, 6, 1)
    assert np.isfinite(score).all()


@pytest.mark.parametrize("name", ["ncsn_mnist_ngf8", "ncsnv2_deepest_64px_ngf4"])
def test_checkpoint_restores_before_the_first_call(name, golden, golden_network, tmp_path):
    network = golden_network(name)
    path = tf.train.Checkpoint(network=network).write(str(tmp_path / "weights"))
    fresh = type(network).from_config(network.get_config())
    assert np.any(weights_of(fresh) != weights_of(network))
    status = tf.train.Checkpoint(network=fresh).read(path)
    status.assert_consumed()
    status.assert_existing_objects_matched()
    np.testing.assert_array_equal(weights_of(fresh), weights_of(network))
    vectors = golden(name)
    arguments = vectors["x"], vectors["labels"]
    np.testing.assert_array_equal(fresh(*arguments), network(*arguments))


@pytest.mark.parametrize(
    "cls, options",
    [(NCSN, {"num_levels": 5}), (NCSNv2, {"sigmas": (3.0, 0.1), "depth": "deeper"})],
)
def test_configuration_round_trip(cls, options):
    network = cls((8, 12, 2), features=3, name="small", dtype="mixed_bfloat16", **options)
    serialised = keras.saving.serialize_keras_object(network)
    for copy in (
        cls.from_config(network.get_config()),
        keras.saving.deserialize_keras_object(serialised),
    ):
        assert type(copy) is cls
        assert copy.name == "small"
        assert copy.image_shape == (8, 12, 2)
        assert copy.get_config() == network.get_config()
        shapes = [tuple(variable.shape) for variable in copy.trainable_variables]
        assert shapes == [tuple(variable.shape) for variable in network.trainable_variables]
        assert copy.compute_dtype == "bfloat16"


def test_mixed_precision_answers_in_float32(golden, golden_network):
    vectors = golden("ncsn_mnist_ngf8")
    network = NCSN((28, 28, 1), features=8, num_levels=10, dtype="mixed_bfloat16")
    assert all(tf.as_dtype(weight.dtype) == tf.float32 for weight in network.weights)
    network.set_weights(golden_network("ncsn_mnist_ngf8").get_weights())
    score = network(vectors["x"], vectors["labels"])
    assert score.dtype == tf.float32
    expected = vectors["score"]
    error = np.abs(score - expected).max() / np.abs(expected).max()
    assert 1e-4 < error < 0.05  # the lower bound: it did compute in bfloat16


def test_mixed_precision_divides_in_float32(golden, golden_network):
    vectors = golden("ncsnv2_32px_ngf8")
    network = NCSNv2((32, 32, 3), 8, vectors["sigmas"], dtype="mixed_bfloat16")
    network.set_weights(golden_network("ncsnv2_32px_ngf8").get_weights())
    score, expected = network(vectors["x"], vectors["labels"]), vectors["score"]
    assert score.dtype == tf.float32
    error = np.abs(score - expected).max((1, 2, 3)) / np.abs(expected).max((1, 2, 3))
    assert np.all((error > 1e-4) & (error < 0.1))


def test_the_graph_optimizer_has_nothing_to_say(capfd):
    """Without `functional.barrier` it fails on NCSNv2, with an error on every start."""
    network = NCSNv2((16, 16, 1), 8, SIGMAS)
    forward = tf.function(network, autograph=False)
    forward(tf.zeros([2, 16, 16, 1]), tf.zeros([2], tf.int32))
    assert "failed" not in capfd.readouterr().err


@pytest.mark.parametrize("kind", [NCSN, NCSNv2])
def test_no_kernel_adds_to_a_convolution(kind):
    """TensorFlow's kernel of a convolution with bias and sum keeps the addend in the kernel itself:
    two tiles that are computed at once would crash it, or swap their addends."""
    network = kind((16, 16, 1), 8, 3 if kind is NCSN else SIGMAS)
    forward = tf.function(network, autograph=False).get_concrete_function(
        tf.TensorSpec([2, 16, 16, 1]), tf.TensorSpec([2], tf.int32)
    )
    frozen = convert_variables_to_constants_v2(forward)
    options = tf.compat.v1.RunOptions(output_partition_graphs=True)
    metadata = tf.compat.v1.RunMetadata()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        names = [tensor.name for tensor in (*frozen.inputs, *frozen.outputs)]
        x, levels, score = tf.import_graph_def(frozen.graph.as_graph_def(), return_elements=names)
        feeds = {x: np.ones([2, 16, 16, 1]), levels: [0, 1]}
        session.run(score, feeds, options=options, run_metadata=metadata)
    nodes = [node for graph in metadata.partition_graphs for node in graph.node]
    assert sum("Conv2D" in node.op for node in nodes) > 40
    fused = [node.attr["fused_ops"].list.s for node in nodes if "FusedConv2D" in node.op]
    assert fused and not [ops for ops in fused if b"Add" in ops]


def test_graph_stays_small(golden_network):
    """Tracing and starting take time in proportion to the nodes."""
    forward = tf.function(golden_network("ncsn_cifar10_ngf8"), autograph=False)
    graph = forward.get_concrete_function(
        tf.TensorSpec([2, 32, 32, 3]), tf.TensorSpec([2], tf.int32)
    ).graph.as_graph_def()
    nodes = len(graph.node) + sum(len(fn.node_def) for fn in graph.library.function)
    assert nodes < 4000


@pytest.mark.parametrize("kind", [pytest.param(NCSN, marks=pytest.mark.slow), NCSNv2])
def test_recomputed_gradients_are_the_same_and_keep_less(kind):
    """The forward pass stands in the graph twice, and the gradients agree to rounding."""
    noise = 3 if kind is NCSN else [1.0, 0.5, 0.1]
    plain, recomputed = (kind((8, 8, 1), 8, noise, recompute=on) for on in (False, True))
    recomputed.set_weights(plain.get_weights())
    assert recomputed.get_config()["recompute"]
    x = tf.random.stateless_uniform([2, 8, 8, 1], (1, 2))
    levels = tf.constant([0, 2])

    def gradients(network):
        @tf.function(autograph=False)
        def run(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.square(network(x, levels)))
            return tape.gradient(loss, raw_variables(network))

        graph = run.get_concrete_function(x).graph.as_graph_def()
        nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
        return run(x), sum(node.op == "Conv2D" for node in nodes)

    (expected, once), (values, twice) = gradients(plain), gradients(recomputed)
    assert twice > 1.9 * once
    flat, other = (np.concatenate([np.ravel(v) for v in part]) for part in (values, expected))
    assert np.linalg.norm(flat - other) < 1e-4 * np.linalg.norm(other)
