"""Every kind of source loads what it says, and what a person can put right is one line."""

import ast
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image

from ncsn_tf import data, sources
from ncsn_tf.errors import UserError
from ncsn_tf.sources import load_source

REAL_DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data" / "tfds"
needs_real_data = pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="no prepared data in ../shared/data/tfds (from the repository)"
)


def images(source):
    """All images in the source's own order: uint8 [N, H, W, C]."""
    decoded = np.stack([source.decode(record) for record in source.records])
    assert decoded.dtype == np.uint8
    assert decoded.shape == (source.num_examples, *source.image_shape)
    return decoded


def one_line(error):
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


# digits


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


# TFDS


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
    assert train.records.dtype == tf.string
    assert train.name == "tiny_pictures"
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


@needs_real_data
def test_real_cifar10():
    options = {"data_dir": str(REAL_DATA), "image_size": 32, "channels": 3}
    train = load_source("cifar10", "train", **options)
    assert train.num_examples >= 10_000
    batches = data.training_batches(train, batch_size=500, seed=0, random_flip=True)
    pixels = np.concatenate(list(batches.take(20).as_numpy_iterator()))
    np.testing.assert_allclose(pixels.mean(axis=(0, 1, 2)), [0.4914, 0.4822, 0.4465], atol=0.01)
    np.testing.assert_allclose(pixels.std(axis=(0, 1, 2)), [0.247, 0.2435, 0.2616], atol=0.01)


# a folder of pictures


def load_folder(folder, split="train", **options):
    options = {"image_size": 4, "channels": 3, **options}
    return load_source("image_folder", split, data_dir=str(folder), **options)


@pytest.fixture
def warnings(monkeypatch):
    lines = []
    monkeypatch.setattr(
        sources.logging, "warning", lambda text, *values: lines.append(text % values)
    )
    return lines


def save(path, mode, colour, size=(4, 4), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


def test_folder_reads_every_format_and_colour_mode(tmp_path):
    save(tmp_path / "0.png", "RGB", "black")  # the first of the sorted order is for test
    save(tmp_path / "1.png", "RGB", (10, 20, 30))
    save(tmp_path / "2.JPG", "RGB", (100, 100, 100), quality=100)
    save(tmp_path / "3.jpeg", "L", 50, quality=100)
    save(tmp_path / "4.bmp", "RGB", (1, 2, 3))
    save(tmp_path / "5.webp", "RGB", (9, 8, 7), lossless=True)
    save(tmp_path / "6.png", "RGBA", (255, 0, 0, 0))
    save(tmp_path / "7.png", "RGBA", (255, 0, 0, 51))
    save(tmp_path / "8.png", "LA", (0, 102))
    save(tmp_path / "9.png", "I;16", 257 * 40)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 7, 77, 177])
    palette.save(tmp_path / "a.png")
    palette.save(tmp_path / "b.png", transparency=1)
    save(tmp_path / "sub" / "deep" / "c.PNG", "1", 1)
    (tmp_path / "notes.txt").write_text("no picture")
    pixels = images(load_folder(tmp_path))
    assert np.ptp(pixels.astype(int), axis=(1, 2)).max() <= 1
    expected = [
        [10, 20, 30],
        [100, 100, 100],
        [50, 50, 50],
        [1, 2, 3],
        [9, 8, 7],
        [255, 255, 255],  # wholly transparent: the white below
        [255, 204, 204],  # one fifth red on white
        [153, 153, 153],
        [40, 40, 40],
        [7, 77, 177],
        [255, 255, 255],
        [255, 255, 255],
    ]
    is_jpeg = np.isin(np.arange(12), [1, 2])
    np.testing.assert_allclose(pixels[is_jpeg, 0, 0], np.array(expected)[is_jpeg], atol=1)
    np.testing.assert_array_equal(pixels[~is_jpeg, 0, 0], np.array(expected)[~is_jpeg])


def test_folder_in_grey(tmp_path):
    save(tmp_path / "a.png", "RGB", (0, 100, 0))
    pixels = images(load_folder(tmp_path, channels=1))
    assert pixels.shape == (1, 4, 4, 1)
    np.testing.assert_allclose(pixels[0, 0, 0, 0], 58.7, atol=1)


def test_folder_crops_and_resizes(tmp_path):
    rows, columns = np.meshgrid(np.arange(6), np.arange(10), indexing="ij")
    values = (20 * rows + columns).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    square = images(load_folder(tmp_path, channels=1, image_size=6))[0, ..., 0]
    np.testing.assert_array_equal(square, values[:, 2:8])
    cropped = images(load_folder(tmp_path, channels=1, image_size=4, crop_size=4))[0, ..., 0]
    np.testing.assert_array_equal(cropped, values[1:5, 3:7])
    shrunk = images(load_folder(tmp_path, channels=1, image_size=1))[0, ..., 0]
    np.testing.assert_allclose(shrunk, values[:, 2:8].mean(), atol=2)  # nearest would be 64 or 44


