"""Exports whose weights are stored in half of the bytes: they draw by the rounded weights."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_network import Network
from training_helpers import TinyNetwork

from ncsn_tf.backend.compat import raw_variable
from ncsn_tf.commands import sample
from ncsn_tf.errors import UserError
from ncsn_tf.files import read_arrays
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.serving.export import ConditionalSettings, save_sampler
from ncsn_tf.serving.export_origin import Export
from ncsn_tf.serving.metadata import read_metadata
from ncsn_tf.serving.stored import stored_weights
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.pretrained import pretrained_run
from ncsn_tf.training.checkpoint_choice import latest
from ncsn_tf.training.checkpoints import load_network
from ncsn_tf.training.run_sampler import sampler_of

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Config(
    image_size=8,
    channels=1,
    features=2,
    num_levels=3,
    step_lr=1e-4,
    num_steps_each=2,
    sampling_tile=2,
)
SEEDS = np.arange(3) + 7
IMAGES = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8, 1)
SCORED = {"x": IMAGES.astype(np.float32) / 255, "label": np.array([0, 1, 2], np.int32)}
LARGE = 100_001.0
MOST_BYTES = 8_000_000
C_API = ROOT / "tests" / "c_api.py"


class Half(TinyNetwork):
    """With a weight that is not trained, and that float16 cannot hold."""

    def __init__(self, config):
        super().__init__(config, width=64)
        self.scale = self.add_weight(
            name="scale",
            shape=(),
            initializer=keras.initializers.Constant(LARGE),
            trainable=False,
        )

    def call(self, x, levels):
        sigma = tf.gather(geometric_sigmas(1.0, 0.01, 3), levels)[:, None, None, None]
        drawn = 0.4 * tf.tanh(0.2 * super().call(x, levels)) + 0.5
        return self.scale / LARGE * (drawn - x) / sigma**2


def round_weights(network):
    """Have a network the weights that its export has."""
    for weight in map(raw_variable, network.trainable_variables):
        rounded = weight.numpy().astype(np.float16).astype(np.float32)
        assert weight.shape.num_elements() < 3 or not np.array_equal(rounded, weight.numpy())
        weight.assign(rounded)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(5)
    network = Half(CONFIG)
    for weight in map(raw_variable, network.trainable_variables):
        weight.assign_add(tf.random.stateless_normal(weight.shape, [1, 2], stddev=0.1))
    return network


@pytest.fixture(scope="module")
def exports(network, tmp_path_factory):
    """Folders of half of the bytes, and of the weights that are left, which the network then has.

    And its score of noise before.
    """
    folder, settings = tmp_path_factory.mktemp("exports"), {"conditional": ConditionalSettings()}
    half = save_sampler(network, CONFIG, folder, {}, export_weights="float16", **settings)
    exact = network(SCORED["x"], SCORED["label"]).numpy()
    round_weights(network)
    return half, save_sampler(network, CONFIG, folder, {}, **settings), exact


def ask(folder, tmp_path, calls):
    """{SIGNATURE/OUTPUT: array} of TensorFlow's C API, in a process without our code."""
    arrays = {f"{name}/{key}": value for name, of in calls.items() for key, value in of.items()}
    np.savez(tmp_path / "inputs.npz", **arrays)
    command = [sys.executable, C_API, folder, tmp_path / "inputs.npz", tmp_path / "out.npz"]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=300)
    with np.load(tmp_path / "out.npz") as answers:
        return dict(answers)


def test_the_images_are_those_of_the_rounded_weights(network, exports, tmp_path):
    """Bit for bit, of signatures that read the weights once and of those that do so each time."""
    calls = {
        "sample_uint8": {"seed": SEEDS},
        "score": SCORED,
        "inpaint": {"seed": SEEDS, "image": IMAGES, "mask": IMAGES},
    }
    half, rounded = (ask(folder, tmp_path, calls) for folder in exports[:2])
    for name, value in rounded.items():
        np.testing.assert_array_equal(half[name], value, err_msg=name)
    scale = np.abs(exports[2]).max()
    assert 1e-5 < np.abs(half["score/score"] - exports[2]).max() / scale < 0.01
    images = np.round(sampler_of(network, CONFIG).draw(SEEDS) * 255)
    assert len(np.unique(images)) > 50
    np.testing.assert_array_equal(half["sample_uint8/image"], images)


