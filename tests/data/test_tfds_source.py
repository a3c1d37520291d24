"""Data sets of TensorFlow Datasets: splits, labels, and one line for what goes wrong."""

import io
import os
import pathlib

import joblib
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image
from source_checks import images, one_line

from ncsn_tf.data import batches as data
from ncsn_tf.data import preparation, tfds_source
from ncsn_tf.data.encoded import EncodedImages
from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import UserError

REAL_DATA = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "tfds"
needs_real_data = pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="no prepared data in ../shared/data/tfds (from the repository)"
)


class _TinyPictures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Pictures of 6 x 10 pixels; picture i of a split of n has the red value i, the green n."""

    name = "tiny_pictures"
    VERSION = tfds.core.Version("1.0.0")
    sizes = None

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 3))
        label = tfds.features.ClassLabel(num_classes=100)
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"image": image, "label": label})
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(size) for name, size in self.sizes.items()}

    def _generate_examples(self, size):
        for index in range(size):
            image = np.zeros([6, 10, 3], np.uint8)
            image[..., 0], image[..., 1] = index, size
            image[:, 7:, 2] = 255
            yield index, {"image": image, "label": index}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A function that prepares splits of the given sizes on disk and returns their data_dir."""

    def prepare(**sizes):
        monkeypatch.setattr(_TinyPictures, "sizes", sizes)
        tfds.disable_progress_bar()
        _TinyPictures(data_dir=tmp_path).download_and_prepare()
        return str(tmp_path)

    return prepare


def load_tiny(data_dir, split, **options):
    options = {"image_size": 6, "channels": 3, **options}
    return load_source("tiny_pictures", split, data_dir=data_dir, **options)


def test_tfds_records_stay_encoded_and_decode_to_the_centred_square(tiny):
    data_dir = tiny(train=20, test=3)
    train = load_tiny(data_dir, "train")
    assert isinstance(train.images, EncodedImages)
    assert train.name == "tiny_pictures (train)"
    pixels = images(train)
    np.testing.assert_array_equal(np.sort(pixels[:, 0, 0, 0]), np.arange(20))
    assert np.all(pixels[..., 1] == 20)
    np.testing.assert_array_equal(pixels[0, 0, :, 2], [0, 0, 0, 0, 0, 255])  # columns 2 to 7
    assert np.all(images(load_tiny(data_dir, "test"))[..., 1] == 3)
    cropped = images(load_tiny(data_dir, "test", image_size=2, crop_size=2))
    assert not cropped[..., 2].any()
    grey = images(load_tiny(data_dir, "test", channels=1))
    np.testing.assert_allclose(
        grey[0, 0, [0, 5], 0], [0.587 * 3, 0.587 * 3 + 0.114 * 255], atol=1.5
    )


def test_tfds_batches_end_to_end(tiny):
    source = load_tiny(tiny(train=20, test=3), "train", image_size=4)
    batches = data.training_batches(source, batch_size=10, seed=0)
    epoch = np.concatenate(list(batches.take(2).as_numpy_iterator()))
    np.testing.assert_array_equal(np.sort(np.rint(epoch[:, 0, 0, 0] * 255)), np.arange(20))
    np.testing.assert_allclose(epoch[..., 1], 20 / 255, rtol=1e-6)


def test_tfds_labels_are_those_of_their_images(tiny):
    data_dir = tiny(train=20, test=3)
    source = load_tiny(data_dir, "train")
    assert source.labels.dtype == np.int64
    np.testing.assert_array_equal(source.labels, images(source)[:, 0, 0, 0])
    (features,) = pathlib.Path(data_dir).rglob("features.json")
    features.write_text(features.read_text().replace('"label"', '"number"', 1))
    assert load_tiny(data_dir, "train").labels is None


def test_tfds_without_test_split_uses_validation(tiny):
    data_dir = tiny(train=5, validation=4)
    assert load_tiny(data_dir, "train").num_examples == 5
    assert np.all(images(load_tiny(data_dir, "test"))[..., 1] == 4)