def test_folder_turns_pictures_upright(tmp_path):
    values = np.array([[0, 60], [120, 180]], np.uint8)
    picture = Image.fromarray(values)
    exif = picture.getexif()
    exif[0x0112] = 6  # turned by 90 degrees: to be shown turned clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    pixels = images(load_folder(tmp_path, channels=1, image_size=2))[0, ..., 0]
    np.testing.assert_array_equal(pixels, [[120, 0], [180, 60]])


def test_folder_holds_out_every_twentieth_file_for_test(tmp_path):
    for index in range(41):
        save(tmp_path / f"{index:02}.png", "L", index)
    train = images(load_folder(tmp_path, channels=1))[:, 0, 0, 0]
    test = images(load_folder(tmp_path, "test", channels=1))[:, 0, 0, 0]
    np.testing.assert_array_equal(test, [0, 20, 40])
    np.testing.assert_array_equal(train, sorted(set(range(41)) - {0, 20, 40}))


def test_folder_of_one_or_two_pictures(tmp_path):
    save(tmp_path / "a.png", "L", 1)
    assert images(load_folder(tmp_path, "train")).max() == 1
    assert images(load_folder(tmp_path, "test")).max() == 1
    save(tmp_path / "b.png", "L", 2)
    assert images(load_folder(tmp_path, "train")).max() == 2
    assert images(load_folder(tmp_path, "test")).max() == 1


def test_folder_reports_unreadable_files_and_goes_on(tmp_path, warnings):
    save(tmp_path / "a.png", "L", 1)
    save(tmp_path / "b.png", "L", 2)
    noise = np.random.default_rng(0).integers(0, 256, [64, 64, 3], np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    cut = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    (tmp_path / "text.png").write_text("this is no picture")
    save(tmp_path / "z.png", "L", 3)
    pixels = images(load_folder(tmp_path, channels=1))[:, 0, 0, 0]
    np.testing.assert_array_equal(pixels, [2, 3])
    assert len(warnings) == 3
    assert str(tmp_path / "cut.jpg") in warnings[0]
    assert str(tmp_path / "text.png") in warnings[1]
    assert "2 of 4 pictures" in warnings[2]
    assert not any("\n" in line for line in warnings)


def test_folder_names_the_first_twenty_unreadable_files(tmp_path, warnings):
    for index in range(25):
        (tmp_path / f"{index:02}.png").write_text("broken")
    save(tmp_path / "good.png", "L", 1)
    assert load_folder(tmp_path).num_examples == 1
    assert len([line for line in warnings if str(tmp_path) in line]) == 20
    assert warnings[20] == "and 3 more"  # 25, less 00.png and 20.png, which are for test
    assert "23 of 24" in warnings[21]


def test_folder_without_a_readable_picture_is_a_user_error(tmp_path, warnings):
    (tmp_path / "text.png").write_text("this is no picture")
    with pytest.raises(UserError) as error:
        load_folder(tmp_path)
    assert str(tmp_path) in one_line(error)


@pytest.mark.parametrize("kind", ["empty", "missing", "file", ""])
def test_folder_that_is_none_is_a_user_error(tmp_path, kind):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as error:
        load_folder(tmp_path / kind if kind else "")
    assert (kind or "data_dir") in one_line(error)


def test_folder_end_to_end(tmp_path):
    for index in range(6):
        save(tmp_path / f"{index}.png", "RGB", (index, 0, 255))
    source = load_folder(tmp_path)
    batch = next(iter(data.training_batches(source, batch_size=5, seed=0))).numpy()
    np.testing.assert_array_equal(np.sort(np.rint(batch[:, 0, 0, 0] * 255)), np.arange(1, 6))
    assert np.all(batch[..., 2] == 1.0)


@pytest.mark.parametrize(("name", "value"), [("split", "valid"), ("channels", 2)])
def test_arguments_that_mean_nothing_are_a_value_error(name, value):
    options = {"split": "train", "image_size": 8, "channels": 1, name: value}
    with pytest.raises(ValueError, match=f"{name} must be .*{value}"):
        load_source("digits", **options)


def test_heavy_libraries_are_not_imported_with_the_module():
    tree = ast.parse(pathlib.Path(sources.__file__).read_text())
    names = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert "tensorflow" in names
    assert not names & {"tensorflow_datasets", "sklearn", "PIL", "tqdm"}
