"""Reference statistics: kept by data and network, and those of the field."""

import dataclasses
import os

import numpy as np
import pytest

from ncsn_tf.data.source import from_arrays
from ncsn_tf.errors import UserError
from ncsn_tf.evaluation.features import FeatureNetwork, read_reference, reference_of
from ncsn_tf.evaluation.features import reference as reference_module
from ncsn_tf.files import save_arrays

IMAGES = np.random.RandomState(0).randint(0, 256, (600, 4, 4, 1), np.uint8)


@pytest.fixture
def network():
    """Its features are three pixels; what it computes is counted."""
    seen = []

    def compute(pixels):
        seen.append(len(pixels))
        return pixels[:, 0, :3, 0].astype(np.float32), None

    network = FeatureNetwork(
        compute, name="Pixels", checksum="ab" * 8, resize="none", dimension=3, channels=1
    )
    network.seen = seen
    return network


@pytest.fixture
def source():
    return from_arrays(IMAGES, name="noise (train)")


def test_computed_once_and_read_after_that(network, source, tmp_path):
    first = reference_of(network, source, cache_dir=str(tmp_path))
    rows = IMAGES[:, 0, :3, 0].astype(np.float64)
    np.testing.assert_allclose(first.mu, rows.mean(0))
    np.testing.assert_allclose(first.sigma, np.cov(rows.T))
    np.testing.assert_array_equal(first.vectors, rows)
    assert isinstance(first.vectors, np.memmap)
    assert (first.number, first.network, first.checksum) == (600, "Pixels", "ab" * 8)
    count = sum(network.seen)
    assert count >= 600
    again = reference_of(network, source, cache_dir=str(tmp_path))
    assert sum(network.seen) == count
    np.testing.assert_array_equal(again.mu, first.mu)
    (folder,) = (tmp_path / "features").iterdir()
    assert sorted(os.listdir(folder)) == ["about.json", "reference.npz", "vectors.npy"]
    assert read_reference(folder / "reference.npz", network).number == 600
    np.testing.assert_array_equal(np.load(folder / "vectors.npy"), rows)


def test_another_one_for_other_images_networks_and_splits(network, source, tmp_path):
    def number():
        return len(list((tmp_path / "features").iterdir()))

    cache_dir = str(tmp_path)
    reference_of(network, source, cache_dir=cache_dir)
    changed = IMAGES.copy()
    changed[300, 2, 2] ^= 1
    reference_of(network, from_arrays(changed, name="noise (train)"), cache_dir=cache_dir)
    reference_of(network, source, split="test", cache_dir=cache_dir)
    reference_of(network, source, num_images=100, cache_dir=cache_dir)
    network.checksum = "cd" * 8
    reference_of(network, source, cache_dir=cache_dir)
    assert number() == 5
    reference_of(network, source, num_images=600, cache_dir=cache_dir)  # all of them
    assert number() == 5


def test_some_images_are_those_of_the_shuffled_order(network, source, tmp_path):
    found = reference_of(network, source, num_images=100, cache_dir=str(tmp_path))
    assert found.vectors.shape == (100, 3)
    rows = {row.tobytes() for row in IMAGES[:, 0, :3, 0].astype(np.float32)}
    assert {row.tobytes() for row in found.vectors} <= rows


def test_images_that_cannot_be_read_are_left_out(network, source, tmp_path):
    class Gaps(type(source.images)):
        def readable(self, places):
            return places % 200 != 7

        def standing_in(self, places):
            return np.where(places % 200 == 7, places + 1, places)

        def fingerprint(self):
            return "gaps"

    class Opaque:  # no array in memory, which batches would read without asking
        def __init__(self, images):
            self.shape = images.shape
            for name in ("readable", "standing_in", "pixels", "fingerprint"):
                setattr(self, name, getattr(images, name))

    images = Opaque(Gaps(IMAGES))
    found = reference_of(
        network, dataclasses.replace(source, images=images), cache_dir=str(tmp_path)
    )
    assert (found.number, found.vectors.shape) == (597, (597, 3))
    kept = np.arange(600) % 200 != 7
    np.testing.assert_array_equal(found.vectors, IMAGES[kept, 0, :3, 0])


