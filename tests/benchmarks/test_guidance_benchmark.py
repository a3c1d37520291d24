"""The table of guidance: a classifier's verdict on images of classes, by a run that is there."""

import dataclasses
import types

import numpy as np
import pytest

from benchmarks import guidance
from benchmarks.guidance import BenchmarkOptions, table, weights
from ncsn_tf.data.source import from_arrays
from ncsn_tf.errors import ConfigError
from ncsn_tf.evaluation import features
from ncsn_tf.evaluation.features import FeatureNetwork
from ncsn_tf.settings.config import Config
from ncsn_tf.training import checkpoints, run_data

CONFIG = Config(
    dataset="digits",
    image_size=8,
    channels=1,
    class_conditional=True,
    class_names=tuple("0123456789"),
)


@pytest.fixture
def run(monkeypatch):
    """A run whose images are white where the weight is large enough for their class."""

    def drawn(network, config, labels, seeds):
        classes = labels.of(seeds) if labels.guidance > 1 else np.zeros(len(seeds), np.int32)
        return np.zeros([len(seeds), 8, 8, 1], np.uint8) + classes[:, None, None, None].astype("u1")

    def classify(pixels):
        vectors = pixels[:, 0, 0].astype(np.float32)
        return vectors, np.eye(10, dtype=np.float32)[np.minimum(pixels[:, 0, 0, 0], 9)]

    about = {"name": "Class", "checksum": "0" * 16, "resize": "none", "dimension": 1}
    classifier = FeatureNetwork(classify, num_classes=10, channels=1, **about)
    found = types.SimpleNamespace(config=CONFIG, network=None, origin="weights of step 2")
    monkeypatch.setattr(checkpoints, "open_run", lambda *_: found)
    monkeypatch.setattr(features, "open_features", lambda *_, **__: classifier)
    monkeypatch.setattr(guidance, "drawn", drawn)
    # Test images, in an order of their own: as bright as their class, one of none.
    labels = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, -1, 8, 9, 7])
    images = (
        np.zeros([len(labels), 8, 8, 1], np.uint8)
        + np.maximum(labels, 0).astype("u1")[:, None, None, None]
    )
    test = dataclasses.replace(from_arrays(images), labels=labels)
    monkeypatch.setattr(run_data, "run_source", lambda config, split: test)
    return found


def test_a_row_for_each_guidance(run, tmp_path):
    grid = str(tmp_path / "grid.png")
    lines = table(BenchmarkOptions(guidance="1,2", num_samples=20, grid=grid))
    assert lines[-3] == "| 12 test images | | 100.0 % | 0.0 |"
    assert lines[-2:] == ["| 1 | 1000 | 10.0 % | 6.7 |", "| 2 | 2000 | 100.0 % | 0.0 |"]
    assert [path.name for path in sorted(tmp_path.glob("*"))] == ["grid-1.png", "grid-2.png"]


def test_what_cannot_be_measured(run, monkeypatch):
    with pytest.raises(ConfigError, match="--guidance=1,x must be numbers from 0 up"):
        weights("1,x")
    few = FeatureNetwork(
        None, name="Few", checksum="0" * 16, resize="none", dimension=1, num_classes=3
    )
    monkeypatch.setattr(features, "open_features", lambda *_, **__: few)
    with pytest.raises(
        ConfigError, match="--features=train needs a probability for each of the 10"
    ):
        table(BenchmarkOptions())
    run.config = Config(dataset="digits", image_size=8, channels=1)
    with pytest.raises(ConfigError, match="this run knows no classes"):
        table(BenchmarkOptions())
