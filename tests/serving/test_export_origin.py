"""Images from exported SavedModels, and folders that hold none."""

import json

import numpy as np
import pytest
import serving_server
import tensorflow as tf
from tqdm import tqdm

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.serving.export_origin import Export
from ncsn_tf.serving.metadata import Metadata, read_metadata


class OtherModel(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": x + 1}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A folder of folders: two versions of a sampler, and models of other kinds."""
    folder = tmp_path_factory.mktemp("exports")
    module, other = serving_server.StandIn(), OtherModel()
    serving_server.save_stand_in(folder / "sampler/10")
    (folder / "sampler/10/metadata.json").write_text('{"max_steps_each": 9}')
    serving_server.save_stand_in(folder / "sampler/9")
    for name, signatures in [
        ("other signature", {"predict": module.sample_uint8}),
        ("other inputs", {"sample_uint8": other.__call__}),
    ]:
        tf.saved_model.save(other if "inputs" in name else module, str(folder / name), signatures)
    (folder / "damaged").mkdir()
    (folder / "damaged" / "saved_model.pb").write_bytes(b"not a model")
    (folder / "empty").mkdir()
    return folder


def images_of(origin, seeds):
    """All images of an origin, in the order of the seeds."""
    parts = list(origin.images(np.asarray(seeds), tqdm(disable=True)))
    np.testing.assert_array_equal(np.concatenate([batch for batch, _ in parts]), seeds)
    return np.concatenate([pictures for _, pictures in parts])


@pytest.mark.parametrize("name, version", [("sampler", "10"), ("sampler/9", "9")])
def test_an_export_is_drawn_from_by_version_or_the_newest(name, version, exports, capsys):
    origin = Export(exports / name, batch_size=2)
    expected = serving_server.stand_in_images([-2, -1, 0])
    np.testing.assert_array_equal(images_of(origin, [-2, -1, 0]), expected)
    assert (origin.unit, origin.amount(3), origin.inputs) == ("piece", 2, None)
    assert capsys.readouterr().out == f"Sampling from {exports / 'sampler' / version}\n"


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"num_steps_each": 4}, {"steps": 4}),
        ({"step_lr": 0.25}, {"step_lr": 0.25}),
        ({"num_steps_each": 9, "step_lr": 0.75}, {"steps": 9, "step_lr": 0.75}),
    ],
)
def test_an_export_takes_settings(settings, expected, exports):
    images = images_of(Export(exports / "sampler", **settings), [0, 1, 2])
    np.testing.assert_array_equal(images, serving_server.stand_in_images([0, 1, 2], **expected))


def test_more_steps_than_an_export_takes(exports):
    folder = exports / "sampler"
    with pytest.raises(ConfigError) as error:
        Export(folder, num_steps_each=10)
    assert str(error.value) == f"--num_steps_each=10 is more than the 9 that {folder / '10'} takes"
    Export(folder / "9", num_steps_each=10)  # which names no cap


@pytest.mark.parametrize(
    "name",
    ["empty", "damaged", "other signature", "other inputs", "absent", "damaged/saved_model.pb"],
)
def test_not_an_export(name, exports):
    with pytest.raises(UserError) as error:
        Export(exports / name)
    assert str(exports / name) in str(error.value)
    assert "\n" not in str(error.value)


class Weighted(tf.Module):
    """A sampler of black images, with weights."""

    def __init__(self):
        self.weights = tf.Variable(tf.zeros([1000]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="seed")])
    def sample_uint8(self, seed):
        value = tf.cast(tf.reduce_sum(self.weights), tf.uint8)
        return {"image": tf.fill([tf.size(seed), 2, 2, 1], value)}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("name", ["variables.data-00000-of-00001", "variables.index"])
def test_an_export_whose_weights_are_cut(name, share, tmp_path):
    module = Weighted()
    tf.saved_model.save(module, str(tmp_path), {"sample_uint8": module.sample_uint8})
    path = tmp_path / "variables" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=f"{tmp_path} is not an exported sampler: "):
        Export(tmp_path)


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"max_steps_each": "x"}', "max_steps_each must be a whole number above 0, not 'x'"),
        ('{"max_steps_each": 0}', "max_steps_each must be a whole number above 0, not 0"),
        ('{"max_steps_each": true}', "max_steps_each must be a whole number above 0, not True"),
        ('{"interface": 99}', "was exported by a later version: its interface is number 99"),
        ("[1]", "cannot be read: it is not a JSON object"),
        ("[" * 100_000, "cannot be read"),
        ("", "cannot be read"),
        ("\udcff", "cannot be read"),
    ],
)
def test_metadata_that_cannot_be(text, message, tmp_path):
    (tmp_path / "metadata.json").write_text(text, errors="surrogateescape")
    with pytest.raises(UserError) as error:
        Export(tmp_path)
    assert message in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize("config", [None, 3, {"features": -1}, {"unknown": 1}])
def test_metadata_of_other_settings_are_left_aside(config, tmp_path):
    (tmp_path / "metadata.json").write_text(json.dumps({"config": config, "max_steps_each": 9}))
    assert read_metadata(tmp_path) == Metadata(max_steps_each=9)
