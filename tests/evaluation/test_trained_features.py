"""The features `train`: trained once on the run's data, kept, the same each time."""

import dataclasses
import json
import threading

import numpy as np
import pytest

from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import UserError
from ncsn_tf.evaluation.features import fitting, open_features, trained
from ncsn_tf.evaluation.features.encoder import make_encoder
from ncsn_tf.settings.config import Config

SMALL = fitting.Fitting(num_steps=12, batch_size=64)


@pytest.fixture(scope="module")
def digits():
    return load_source("digits", "train", image_size=8, channels=1)


@pytest.fixture
def config(tmp_path, monkeypatch, request):
    """Of digits; trainings are counted, and take few steps where a test asks for them, or none."""
    calls = []

    def fit(source, *arguments):
        calls.append(arguments)
        if "trains" in request.fixturenames:
            return fitting.fit(source, *arguments)
        return make_encoder(source.image_shape, fitting.num_classes(source), seed=0)

    monkeypatch.setattr(trained, "FITTING", SMALL)
    monkeypatch.setattr(trained, "fit", fit)
    config = Config(
        dataset="digits",
        image_size=8,
        channels=1,
        random_flip=False,
        cache_dir=str(tmp_path / "cache"),
    )
    object.__setattr__(config, "calls", calls)
    return config


@pytest.fixture
def trains():
    """For tests that train."""


def folders(config):
    return sorted((trained.Path(config.cache_dir) / "features").iterdir())


def test_trained_once_and_read_after_that(config, trains, digits, capsys):
    first = open_features("train", config=config)
    assert (first.name, first.dimension, first.num_classes) == ("Train-digits", 128, 10)
    pixels = digits.images.array[:40]
    found = first(pixels)
    np.testing.assert_allclose(found.probabilities.sum(1), 1.0, rtol=1e-5)
    (folder,) = folders(config)
    assert sorted(path.name for path in folder.iterdir()) == ["about.json", "weights.npz"]
    about = json.loads((folder / "about.json").read_text())
    assert about["kind"] == "classifier"
    assert about["checksum"] == first.checksum
    assert 0.5 < about["test_share"] <= 1  # ten classes
    said = capsys.readouterr().err
    line = f"features Train-digits {first.checksum}: {about['test_share']:.1%} of 179 test images"
    assert line in said

    second = open_features("train", config=config)
    assert len(config.calls) == 1
    assert line in capsys.readouterr().err
    np.testing.assert_array_equal(second(pixels).vectors, found.vectors)

    # Damage is noticed, said, and repaired by the same training.
    (folder / "weights.npz").write_bytes(b"damaged")
    third = open_features("train", config=config)
    assert len(config.calls) == 2
    assert "is damaged" in capsys.readouterr().err
    assert third.checksum == first.checksum
    np.testing.assert_array_equal(third(pixels).vectors, found.vectors)


def test_another_network_for_other_data_and_settings(config, monkeypatch):
    open_features("train", config=config)
    open_features("train", config=dataclasses.replace(config, image_size=10))
    open_features("train", config=dataclasses.replace(config, random_flip=True))
    assert len(folders(config)) == len(config.calls) == 3
    monkeypatch.setattr(trained, "FITTING", SMALL._replace(seed=1))
    open_features("train", config=config)
    assert len(folders(config)) == 4


def test_an_interrupted_training_leaves_nothing(config, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trained, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_features("train", config=config)
    assert folders(config) == []
    open_features("train", config=config)
    assert len(folders(config)) == 1


def test_two_at_once_train_once(config, capsys):
    found = []

    def work():
        found.append(open_features("train", config=config).checksum)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 2
    assert len(config.calls) == len(folders(config)) == 1


def test_no_place_is_one_line(config):
    place = trained.Path(config.cache_dir)
    place.write_text("a file")
    with pytest.raises(UserError, match="cannot be used: Not a directory; --cache_dir"):
        open_features("train", config=config)


def test_without_labels_images_are_told_apart(config, trains, digits, monkeypatch):
    monkeypatch.setattr(
        trained,
        "run_source",
        lambda config, split: dataclasses.replace(
            load_source("digits", split, image_size=8, channels=1), labels=None
        ),
    )
    network = open_features("train", config=dataclasses.replace(config, random_flip=True))
    assert (network.dimension, network.num_classes) == (128, 0)
    assert network(digits.images.array[:3]).probabilities is None
    (folder,) = folders(config)
    about = json.loads((folder / "about.json").read_text())
    assert (about["kind"], about["test_images"]) == ("encoder", 128)
    assert 1 / 64 < about["test_share"] <= 1


def test_large_images_are_made_smaller():
    encoder = make_encoder((128, 96, 3), num_classes=0, seed=0)
    assert encoder.size == (64, 48)
    assert encoder.trunk.output_shape[1] == 128


def test_a_single_class_is_none(digits):
    assert fitting.num_classes(digits) == 10
    alone = dataclasses.replace(digits, labels=np.zeros(digits.num_examples, np.int64))
    assert fitting.num_classes(alone) == 0


def test_few_images_are_seen_a_hundred_times():
    assert fitting.Fitting().steps(60_000) == 1000
    assert fitting.Fitting().steps(140) == 110
