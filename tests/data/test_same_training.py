"""The same images give the same training, bit for bit, wherever they are kept."""

import shutil

import numpy as np
import pytest
import soak
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image
from source_checks import images
from training_helpers import assert_same_run, numbers

from ncsn_tf.commands import train
from ncsn_tf.commands.console import run_command
from ncsn_tf.data import prepared
from ncsn_tf.data.batches import training_batches
from ncsn_tf.data.image_file import FileImages
from ncsn_tf.data.sources import load_source

PIXELS = np.random.default_rng(0).integers(0, 256, [60, 8, 8, 3], np.uint8)
WAYS = ["folder", "zip", "tar", "npy", "float npy", "npz", "splits"]
PREPARED = ["prepared folder", "prepared zip", "prepared tar"]  # as many pictures are
IS_TEST = np.arange(60) % 20 == 0  # the first of each 20


class _SamePictures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    name = "same_pictures"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(8, 8, 3)),
            "label": tfds.features.ClassLabel(num_classes=5),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(3, 60), "test": self._generate_examples(0, 3)}

    def _generate_examples(self, start, stop):
        for place in range(start, stop):
            yield place, {"image": PIXELS[place], "label": place % 5}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """{way: (the data set, data_dir)}, with the order and the splits that TFDS gives them."""
    top = tmp_path_factory.mktemp("kept")
    tfds.disable_progress_bar()
    _SamePictures(data_dir=top / "tfds").download_and_prepare()
    found = {"tfds": ("same_pictures", top / "tfds")}
    training, test = (read(found["tfds"], split) for split in ("train", "test"))
    pixels, labels = np.zeros_like(PIXELS), np.zeros(60, np.int64)
    for places, source in ((IS_TEST, test), (~IS_TEST, training)):
        pixels[places], labels[places] = images(source), source.labels

    for place, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        name = top / "folder" / f"{place:02}" / f"class {label}.png"
        name.parent.mkdir(parents=True)
        Image.fromarray(image).save(name)
    for kind in ("zip", "tar"):
        shutil.make_archive(top / "packed", kind, top, "folder")
    np.save(top / "a.npy", pixels)
    np.save(top / "floats.npy", np.float32(pixels / 255))
    np.savez(top / "a.npz", images=pixels, labels=labels)
    arrays = {"x_train": images(training), "y_train": training.labels}
    np.savez(top / "splits.npz", **arrays, x_test=images(test), y_test=test.labels[:, None])
    folders = {"folder": "folder", "zip": "packed.zip", "tar": "packed.tar"}
    files = {"npy": "a.npy", "float npy": "floats.npy", "npz": "a.npz", "splits": "splits.npz"}
    folders |= {f"prepared {way}": name for way, name in folders.items()}
    found |= {way: ("image_folder", top / name) for way, name in folders.items()}
    return found | {way: ("arrays", top / name) for way, name in files.items()}


def read(place, split):
    dataset, data_dir = place
    return load_source(dataset, split, data_dir=data_dir, image_size=8, channels=3)


def batches(place):
    source = read(place, "train")
    options = {"batch_size": 16, "seed": 3, "random_flip": True}
    return [batch.numpy() for batch in training_batches(source, **options).take(4)]


@pytest.fixture(scope="module")
def tfds_batches(kept):
    return batches(kept["tfds"])


@pytest.fixture(autouse=True)
def few_or_many(request, monkeypatch, tmp_path_factory):
    """Let a way that is called prepared take these pictures for many."""
    if request.node.callspec.params["way"] in PREPARED:
        monkeypatch.setattr(prepared, "_FEW", 0)
        cache_dir = tmp_path_factory.getbasetemp() / "cache of the same pictures"
        monkeypatch.setenv("NCSN_CACHE", str(cache_dir))


@pytest.mark.parametrize("way", WAYS + PREPARED)
def test_the_same_images_and_batches(way, kept, tfds_batches):
    for split, count in (("train", 57), ("test", 3)):
        ours, theirs = read(kept[way], split), read(kept["tfds"], split)
        assert ours.num_examples == theirs.num_examples == count
        np.testing.assert_array_equal(images(ours), images(theirs))
        if way in ("npz", "splits"):
            np.testing.assert_array_equal(ours.labels, theirs.labels)
        elif way.endswith(("folder", "zip", "tar")):  # each picture is in a folder of its own
            places = np.flatnonzero((split == "test") == IS_TEST)
            np.testing.assert_array_equal(ours.labels, places)
        assert isinstance(ours.images, FileImages) == (way in [*PREPARED, "npy"])
    np.testing.assert_array_equal(batches(kept[way]), tfds_batches)


FLAGS = ["--image_size=8", "--num_levels=2", "--num_steps=3", "--batch_size=8", "--eval_every=0"]
FLAGS += ["--channels=1", "--features=2", "--num_steps_each=1", "--sample_every=0", "--noexport"]


@pytest.fixture(scope="module")
def trained():
    """(a data set and its data_dir, folder) -> all numbers of a run of three steps there."""

    def trained(place, folder):
        dataset, data_dir = place
        flags = [f"--dataset={dataset}", f"--data_dir={data_dir}", f"--workdir={folder}", *FLAGS]
        with pytest.raises(SystemExit) as end:
            run_command(train.main, ["ncsn train", *flags])
        assert end.value.code == 0
        return numbers(folder)

    with pytest.MonkeyPatch.context() as patch:
        soak.use_tiny_network(patch.setattr)
        start = tf.distribute.OneDeviceStrategy("/cpu:0")
        patch.setattr(train, "start_for_training", lambda config: start)
        yield trained


@pytest.fixture(scope="module")
def from_tfds(kept, trained, tmp_path_factory):
    return trained(kept["tfds"], tmp_path_factory.mktemp("run") / "tfds")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["folder", "prepared folder", "zip", "tar", "npy", "npz"])
def test_the_same_training(way, kept, trained, from_tfds, tmp_path):
    """Weights, optimizer and the state of the training after three steps."""
    assert_same_run(trained(kept[way], tmp_path / "run"), from_tfds)
