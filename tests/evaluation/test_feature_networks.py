"""What every feature network does, how one is opened, and the graph of 2015 in small."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.evaluation.features import (
    NETWORKS,
    FeatureNetwork,
    inception,
    is_inception,
    open_features,
)

PIXELS = np.random.RandomState(0).randint(0, 256, (5, 12, 10, 3), np.uint8)
DIMENSION, CLASSES = 6, 4


def means(tile=2, channels=3):
    """Its features are mean colours; its answers are equally likely."""

    def compute(pixels):
        assert len(pixels) == tile
        vectors = pixels.mean((1, 2), dtype=np.float32)
        return vectors, np.full([tile, 2], 0.5, np.float32)

    return FeatureNetwork(
        compute,
        name="Means",
        checksum="0" * 16,
        resize="none",
        dimension=channels,
        num_classes=2,
        channels=channels,
        tile=tile,
    )


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_any_number_of_images_passes_in_tiles(count):
    found = means()(PIXELS[:count])
    np.testing.assert_allclose(found.vectors, PIXELS[:count].mean((1, 2)), rtol=1e-6)
    assert found.vectors.dtype == np.float32
    assert found.vectors.shape == (count, 3)
    assert found.probabilities.shape == (count, 2)


def test_grey_is_three_colours_and_colour_one_grey():
    grey = PIXELS[..., :1]
    np.testing.assert_array_equal(
        means()(grey).vectors, means()(np.repeat(grey, 3, axis=3)).vectors
    )
    luma = means(channels=1)(np.broadcast_to(np.uint8([255, 0, 0]), (1, 4, 4, 3)))
    np.testing.assert_array_equal(luma.vectors, [[76.0]])


@pytest.mark.parametrize(
    "pixels", [PIXELS / 255.0, PIXELS[0], PIXELS[..., :2], PIXELS.astype(np.int32)]
)
def test_other_images_are_refused(pixels):
    with pytest.raises(ValueError, match="images must be uint8"):
        means()(pixels)


def test_unknown_names():
    assert list(NETWORKS) == ["inception", "efficientnet-lite0", "train"]
    with pytest.raises(ConfigError, match="did you mean inception"):
        open_features("inceptoin")
    with pytest.raises(ConfigError, match="path of a .keras file or a SavedModel$"):
        open_features("/nowhere/at/all")
    with pytest.raises(ConfigError, match="needs a run"):
        open_features("train")


@pytest.fixture(scope="module")
def frozen():
    """A frozen graph with the names of that of 2015, for one image as there: 9 x 9, 6 features."""
    rng = np.random.RandomState(1)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        v1 = tf.compat.v1
        contents = tf.constant(tf.io.encode_png(PIXELS[0]).eval(), name="DecodeJpeg/contents")
        image = tf.io.decode_png(contents, 3, name="DecodeJpeg")
        image = tf.expand_dims(tf.cast(image, tf.float32, name="Cast"), 0, name="ExpandDims")
        image = v1.image.resize_bilinear(image, [9, 9], name="ResizeBilinear")
        image = tf.multiply(tf.subtract(image, 128.0, name="Sub"), 1 / 128, name="Mul")
        kernel = tf.constant(rng.normal(size=(3, 3, 3, DIMENSION)), tf.float32)
        h = tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "VALID"))
        pool = tf.nn.avg_pool2d(h, 7, 1, "VALID", name="pool_3")
        flat = tf.reshape(pool, [1, DIMENSION], name="pool_3/_reshape")
        weights = tf.constant(rng.normal(size=(DIMENSION, CLASSES)), tf.float32)
        logits = tf.matmul(flat, weights, name="softmax/logits/MatMul")
        logits = v1.nn.bias_add(logits, tf.range(float(CLASSES)), name="softmax/logits")
        tf.nn.softmax(logits, name="softmax")
        one = session.run([pool, flat @ weights])
        return graph.as_graph_def(add_shapes=True).SerializeToString(), one


@pytest.fixture
def graph_file(frozen, tmp_path, monkeypatch):
    """A file of it, which stands for the original."""
    path = tmp_path / "graph.pb"
    path.write_bytes(frozen[0])
    monkeypatch.setattr(inception, "SIZE", len(frozen[0]))
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(frozen[0]).hexdigest())
    return path


def test_graph_of_2015_takes_batches(frozen, graph_file):
    network = open_features("inception", inception=str(graph_file))
    assert is_inception(network)
    assert not is_inception(means())
    assert (network.name, network.dimension, network.num_classes) == ("Inception2015", 6, 4)
    assert network.checksum == hashlib.sha256(frozen[0]).hexdigest()[:16]
    pool, logits = frozen[1]
    found = network(np.concatenate([PIXELS, PIXELS, PIXELS]))
    np.testing.assert_allclose(found.vectors[0], pool.ravel(), rtol=1e-5)
    np.testing.assert_allclose(found.vectors[10], pool.ravel(), rtol=1e-5)
    # Without the bias.
    expected = np.exp(logits[0] - logits.max())
    np.testing.assert_allclose(found.probabilities[0], expected / expected.sum(), rtol=1e-4)
    single = [network(image[None]).vectors[0] for image in PIXELS]
    np.testing.assert_allclose(found.vectors[:5], single, rtol=1e-5)
    assert network(PIXELS[:, :, :, :1]).vectors.shape == (5, 6)


def test_graph_in_its_place_in_the_cache(graph_file, tmp_path):
    place = tmp_path / "inception" / "classify_image_graph_def.pb"
    place.parent.mkdir()
    graph_file.rename(place)
    assert open_features("inception", cache_dir=str(tmp_path)).dimension == 6


def test_no_graph_is_one_line_that_says_what_to_get(tmp_path):
    with pytest.raises(UserError) as error:
        open_features("inception", cache_dir=str(tmp_path))
    line = str(error.value)
    for part in (inception.ARCHIVE, str(tmp_path / "inception" / inception.FILE), "--inception"):
        assert part in line
    with pytest.raises(UserError, match=r"nowhere\.pb is not a file"):
        open_features("inception", inception=str(tmp_path / "nowhere.pb"))


def test_damaged_graphs_are_one_line(graph_file):
    content = graph_file.read_bytes()
    graph_file.write_bytes(content[:-100])
    with pytest.raises(UserError, match="has [0-9,]+ bytes: it is not, or not all of"):
        open_features("inception", inception=str(graph_file))
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    graph_file.write_bytes(damaged)
    with pytest.raises(UserError, match="damaged, or not .*: its sha256 is"):
        open_features("inception", inception=str(graph_file))


def test_the_original_is_known_by_its_checksum():
    assert len(inception.SHA256) == 64
    assert inception.SIZE == 95_673_916