def test_an_interrupted_computation_leaves_nothing(network, source, tmp_path, monkeypatch):
    def end():
        if len(network.seen) > 40:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reference_module.signals, "check", end)
        with pytest.raises(KeyboardInterrupt):
            reference_of(network, source, cache_dir=str(tmp_path))
    assert list((tmp_path / "features").iterdir()) == []


@pytest.mark.parametrize("name", ["reference.npz", "vectors.npy"])
def test_damage_is_repaired(name, network, source, tmp_path, capsys):
    reference_of(network, source, cache_dir=str(tmp_path))
    (folder,) = (tmp_path / "features").iterdir()
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    found = reference_of(network, source, cache_dir=str(tmp_path))
    assert "damaged, and computed anew" in capsys.readouterr().err
    np.testing.assert_array_equal(found.vectors, IMAGES[:, 0, :3, 0])
    reference_of(network, source, cache_dir=str(tmp_path))
    assert not capsys.readouterr().err.count("damaged")


def test_too_few_images_are_one_line(network, tmp_path):
    with pytest.raises(UserError, match="one has fewer than two images"):
        reference_of(network, from_arrays(IMAGES[:1], name="one"), cache_dir=str(tmp_path))


def test_statistics_of_the_field(network, tmp_path):
    path = tmp_path / "field.npz"
    mu, sigma = np.arange(3.0), np.diag([1.0, 2.0, 3.0])
    save_arrays(path, {"mu": mu, "sigma": sigma, "arr_0": np.zeros([2, 2], np.uint8)})
    found = read_reference(str(path), network)
    np.testing.assert_array_equal(found.mu, mu)
    np.testing.assert_array_equal(found.sigma, sigma)
    assert (found.number, found.vectors, found.network) == (0, None, "")


SQUARE = np.eye(3)


@pytest.mark.parametrize(
    ("arrays", "cause"),
    [
        ({"mu": np.zeros(3)}, "is not an .npz of reference statistics"),
        ({"mu": np.zeros(4), "sigma": np.eye(4)}, "is of another network"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"they are \[3\] and \[4, 4\]"),
        ({"mu": np.zeros([3, 1]), "sigma": SQUARE}, r"they are \[3, 1\]"),
        ({"mu": np.zeros(0), "sigma": np.zeros([0, 0])}, r"they are \[0\]"),
        ({"mu": np.full(3, np.nan), "sigma": SQUARE}, "not all finite"),
        ({"mu": np.zeros(3), "sigma": np.full([3, 3], np.inf)}, "not all finite"),
        ({"mu": np.zeros(3), "sigma": np.triu(np.ones([3, 3]))}, "is no covariance"),
        ({"mu": np.zeros(3), "sigma": -SQUARE}, "is no covariance"),
        ({"mu": np.array(["a"] * 3), "sigma": SQUARE}, "is not an .npz of reference"),
        (
            {"mu": np.zeros(3), "sigma": SQUARE, "checksum": "other", "network": "Other"},
            "is of the network Other other, not Pixels",
        ),
        ({"mu": np.zeros(3), "sigma": SQUARE, "number": "many"}, "is not an .npz of reference"),
    ],
)
def test_other_files_are_one_line(arrays, cause, network, tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, arrays)
    with pytest.raises(UserError, match=cause) as error:
        read_reference(path, network)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_file_and_damaged_files_are_one_line(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(UserError, match="No such file"):
        read_reference(path)
    save_arrays(path, {"mu": np.zeros(3), "sigma": SQUARE})
    content = path.read_bytes()
    for end in (0, 10, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:end])
        with pytest.raises(UserError):
            read_reference(path)
