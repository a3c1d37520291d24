"""Samples to look at: drawn with a progress bar, or read from a file."""

from pathlib import Path

import numpy as np
import pytest

from ncsn_tf.errors import UserError
from ncsn_tf.evaluation import samples


def test_drawn_samples_are_those_of_the_sampler(config, monkeypatch):
    """Of a sampler that makes what is known: the seeds of images, states on the way."""
    made = []

    class Sampler:
        pieces = [(0, 1), (1, 2)]

        def __init__(self, network, config):
            made.append((network, config))

        def draw(self, seeds, on_piece):
            for piece in range(len(self.pieces)):
                on_piece(lambda piece=piece: np.full([len(seeds), 1, 1, 1], piece))
            return np.float32(seeds)[:, None, None, None] / 10

    monkeypatch.setattr(samples, "sampler_of", Sampler)
    states = []
    drawn = samples.draw_samples("network", config, [0, 3, 10], states.append)
    assert made == [("network", config)]
    np.testing.assert_array_equal(drawn.ravel(), np.uint8([0, 76, 255]))
    assert [state.ravel().tolist() for state in states] == [[0, 0, 0], [1, 1, 1]]
    np.testing.assert_array_equal(samples.draw_samples("network", config, [0, 3, 10]), drawn)


def test_samples_of_a_file(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "good.npz", images=images, seeds=np.arange(3))
    np.testing.assert_array_equal(samples.read_samples(tmp_path / "good.npz", (8, 8, 1)), images)


def test_files_that_hold_no_samples(tmp_path):
    names = ("odd", "empty", "floats", "other", "text", "array", "damaged")
    paths = {name: tmp_path / f"{name}.npz" for name in names}
    np.savez(paths["odd"], images=np.zeros([1, 8, 8, 3], np.uint8))
    np.savez(paths["empty"], images=np.zeros([0, 8, 8, 1], np.uint8))
    np.savez(paths["floats"], images=np.zeros([1, 8, 8, 1], np.float32))
    np.savez(paths["other"], pictures=np.zeros([1, 8, 8, 1], np.uint8))
    paths["text"].write_text("no arrays")
    with open(paths["array"], "wb") as file:
        np.save(file, np.zeros([1, 8, 8, 1], np.uint8))
    noise = np.random.default_rng(0).integers(0, 9, (99, 8, 8, 1), dtype=np.uint8)
    np.savez_compressed(paths["damaged"], images=noise)
    content = paths["damaged"].read_bytes()
    paths["damaged"].write_bytes(content[:60] + bytes(40) + content[100:])
    paths["none"] = Path("none.npz")
    wrong = {
        "odd": "holds uint8 [1, 8, 8, 3], not uint8 images [8, 8, 1] as the run's",
        "empty": "holds uint8 [0, 8, 8, 1]",
        "floats": "holds float32 [1, 8, 8, 1]",
        "none": "none.npz is not a file",
    }
    for name, path in paths.items():
        with pytest.raises(UserError) as error:
            samples.read_samples(path, (8, 8, 1))
        assert wrong.get(name, "is not an .npz of images: sample.py --format=npz") in str(error)
