"""Exports of networks that know classes: what they draw, and what requests may say of classes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from labelled_network import NAMES, LabelledNetwork
from tqdm import tqdm

from ncsn_tf.data.images import to_uint8
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.sampling import Sampler
from ncsn_tf.serving import contract, server_origin
from ncsn_tf.serving.conditional_signatures import conditional_functions
from ncsn_tf.serving.export import save_sampler
from ncsn_tf.serving.export_origin import Export
from ncsn_tf.serving.server_origin import Server
from ncsn_tf.settings.config import Config
from ncsn_tf.training.run_sampler import chain_of

CONFIG = Config(
    dataset="digits",
    image_size=8,
    channels=1,
    class_conditional=True,
    class_names=NAMES,
    num_levels=3,
    step_lr=1e-3,
    num_steps_each=2,
    sampling_tile=2,
)
SEEDS = np.arange(5)
C_API = Path(__file__).resolve().parents[1] / "c_api.py"


@pytest.fixture(scope="module")
def network():
    return LabelledNetwork()


@pytest.fixture(scope="module")
def export(network, tmp_path_factory):
    """The folder of an export."""
    return save_sampler(network, CONFIG, tmp_path_factory.mktemp("export"), {})


@pytest.fixture(scope="module")
def local(network):
    """(seeds, labels, guidance) -> the images of the checkpoint's sampler, uint8."""
    one = Sampler(network, chain_of(CONFIG), (8, 8, 1), step_lr=1e-3, num_steps_each=2, tile=2)
    return lambda *given: to_uint8(one.draw(given[0], labels=given[1], guidance=given[2]))


def drawn(origin):
    parts = list(origin.images(SEEDS, tqdm(disable=True)))
    order = np.argsort(np.concatenate([seeds for seeds, _ in parts]))
    return np.concatenate([pictures for _, pictures in parts])[order]


def test_an_export_draws_what_its_checkpoint_draws(export, local, capsys):
    assert json.loads((export / "metadata.json").read_text())["class_names"] == [*NAMES]
    origin = Export(export, label="dog,cat", guidance=1.5)
    assert "Drawing classes dog, cat, guidance 1.5" in capsys.readouterr().out
    np.testing.assert_array_equal(drawn(origin), local(SEEDS, [1, 0, 1, 0, 1], 1.5))
    assert origin.about() != Export(export).about()
    assert "without a class: --label names one of 3, or each" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--label=dgo is no class of this export, .*mean dog?"):
        Export(export, label="dgo")


@pytest.mark.slow
def test_the_loader_of_the_server_draws_classes(export, local, tmp_path):
    """TensorFlow's C API in a process without Python's TensorFlow, XLA disabled."""
    labels, guidance = np.array([2, 1, 0, 3, 2], np.int32), np.float32([1.5, 1, 0, 1, 1.5])
    inputs = {
        "seed": SEEDS.astype(np.int64),
        "class_label": labels,
        "guidance": guidance,
        "steps_per_level": np.zeros(5, np.int32),
        "step_lr": np.zeros(5, np.float32),
    }
    inputs = {f"{contract.OF_CLASSES}/{name}": value for name, value in inputs.items()}
    np.savez(tmp_path / "in.npz", **inputs)
    command = [sys.executable, C_API, export, tmp_path / "in.npz", tmp_path / "out.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as answer:
        images = answer[f"{contract.OF_CLASSES}/image"]
        assert answer[f"{contract.OF_CLASSES}/class_label"].tolist() == labels.tolist()
    for weight in np.unique(guidance):
        rows = np.flatnonzero(guidance == weight)
        expected = local(SEEDS[rows], labels[rows], float(weight))
        np.testing.assert_array_equal(images[rows], expected)
    assert len(np.unique(images.reshape(5, -1), axis=0)) == 5


def test_no_value_of_a_request_fails(export, local):
    signatures = tf.saved_model.load(str(export)).signatures
    answer = signatures[contract.OF_CLASSES](
        seed=tf.constant(SEEDS),
        steps_per_level=tf.zeros([5], tf.int32),
        step_lr=tf.zeros([5]),
        class_label=tf.constant([-1, 3, 2**31 - 1, 2, 1]),
        guidance=tf.constant([2.0, 0.5, 1.0, np.nan, -1.0]),
    )
    assert answer["class_label"].numpy().tolist() == [3, 3, 3, 2, 1]
    np.testing.assert_array_equal(answer["image"], local(SEEDS, [3, 3, 3, 2, 1], 1.0))


class Served:
    """A transport to an export that is loaded here."""

    pixels_signature, pixels_output, settings_output = contract.PNG, "image_bytes", "image_bytes"
    bytes_per_value = {contract.PNG: 2, contract.SETTINGS: 96}
    address, deadline = "here", 1.0

    def __init__(self, folder):
        self.model = tf.saved_model.load(str(folder))

    def status(self):
        return {1: type("Version", (), {"state": "AVAILABLE"})}

    def signatures(self, version):
        sizes = contract.image_sizes((8, 8, 1))
        present = [name for name in self.model.signatures if name in contract.ALL]
        return {
            name: contract.Signature(
                *(
                    {key: tensor.sized(sizes) for key, tensor in side.items()}
                    for side in (contract.ALL[name].inputs, contract.ALL[name].outputs)
                )
            )
            for name in present
        }

    def predict(self, version, signature, inputs, outputs):
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        answer = self.model.signatures[signature](**tensors)
        return {name: answer[name].numpy() for name in outputs}

    def close(self):
        pass


def test_a_server_tells_its_classes(export, local, monkeypatch):
    served = Served(export)
    monkeypatch.setattr(server_origin, "open_transport", lambda *_: served)
    origin = Server("host:1", label="each", guidance=0.0, batch_size=2)
    assert origin.labels.class_names == NAMES
    np.testing.assert_array_equal(drawn(origin), local(SEEDS, SEEDS % 3, 0.0))
    with pytest.raises(ConfigError, match="--label=7 is no class of ncsn at host:1, which has 3: "):
        Server("host:1", label="7")
    del served.model.signatures._signatures[contract.OF_CLASSES]
    with pytest.raises(UserError, match="sample_of_classes: its network knows no classes"):
        Server("host:1", label="cat")


@pytest.mark.slow
def test_conditional_signatures_take_classes(network):
    functions = conditional_functions(network, CONFIG)
    names = [spec.name for spec in functions["inpaint"].input_signature]
    assert names == ["seed", "image", "mask", "class_label", "guidance"]
    pixels = tf.zeros([2, 8, 8, 1], tf.uint8)
    answer = functions["inpaint"](
        tf.constant([5, 5], tf.int64), pixels, pixels + 255, tf.constant([0, 1]), tf.ones([2])
    )
    assert not np.array_equal(answer["image"][0], answer["image"][1])