def test_tfds_with_train_alone_holds_out_a_twentieth(tiny):
    data_dir = tiny(train=60)
    train = images(load_tiny(data_dir, "train"))[:, 0, 0, 0]
    test = images(load_tiny(data_dir, "test"))[:, 0, 0, 0]
    assert (len(train), len(test)) == (57, 3)
    assert set(train) | set(test) == set(range(60))


def test_tfds_without_a_picture_feature_is_a_user_error(tiny):
    data_dir = tiny(train=3)
    (features,) = pathlib.Path(data_dir).rglob("features.json")
    features.write_text(features.read_text().replace('"image"', '"picture"', 1))
    with pytest.raises(UserError) as error:
        load_tiny(data_dir, "train")
    message = one_line(error)
    assert "no 8-bit feature 'image'" in message
    assert "'label', 'picture'" in message


def test_tfds_is_silent(tiny, capfd, caplog):
    data_dir = tiny(train=3, test=3)
    capfd.readouterr()
    caplog.clear()
    load_tiny(data_dir, "train")
    assert "".join(capfd.readouterr()) == ""
    assert caplog.text == ""


@pytest.fixture
def pictures(tiny, monkeypatch, tmp_path):
    """A function that puts the bytes given for places into the train split; -> its data_dir."""

    def prepare(size, contents):
        data_dir = tiny(train=size, test=2)
        found = tfds_source._Records.parts

        def parts(self, size):
            for start, records in found(self, size):
                records = records.copy()
                for place, content in contents.items():
                    if start <= place < start + len(records):
                        records[place - start] = content
                yield start, records

        monkeypatch.setattr(tfds_source._Records, "parts", parts)
        return data_dir

    return prepare


