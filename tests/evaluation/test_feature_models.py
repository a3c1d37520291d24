"""Feature networks by path: .keras files and SavedModels, and what is refused."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.errors import UserError
from ncsn_tf.evaluation.features import is_inception, open_features

PIXELS = np.random.RandomState(0).randint(0, 256, (9, 8, 8, 1), np.uint8)


def classifier(activation, dtype="float32", side=8):
    layers = keras.layers
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            layers.Input((side, side, 1), dtype=dtype),
            layers.Rescaling(2.0, dtype="float32"),
            layers.Conv2D(3, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
            layers.Dense(4),
            layers.Activation(activation),
        ]
    )


def expected(model, images):
    """(features, probabilities) of a classifier, layer by layer."""
    x = tf.constant(images, tf.float32)
    for layer in model.layers[:-2]:
        x = layer(x)
    return x, tf.nn.softmax(model.layers[-2](x))


@pytest.mark.parametrize(
    ("activation", "dtype", "scale"), [("softmax", "uint8", 1), ("linear", "float32", 1 / 255)]
)
def test_keras_file(activation, dtype, scale, tmp_path):
    model = classifier(activation, dtype)
    model.save(tmp_path / "my net.keras")
    network = open_features(str(tmp_path / "my net.keras"))
    assert (network.name, network.dimension, network.num_classes) == ("my_net", 5, 4)
    assert network.resize == "bilinear with antialiasing to 8x8"
    assert not is_inception(network)
    assert len(network.checksum) == 16
    found = network(PIXELS)
    for values, wanted in zip(found, expected(model, PIXELS * scale), strict=True):
        np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-6)
    # Other sizes are resized, colours become grey.
    assert network(np.zeros([2, 20, 12, 3], np.uint8)).vectors.shape == (2, 5)


def test_keras_file_with_a_program_is_refused(tmp_path):
    layers = [
        keras.layers.Input((8, 8, 1)),
        keras.layers.Lambda(lambda x: x),
        keras.layers.Dense(2),
    ]
    path = tmp_path / "lambda.keras"
    keras.Sequential(layers).save(path)
    with pytest.raises(
        UserError, match="holds Lambda.*: only layers of Keras itself are read"
    ) as error:
        open_features(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("keras.utils", "get_file"), ("mine", "Dense")]
)
def test_keras_file_that_names_other_code_is_refused(module, name, tmp_path):
    path = tmp_path / "model.keras"
    classifier("softmax").save(path)
    with zipfile.ZipFile(path) as archive:
        members = {each: archive.read(each) for each in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"][1] |= {"module": module, "class_name": name}
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in members.items():
            archive.writestr(each, content)
    with pytest.raises(UserError, match=f"holds {name} of {module}"):
        open_features(str(path))


def test_damaged_and_foreign_files_are_one_line(tmp_path):
    path = tmp_path / "model.keras"
    with pytest.raises(UserError, match="cannot be read: No such file"):
        open_features(str(path))
    path.write_text("no zip")
    with pytest.raises(UserError, match="is not a .keras file"):
        open_features(str(path))
    classifier("softmax").save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="is not a .keras file"):
        open_features(str(path))
    keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(2)]).save(path)
    with pytest.raises(UserError, match="a feature network takes images"):
        open_features(str(path))
    inner = classifier("softmax")
    keras.Sequential([keras.layers.Input((8, 8, 1)), inner]).save(path)
    with pytest.raises(UserError, match="ends with a model inside the model"):
        open_features(str(path))


class Exported(tf.Module):
    """A SavedModel whose features are the means of blocks."""

    def __init__(self, names, dtype):
        super().__init__()
        self.scale = tf.Variable(2.0)
        spec = tf.TensorSpec([None, None, None, 3], dtype, name="images")

        @tf.function(input_signature=[spec])
        def answer(images):
            vectors = self.scale * tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])
            both = {"features": vectors, "probabilities": tf.nn.softmax(vectors)}
            return {name: both[name.removeprefix("other_")] for name in names}

        self.answer = answer


def save(folder, names, dtype=tf.float32):
    module = Exported(names, dtype)
    tf.saved_model.save(module, folder, {"serving_default": module.answer})
    return str(folder)


def test_saved_model(tmp_path):
    both = open_features(save(tmp_path / "net[1]", ["features", "probabilities"]))
    assert (both.name, both.dimension, both.num_classes, both.resize) == ("net_1_", 3, 3, "none")
    found = both(PIXELS)
    np.testing.assert_allclose(
        found.vectors, np.repeat(PIXELS.mean((1, 2)), 3, 1) / 127.5, rtol=1e-5
    )
    np.testing.assert_allclose(found.probabilities.sum(1), 1.0, rtol=1e-5)
    bytes_alone = open_features(save(tmp_path / "bytes", ["features"], tf.uint8))
    assert bytes_alone.num_classes == 0
    assert bytes_alone(PIXELS).probabilities is None
    np.testing.assert_allclose(bytes_alone(PIXELS).vectors, found.vectors * 255, rtol=1e-5)
    assert bytes_alone.checksum != both.checksum


def test_other_saved_models_are_one_line(tmp_path):
    folder = save(tmp_path / "net", ["other_features"])
    with pytest.raises(UserError, match="not a signature serving_default with one input"):
        open_features(folder)
    (tmp_path / "net" / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(UserError, match="is not a SavedModel"):
        open_features(folder)