def test_half_of_the_bytes(network, exports):
    def stored(folder):
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        names = [name for name in reader.get_variable_to_shape_map() if name.startswith("weights/")]
        return [reader.get_tensor(name) for name in names]

    half = stored(exports[0])
    assert sum(value.size for value in half) == network.count_params()
    assert {value.dtype.name for value in half if value.ndim} == {"float16"}
    # What is not trained stays as it is.
    assert [float(value) for value in half if value.dtype == np.float32] == [LARGE]
    assert {value.dtype.name for value in stored(exports[1])} == {"float32"}


def test_an_export_says_how_it_is_stored(exports, capsys):
    for folder, name in zip(exports[:2], ("float16", "float32"), strict=True):
        assert json.loads((folder / "metadata.json").read_text())["stored_in"] == name
        assert read_metadata(folder).stored_in == name
    Export(exports[0])
    assert f"Sampling from {exports[0]}, weights stored in float16" in capsys.readouterr().out


@pytest.mark.slow
def test_a_function_that_is_no_keras_model(tmp_path):
    network = Network()
    config = dataclasses.replace(CONFIG, sampler="cas")
    folder = save_sampler(network, config, tmp_path, {}, export_weights="float16")
    round_weights(network)
    images = np.round(sampler_of(network, config).draw(SEEDS) * 255)
    answer = tf.saved_model.load(str(folder)).signatures["sample_uint8"](seed=tf.constant(SEEDS))
    np.testing.assert_array_equal(answer["image"], images)


def test_a_weight_that_is_too_large_is_refused(tmp_path):
    network = Network()
    raw_variable(network.weights[1]).assign([-1e5])
    message = "^--export_weights=float16 cannot hold a weight of 1e[+]05: the largest is 65504; "
    with pytest.raises(UserError, match=message):
        save_sampler(network, CONFIG, tmp_path, {}, export_weights="float16")
    assert not list(tmp_path.iterdir())
    assert stored_weights(network, "float32") == []


@pytest.mark.parametrize("name", ["mnist", pytest.param("mnist-ncsn", marks=pytest.mark.slow)])
def test_an_export_of_the_zoo(name, tmp_path):
    """It answers in a process without our code what the network of the rounded weights does."""
    run = pretrained_run(name)
    folder = run / "export" / "1"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    about = json.loads((folder / "metadata.json").read_text())
    assert about["stored_in"] == "float16" and about["weights"] == "average"
    assert Config.from_dict(about["config"]).workdir == f"zoo/{run.name}"
    card = (run / "README.md").read_text(encoding="utf-8")
    assert f"--saved_model=zoo/{run.name}/export" in card
    x = np.random.default_rng(0).random([2, 28, 28, 1], np.float32)
    levels = np.array([0, 5], np.int32)
    answer = ask(folder, tmp_path, {"score": {"x": x, "label": levels}})["score/score"]
    network = load_network(latest(run))[0]
    exact = network(x, levels).numpy()
    round_weights(network)
    rounded = network(x, levels).numpy()
    for row in range(2):  # of two levels, whose scores have other sizes
        scale = np.abs(exact[row]).max()
        np.testing.assert_allclose(answer[row], rounded[row], atol=1e-5 * scale)
        assert 1e-5 < np.abs(answer[row] - exact[row]).max() / scale < 0.01


@pytest.mark.slow
def test_the_samples_are_those_of_the_checkpoint_but_for_rounding(tmp_path, monkeypatch, capsys):
    """The command of the card, with fewer evaluations."""
    monkeypatch.setattr(sample, "start_for_sampling", lambda *_: tf.distribute.get_strategy())
    monkeypatch.chdir(tmp_path)
    flags = ["--num_evaluations=5", "--num_samples=8", "--format=npz"]
    place = f"--saved_model={pretrained_run('mnist')}/export"
    sample.main(["sample", place, *flags, "--out=half.npz"])
    assert "weights stored in float16" in capsys.readouterr().out
    sample.main(["sample", "--pretrained=mnist", *flags, "--out=whole.npz"])
    half, whole = (read_arrays(f"{name}.npz")["images"].astype(int) for name in ("half", "whole"))
    assert 0 < np.abs(half - whole).mean() < 1 and whole.max() > 200