def encode(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def test_an_undecodable_record_is_named_once_and_the_next_one_stands_in(pictures, capsys):
    whole = encode(Image.new("RGB", (6, 6)), "PNG")
    data_dir = pictures(10, {3: b"nothing", 4: whole[:40], 9: b""})
    source = load_tiny(data_dir, "train", image_size=6)
    labels = source.labels
    options = {"batch_size": 5, "seed": 1, "with_labels": True}
    seen = [
        (images[:, 0, 0, 0] * 255, own)
        for images, own in data.training_batches(source, **options).take(4).as_numpy_iterator()
    ]
    for red, own in seen:
        np.testing.assert_array_equal(np.rint(red), own)  # a label stays with its image
    epoch = sorted(np.concatenate([own for _, own in seen[:2]]))
    readable = [labels[place] for place in (0, 1, 2, 5, 5, 5, 6, 7, 8, 0)]
    assert epoch == sorted(readable)
    lines = sorted(capsys.readouterr().err.splitlines())
    place = "warning: example {} of tiny_pictures (train) left out, undecodable ("
    assert [line[: len(place) - 1] for line in lines] == [place.format(i) for i in (3, 4, 9)]
    # A resumed run sees the same.
    later = data.training_batches(load_tiny(data_dir, "train"), **options, start_step=3)
    images, own = next(later.as_numpy_iterator())
    np.testing.assert_array_equal(images[:, 0, 0, 0] * 255, seen[3][0])


def test_finite_passes_go_without_undecodable_records(pictures):
    data_dir = pictures(10, {3: b"nothing", 4: b"", 9: b""})
    source = load_tiny(data_dir, "train")
    readable = {source.labels[place] for place in (0, 1, 2, 5, 6, 7, 8)}
    pixels = data.load_pixels(source, 10)[:, 0, 0, 0]
    assert len(pixels) == 7 and set(pixels) == readable
    places, batches = zip(*data.ordered_batches(source, 4).as_numpy_iterator(), strict=True)
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert np.concatenate(places).tolist() == [0, 1, 2, 5, 6, 7, 8]
    batches = list(data.evaluation_batches(source, batch_size=3, num_batches=9))
    shown = np.rint(np.concatenate(batches)[:, 0, 0, 0] * 255)
    assert len(shown) == len(set(shown)) == 6 and set(shown) <= readable
    (batch,) = data.evaluation_batches(source, batch_size=8, num_batches=9)
    assert set(np.rint(batch[:, 0, 0, 0] * 255)) == readable


def test_a_data_set_without_a_decodable_record_is_a_user_error(pictures, capsys):
    data_dir = pictures(3, dict.fromkeys(range(3), b"nothing"))
    with pytest.raises(UserError) as error:
        load_tiny(data_dir, "train")
    assert one_line(error) == (
        "none of the 3 examples of tiny_pictures (train) can be decoded: not a picture"
    )
    assert capsys.readouterr().err == ""


@pytest.fixture
def large(monkeypatch, tmp_path):
    """Every data set is large, and one process is enough to prepare it; -> the cache's folder."""
    monkeypatch.setattr(tfds_source, "_IN_MEMORY", 0)
    monkeypatch.setattr(preparation, "_PART_PICTURES", 4)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    monkeypatch.setenv("NCSN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def everything(source):
    """Batches of all kinds."""
    options = {"batch_size": 5, "seed": 1, "with_labels": True, "random_flip": True}
    for batch in data.training_batches(source, **options).take(7):
        yield from batch
    yield from data.evaluation_batches(source, batch_size=3, num_batches=9)
    yield data.load_pixels(source, source.num_examples)


def test_a_large_data_set_is_decoded_once_to_the_same_bits(pictures, large, monkeypatch, capsys):
    data_dir = pictures(10, {3: b"nothing", 4: b"", 9: b""})
    kept = load_tiny(data_dir, "train")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("tiny_pictures (train) in ")
    place = "warning: example {} of tiny_pictures (train) left out, undecodable ("
    found = [line[: len(place) - 1] for line in lines[1:]]
    assert found == [place.format(i) for i in (3, 4, 9)]
    with monkeypatch.context() as patch:
        patch.setattr(tfds_source._Records, "parts", None)  # the records are not read again
        again = load_tiny(data_dir, "train")
    (entry,) = large.iterdir()
    assert np.load(entry / "images.npy").shape == (10, 6, 6, 3)
    monkeypatch.setattr(tfds_source, "_IN_MEMORY", 2**20)
    small = load_tiny(data_dir, "train")
    assert isinstance(small.images, EncodedImages)
    np.testing.assert_array_equal(kept.labels, small.labels)
    np.testing.assert_array_equal(images(kept), images(again))
    for one, two in zip(*map(everything, (again, small)), strict=True):
        np.testing.assert_array_equal(one, two)


def test_splits_and_versions_of_the_files_are_prepared_apart(tiny, large):
    data_dir = tiny(train=10, test=3)
    sizes = [load_tiny(data_dir, split).num_examples for split in ("train", "test")]
    before = sorted(large.iterdir())
    assert sizes == [10, 3] and len(before) == 2
    (record,) = pathlib.Path(data_dir).rglob("*train.tfrecord*")
    os.utime(record, (1, 1))
    load_tiny(data_dir, "train")
    after = sorted(large.iterdir())
    assert len(after) == 2 and len(set(after) & set(before)) == 1


def test_a_missing_file_of_a_large_data_set_is_one_line(tiny, large):
    data_dir = tiny(train=4, test=2)
    (path,) = pathlib.Path(data_dir).rglob("*-train.*")
    path.unlink()
    with pytest.raises(UserError) as error:
        load_tiny(data_dir, "train", image_size=4)
    assert "tiny_pictures" in one_line(error) and path.name in one_line(error)


def test_a_large_data_set_without_a_decodable_record_is_a_user_error(pictures, large):
    data_dir = pictures(3, dict.fromkeys(range(3), b"nothing"))
    for _ in range(2):
        with pytest.raises(UserError, match="none of the 3 examples of tiny_pictures .* decoded"):
            load_tiny(data_dir, "train")


def test_records_follow_the_rule_for_files(pictures):
    """The formats that TFDS sets hold, as a folder would show them."""
    turned = Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6) * 7)
    exif = turned.getexif()
    exif[0x0112] = 6
    colour = Image.new("RGB", (6, 6), (30, 60, 90))
    contents = [
        encode(turned, "PNG", exif=exif),
        encode(Image.new("RGBA", (6, 6), (255, 0, 0, 0)), "PNG"),
        encode(Image.new("I;16", (6, 6), 257 * 40), "PNG"),
        encode(Image.new("CMYK", (6, 6), (255, 0, 0, 0)), "JPEG"),
        *(encode(colour, kind) for kind in ("BMP", "GIF", "TIFF")),
        encode(colour, "WEBP", lossless=True),
        encode(colour, "GIF", save_all=True, append_images=[Image.new("RGB", (6, 6))]),
    ]
    data_dir = pictures(12, dict(enumerate(contents)))
    found = images(load_tiny(data_dir, "train"))
    np.testing.assert_array_equal(found[0, ..., 0], np.rot90(np.asarray(turned), -1))
    assert found[1].min() == 255 and np.unique(found[2]).tolist() == [40]
    np.testing.assert_allclose(found[3, 0, 0], [0, 255, 255], atol=2)
    np.testing.assert_array_equal(found[4:9], np.broadcast_to([30, 60, 90], [5, 6, 6, 3]))
    grey = images(load_tiny(data_dir, "train", channels=1))
    assert np.unique(grey[4:9]).tolist() == [54]  # the luminance


