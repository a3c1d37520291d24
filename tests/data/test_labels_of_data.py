"""Where labels and the names of classes come from, and that a label stays with its image."""

import numpy as np
import pytest
from PIL import Image
from source_checks import one_line

from ncsn_tf.data.batches import evaluation_batches, training_batches
from ncsn_tf.data.source import from_arrays
from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import UserError
from ncsn_tf.settings.config import Config
from ncsn_tf.training.run_labels import labelled, with_classes

SIZE = {"image_size": 8, "channels": 1}
GREYS = np.repeat(np.arange(40, dtype=np.uint8), 64).reshape(40, 8, 8)  # image i is all i


def save(path, **arrays):
    np.savez(path, **arrays)
    return {"data_dir": str(path), **SIZE}


def pictures(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10).save(path)
    return {"data_dir": str(folder), **SIZE}


def test_folders_name_the_classes(tmp_path):
    where = pictures(tmp_path, [f"{kind}/{i}.png" for kind in ("dog", "cat") for i in range(3)])
    train = load_source("image_folder", "train", **where)
    assert train.classes == ("cat", "dog") and sorted(train.labels) == [0, 0, 1, 1, 1]
    config = with_classes(Config(dataset="image_folder", class_conditional=True, **where), train)
    assert config.class_names == ("cat", "dog")


def test_digits_name_theirs():
    assert load_source("digits", "test", **SIZE).classes == tuple("0123456789")


@pytest.mark.parametrize("names", [["a.png", "b.png"], ["cat/a.png", "b.png"], ["cat/a.png"]])
def test_pictures_without_folders_have_no_classes(names, tmp_path):
    where = pictures(tmp_path, names)
    source = load_source("image_folder", "train", **where)
    config = Config(dataset="image_folder", class_conditional=True, **where)
    with pytest.raises(UserError) as error:
        with_classes(config, source)
    assert "put each picture into a folder named after its class" in one_line(error)
    assert str(tmp_path) in one_line(error)


@pytest.mark.parametrize("stored, names", [
    ({"labels": np.arange(40) % 3}, ("0", "1", "2")),
    ({"labels": np.array(["b", "c", "a"] * 13 + ["b"])}, ("a", "b", "c")),
    ({"labels": np.array([b"b", b"a"] * 20)}, ("a", "b")),
    ({"labels": np.arange(40) % 3, "class_names": np.array(["x", "y", "z", "w"])}, tuple("xyzw")),
    ({"labels": np.array(["x", "y"] * 20), "class_names": np.array(["y", "x"])}, ("y", "x")),
])  # fmt: skip
def test_arrays_have_labels_by_number_or_name(stored, names, tmp_path):
    where = save(tmp_path / "a.npz", images=GREYS, **stored)
    labels = stored["labels"]
    expected = [value.decode() if isinstance(value, bytes) else value for value in labels.tolist()]
    for split in ("train", "test"):
        source = load_source("arrays", split, **where)
        assert source.classes == names
        places = source.images.pixels(np.arange(source.num_examples))[:, 0, 0, 0]
        for place, label in zip(places, source.labels, strict=True):
            own = expected[place]
            assert label == own if isinstance(own, int) else names[label] == own


def test_both_splits_of_arrays_have_the_same_classes(tmp_path):
    names = {"x_train": GREYS[:4], "x_test": GREYS[4:6]}
    labels = {"y_train": np.array(["a", "c", "a", "c"]), "y_test": np.array(["b", "c"])}
    where = save(tmp_path / "a.npz", **names, **labels)
    train, test = (load_source("arrays", split, **where) for split in ("train", "test"))
    assert train.classes == test.classes == ("a", "b", "c")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 2, 0, 2], [1, 2])


@pytest.mark.parametrize("stored, message", [
    ({"labels": np.arange(40), "class_names": np.array(["a", "b"])},
     "a label of {} is 39, and class_names has the names of 2"),
    ({"labels": np.array(["a", "c"] * 20), "class_names": np.array(["a", "b"])},
     "the labels of {} must be class_names: one of them is 'c', which is none of the classes"),
    ({"labels": np.arange(40) % 2, "class_names": np.array(["a", "a"])},
     "class_names of {} must be names, one a class and all different, not <U1 [2]"),
    ({"labels": np.arange(40) % 2, "class_names": np.arange(2)}, "not int64 [2]"),
])  # fmt: skip
def test_names_that_do_not_fit(stored, message, tmp_path):
    where = save(tmp_path / "a.npz", images=GREYS, **stored)
    with pytest.raises(UserError) as error:
        load_source("arrays", "train", **where)
    assert message.format(where["data_dir"]) in one_line(error)


@pytest.mark.parametrize("dataset, needs", [
    ("arrays", "save labels with the images in the .npz"), ("mnist", "with a feature 'label'"),
])  # fmt: skip
def test_what_is_needed_is_said(dataset, needs):
    with pytest.raises(UserError) as error:
        with_classes(Config(dataset=dataset, class_conditional=True), from_arrays(GREYS))
    assert needs in one_line(error)


def test_a_single_class_is_none():
    with pytest.raises(UserError, match="needs two classes at least: arrays has 0 alone"):
        with_classes(Config(class_conditional=True), from_arrays(GREYS, np.zeros(40, int)))


def test_other_classes_than_the_run_has():
    config = Config(class_conditional=True, class_names=("a", "b"))
    for labels, classes in (([0, 2] * 20, ()), ([0, 1] * 20, ("a", "c"))):
        source = from_arrays(GREYS, np.array(labels), "mine", classes)
        with pytest.raises(UserError, match="mine has other classes than the run"):
            labelled(source, config)
    unknown = from_arrays(GREYS, np.zeros(40, int))
    unknown.labels[:3] = -1  # as in the test splits of some data sets
    assert labelled(unknown, config).labels[:5].tolist() == [2, 2, 2, 0, 0]
    assert labelled(unknown, Config()).labels is None


@pytest.mark.parametrize("start", [0, 7])
def test_a_label_stays_with_its_image_shuffled_mirrored_resumed_and_shared(start):
    source = from_arrays(GREYS, np.arange(40))
    options = {"batch_size": 8, "seed": 5, "random_flip": True, "with_labels": True}
    whole = training_batches(source, start_step=start, **options).take(11)
    shared = [
        training_batches(
            source, start_step=start, shares=range(i, i + 1), num_shares=2, **options
        ).take(11)
        for i in range(2)
    ]
    for (images, labels), *parts in zip(whole, *shared, strict=True):
        np.testing.assert_array_equal(np.rint(images[:, 3, 3, 0] * 255.0), labels)
        np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), labels)
    tested = evaluation_batches(source, batch_size=8, num_batches=5, with_labels=True)
    for images, labels in tested:
        np.testing.assert_array_equal(np.rint(images[:, 0, 0, 0] * 255.0), labels)
