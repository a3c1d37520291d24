"""Data sets by name: the table of kinds, the digits, and names that are none."""

import ast
import pathlib

import numpy as np
import pytest
from source_checks import images, one_line

from ncsn_tf.data import batches as data
from ncsn_tf.data import sources
from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import UserError


def test_digits_are_sklearns_in_8_bits_and_the_splits_share_nothing():
    from sklearn.datasets import load_digits

    train = load_source("digits", "train", image_size=8, channels=1)
    test = load_source("digits", "test", image_size=8, channels=1)
    assert train.image_shape == (8, 8, 1)
    assert (train.num_examples, test.num_examples) == (1618, 179)
    together = np.concatenate([images(train), images(test)]).reshape(-1, 64)
    original = np.round(load_digits().images.reshape(-1, 64) * 255 / 16).astype(np.uint8)
    np.testing.assert_array_equal(
        together[np.lexsort(together.T)], original[np.lexsort(original.T)]
    )
    assert not np.array_equal(together[:1618], original[:1618])
    labels = {
        bytes(pixels): label for pixels, label in zip(original, load_digits().target, strict=True)
    }
    expected = [labels[bytes(pixels)] for pixels in together]
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), expected)
    again = load_source("digits", "test", image_size=8, channels=1)
    np.testing.assert_array_equal(images(again), images(test))


def test_digits_end_to_end_in_another_size_and_colour():
    source = load_source("digits", "train", image_size=16, channels=3)
    dataset = data.training_batches(source, batch_size=4, seed=0, random_flip=True)
    batch = next(iter(dataset)).numpy()
    assert batch.shape == (4, 16, 16, 3)
    assert 0.0 == batch.min() < batch.max() <= 1.0
    np.testing.assert_array_equal(batch[..., 0], batch[..., 2])


def test_a_new_kind_is_a_line_in_the_table(monkeypatch):
    asked = []

    def load(*args):
        asked.append(args)
        return sources.from_arrays(np.zeros([1, 4, 4]))

    monkeypatch.setitem(sources.LOADERS, "mine", load)
    options = {"image_size": 4, "channels": 1, "crop_size": 2, "cache_dir": "cache"}
    load_source("mine", "test", data_dir="~", **options)
    assert asked == [("test", str(pathlib.Path.home()), (4, 4, 1), 2, "cache")]
    with pytest.raises(UserError, match="did you mean mine"):
        load_source("mime", "test", image_size=4, channels=1)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("cifar01", "cifar10"),
        ("mnits", "mnist"),
        ("image_foldr", "image_folder"),
        ("digit", "digits"),
    ],
)
def test_unknown_name_suggests_near_ones(name, near, tmp_path):
    with pytest.raises(UserError) as error:
        load_source(name, "train", data_dir=str(tmp_path), image_size=8, channels=1)
    message = one_line(error)
    assert repr(name) in message
    assert near in message.split("did you mean")[1]


@pytest.mark.parametrize("name", ["a b", "mnist/no_such_config", "no_such:thing", ""])
def test_names_tfds_cannot_open_are_one_line(name, tmp_path):
    with pytest.raises(UserError) as error:
        load_source(name, "train", data_dir=str(tmp_path), image_size=8, channels=1)
    assert repr(name) in one_line(error)


@pytest.mark.parametrize(("name", "value"), [("split", "valid"), ("channels", 2)])
def test_arguments_that_mean_nothing_are_a_value_error(name, value):
    options = {"split": "train", "image_size": 8, "channels": 1, name: value}
    with pytest.raises(ValueError, match=f"{name} must be .*{value}"):
        load_source("digits", **options)


@pytest.mark.parametrize("name", ["sources", "digits", "folder"])
def test_heavy_libraries_are_not_imported_with_the_modules(name):
    """Nor the module that needs TFDS, which `load_source` imports for a data set of TFDS."""
    tree = ast.parse((pathlib.Path(sources.__file__).parent / f"{name}.py").read_text())
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            names |= {module.split(".")[0], *(alias.name for alias in node.names)}
    assert "ncsn_tf" in names
    assert not names & {"tensorflow_datasets", "sklearn", "tfds_source"}