def test_missing_data_dir_is_a_user_error(tmp_path):
    missing = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match="nowhere"):
        load_source("mnist", "train", data_dir=missing, image_size=28, channels=1)


def test_failed_download_is_one_line_with_the_place_and_the_cause(
    tmp_path, monkeypatch, capfd, caplog
):
    from tensorflow_datasets.core.download import downloader

    retries = downloader.MAX_RETRIES
    seen = []

    def fail(self, *args, **kwargs):
        seen.append(downloader.MAX_RETRIES)
        print("Downloading")
        logging.warning("a warning from TFDS")
        raise ConnectionError("no route to host\nand a second line")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(UserError) as error:
        load_source("cifar10", "train", data_dir=str(tmp_path), image_size=32, channels=3)
    message = one_line(error)
    assert "'cifar10'" in message
    assert str(tmp_path) in message
    assert message.endswith("could not be downloaded: no route to host")
    assert seen[0] < retries
    assert retries == downloader.MAX_RETRIES
    out, err = capfd.readouterr()
    assert out == ""
    assert "a warning" not in err + caplog.text
    assert "Data set cifar10 is not here yet: downloads 170 MB (--dataset=digits needs" in err


def test_damaged_tfds_file_is_a_user_error(tiny):
    data_dir = tiny(train=20, test=3)
    (record,) = pathlib.Path(data_dir).rglob("*train.tfrecord*")
    record.write_bytes(record.read_bytes()[:-20])
    with pytest.raises(UserError, match="tiny_pictures.*cannot be read"):
        load_tiny(data_dir, "train")


@needs_real_data
def test_real_mnist():
    train = load_source("mnist", "train", data_dir=str(REAL_DATA), image_size=28, channels=1)
    test = load_source("mnist", "test", data_dir=str(REAL_DATA), image_size=28, channels=1)
    assert (train.num_examples, test.num_examples) == (60_000, 10_000)
    batches = data.evaluation_batches(test, batch_size=1000, num_batches=10)
    pixels = np.concatenate(list(batches.as_numpy_iterator()))
    assert pixels.shape == (10_000, 28, 28, 1)
    np.testing.assert_allclose(pixels.mean(), 0.13251, atol=1e-4)  # the published mean of the split
    records = test.images._records[:50]  # PNGs have the pixels that TensorFlow finds in them
    found = test.images.pixels(np.arange(50))
    np.testing.assert_array_equal(found, [tf.io.decode_png(record) for record in records])


@needs_real_data
def test_real_cifar10():
    options = {"data_dir": str(REAL_DATA), "image_size": 32, "channels": 3}
    train = load_source("cifar10", "train", **options)
    assert train.num_examples >= 10_000
    batches = data.training_batches(train, batch_size=500, seed=0, random_flip=True)
    pixels = np.concatenate(list(batches.take(20).as_numpy_iterator()))
    np.testing.assert_allclose(pixels.mean(axis=(0, 1, 2)), [0.4914, 0.4822, 0.4465], atol=0.01)
    np.testing.assert_allclose(pixels.std(axis=(0, 1, 2)), [0.247, 0.2435, 0.2616], atol=0.01)
