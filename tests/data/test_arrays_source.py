"""Arrays in files as a data set."""

import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image
from source_checks import images, one_line

from ncsn_tf.data.decoding import fitted_pixels
from ncsn_tf.data.image_file import FileImages
from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.settings.flags import parse_config

PIXELS = np.random.default_rng(0).integers(0, 256, [41, 6, 6, 3], np.uint8)
TEST = [0, 20, 40]
TRAIN = [place for place in range(41) if place not in TEST]


def load(path, split="train", **options):
    options = {"image_size": 6, "channels": 3, **options}
    return load_source("arrays", split, data_dir=str(path), **options)


@pytest.fixture
def npy(tmp_path):
    def save(array):
        np.save(tmp_path / "a.npy", array)
        return tmp_path / "a.npy"

    return save


@pytest.fixture
def npz(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "a.npz", **arrays)
        return tmp_path / "a.npz"

    return save


@pytest.mark.parametrize(
    "stored",
    [
        PIXELS,
        PIXELS.astype(np.float32) / np.float32(255),
        PIXELS / 255,
        (PIXELS / 255).astype(">f8"),
        np.asfortranarray(PIXELS),
        np.asfortranarray(PIXELS / 255),
        PIXELS.astype(np.float16) / np.float16(255),
    ],
    ids=["bytes", "float32", "float64", "big-endian", "Fortran", "Fortran floats", "float16"],
)
def test_pixels_are_those_of_the_file(stored, npy, npz):
    for path in (npy(stored), npz(images=stored)):
        for split, places in (("train", TRAIN), ("test", TEST)):
            source = load(path, split)
            np.testing.assert_array_equal(images(source), PIXELS[places])
            assert (source.labels, source.name) == (None, f"arrays {path}")


def test_greys_with_and_without_an_axis_of_channels(npy):
    for stored in (PIXELS[..., 0], PIXELS[..., :1]):
        found = images(load(npy(stored), channels=1))
        np.testing.assert_array_equal(found, PIXELS[TRAIN, :, :, :1])
        found = images(load(npy(stored)))
        np.testing.assert_array_equal(found, PIXELS[TRAIN, :, :, :1].repeat(3, -1))


@pytest.mark.parametrize("options", [
    {"image_size": 4},
    {"image_size": 4, "channels": 1},
    {"image_size": 6, "channels": 1},
    {"image_size": 4, "crop_size": 4},
    {"image_size": 6, "crop_size": 4},
    {"image_size": 6, "crop_size": 99},
])  # fmt: skip
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("floats", [False, True])
def test_other_sizes_and_channels_are_those_of_files(options, wide, floats, npy, tmp_path):
    """What the same pixels become in a folder of PNGs."""
    stored = np.concatenate([PIXELS, PIXELS[:, ::-1]], axis=2) if wide else PIXELS
    (tmp_path / "folder").mkdir()
    for place, image in enumerate(stored):
        Image.fromarray(image).save(tmp_path / "folder" / f"{place:03}.png")
    path = npy(stored / 255 if floats else stored)
    options = {"channels": 3, **options}
    for split in ("train", "test"):
        folder = load_source("image_folder", split, data_dir=tmp_path / "folder", **options)
        np.testing.assert_array_equal(images(load(path, split, **options)), images(folder))


def test_a_file_in_the_shape_of_the_run_is_not_read_whole(npy, npz):
    def is_file(path, **options):
        return isinstance(load(path, **options).images, FileImages)

    assert is_file(npy(PIXELS)) and is_file(npy(PIXELS[..., 0]), channels=1)
    assert is_file(npy(PIXELS), crop_size=6)
    for options in ({"channels": 1}, {"image_size": 4}, {"crop_size": 4}):
        assert not is_file(npy(PIXELS), **options)
    for stored in (PIXELS / 255, np.asfortranarray(PIXELS), PIXELS[:1, :1, :1]):
        assert not is_file(npy(stored), image_size=len(stored[0]))
    assert not is_file(npz(images=PIXELS))
    path = npy(PIXELS)
    path.write_bytes(path.read_bytes() + b"more")  # NumPy reads it
    assert not is_file(path)
    np.testing.assert_array_equal(images(load(path)), PIXELS[TRAIN])


def test_labels_stay_with_their_images(npz):
    labels = np.arange(41)
    for stored in (labels, labels.astype(np.uint8), labels[:, None]):
        path = npz(images=PIXELS, labels=stored)
        for split, places in (("train", TRAIN), ("test", TEST)):
            source = load(path, split)
            np.testing.assert_array_equal(source.labels, places)
            assert source.labels.dtype == np.int64


@pytest.mark.parametrize("names", [
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
])  # fmt: skip
def test_files_with_splits(names, npz):
    arrays = [PIXELS[:30], np.arange(30)[:, None], PIXELS[30:], np.arange(11)]
    path = npz(**dict(zip(names, arrays, strict=True)), val_images=PIXELS[:2])
    train, test = load(path), load(path, "test")
    np.testing.assert_array_equal(images(train), PIXELS[:30])
    np.testing.assert_array_equal(images(test), PIXELS[30:])
    assert (train.labels.tolist(), test.labels.tolist()) == ([*range(30)], [*range(11)])
    path = npz(**{names[0]: PIXELS})  # no test split, no labels
    np.testing.assert_array_equal(images(load(path, "test")), PIXELS[TEST])
    assert load(path).labels is None


def test_the_only_array_that_can_be_images(npz):
    path = npz(pixels=PIXELS, labels=np.arange(41), seeds=np.arange(3))
    np.testing.assert_array_equal(images(load(path)), PIXELS[TRAIN])
    assert load(path, "test").labels.tolist() == TEST
    with pytest.raises(UserError) as error:
        load(npz(a=PIXELS, b=PIXELS[:2]))
    assert one_line(error).endswith(
        "a.npz has no array 'images', nor a single one of 3 or 4 axes: it has "
        "a [41, 6, 6, 3], b [2, 6, 6, 3]; name one of them images"
    )


def test_one_image_is_for_both_splits(npy, capsys):
    path = npy(PIXELS[:1])
    for split in ("train", "test"):
        np.testing.assert_array_equal(images(load(path, split)), PIXELS[:1])
        assert f"{path} has one picture: it is for training and for" in capsys.readouterr().err
    np.testing.assert_array_equal(images(load(npy(PIXELS[:2]))), PIXELS[1:2])


GREYS = PIXELS[..., 0]


@pytest.mark.parametrize("stored, message", [
    (PIXELS.astype(int), "uint8, or float in [0, 1], not int64: save images.astype('uint8') where"),
    (PIXELS.astype(np.uint16), "not uint16: save images.astype('uint8') where its values are 0 to"),
    (GREYS > 9, "not bool: save images.astype('uint8') * 255"),
    (GREYS.astype(complex), "must be uint8, or float in [0, 1], not complex128"),
    (GREYS.astype("U1"), "not <U1"),
    (PIXELS * 1.0, "must be in [0, 1], and has values of 0 to 255: divide by 255"),
    (PIXELS / 127.5 - 1, "has values of -1 to 1: add 1 and divide by 2"),
    (PIXELS * 9.0, "must be in [0, 1], and has values of 0 to 2295"),
    (np.where(PIXELS == 7, np.nan, PIXELS / 255), "and has values of nan to nan"),
    (np.where(PIXELS == 7, np.inf, PIXELS / 255), "and has values of 0 to inf"),
    (PIXELS.transpose(0, 3, 1, 2), "not [41, 3, 6, 6]: save images.transpose(0, 2, 3, 1)"),
    (PIXELS[..., :1].transpose(0, 3, 1, 2), "not [41, 1, 6, 6]: save images.transpose(0, 2, 3, 1)"),
    (np.zeros([5, 6, 6, 4], np.uint8), "not [5, 6, 6, 4]: save images[..., :3], which has no"),
    (PIXELS[..., :2], "with C 1 or 3, not [41, 6, 6, 2]"),
    (PIXELS[0], "not [6, 6, 3]: of a single picture save images[None]"),
    (GREYS.reshape(41, 36), "not [41, 36]: save images.reshape(-1, H, W, C)"),
    (PIXELS[:, None], "not [41, 1, 6, 6, 3]: save images.reshape(-1, H, W, C)"),
    (np.uint8(3), "not []"),
    (PIXELS[:0], "not [0, 6, 6, 3]"),
    (PIXELS[:, :0], "not [41, 0, 6, 3]"),
    (np.array([{}] * 3), "holds Python objects, which are not unpickled"),
])  # fmt: skip
def test_arrays_that_are_no_images(stored, message, npy, npz):
    for path in (npy(stored), npz(images=stored)):
        with pytest.raises(UserError) as error:
            load(path)
        assert message in one_line(error)
        assert str(path) in one_line(error)


@pytest.mark.parametrize("labels, message", [
    (np.arange(40), "must be 41 whole numbers from 0, one an image, not int64 [40]"),
    (np.arange(41) - 1, "not int64 [41], one of them -1"),
    (np.arange(41, dtype=np.uint64) + np.uint64(2**63), "one of them -9223372036854775808"),
    (np.eye(41, dtype=int), "[41, 41]: save labels.argmax(1) of such as have a 1 at their class"),
    (np.arange(41) * 1.0, "not float64 [41]: save numpy.unique(labels, return_inverse=True)[1]"),
    (np.array(["cat"] * 40), "not <U3 [40]: save numpy.unique(labels, return_inverse=True)[1]"),
    (np.array([{}] * 41), "labels of {} holds Python objects, which are not unpickled"),
])  # fmt: skip
def test_labels_that_are_none(labels, message, npz):
    path = npz(images=PIXELS, labels=labels)
    with pytest.raises(UserError) as error:
        load(path)
    assert message.format(path) in one_line(error) and str(path) in one_line(error)


@pytest.mark.parametrize("kind, message", [
    ("none given", "needs data_dir, the .npy or .npz with the images"),
    ("missing", "is not a file: name a .npy or an .npz"),
    ("folder", "is a folder: name a .npy or an .npz"),
    ("text", "cannot be read: not an .npz"),
    ("zip of pictures", "nor a single one of 3 or 4 axes: it has no arrays"),
    ("cut npy", "cannot be read: it is cut short"),
    ("cut npz", "cannot be read: not an .npz"),
    ("lies", "cannot be read: it is cut short"),
])  # fmt: skip
def test_files_that_are_none(kind, message, tmp_path, npy, npz):
    path = tmp_path / "x.npy"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("no arrays")
    elif kind == "zip of pictures":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.png", b"")
    elif kind == "lies":
        whole = npy(PIXELS).read_bytes()
        path.write_bytes(whole.replace(b"(41, 6, 6, 3)", b"(4100,6,6, 3)"))
    elif kind.startswith("cut"):
        whole = (npy(PIXELS) if kind == "cut npy" else npz(images=PIXELS)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError) as error:
        load("" if kind == "none given" else path)
    assert message in one_line(error)


def test_many_numbers_are_looked_at_in_blocks(npy, npz):
    """Of 32 MiB of float64 no second copy is in memory, nor of a file that is mapped the first."""
    stored = np.random.default_rng(0).random([128, 128, 256])
    path = npy(stored)
    expected = np.stack(
        [
            fitted_pixels(Image.fromarray(np.uint8(np.rint(image * 255))), (8, 8, 1))
            for image in stored
        ]
    )
    np.testing.assert_array_equal(
        images(load(path, image_size=8, channels=1)), np.delete(expected, np.s_[::20], axis=0)
    )
    peaks = {}
    for file in (path, npz(images=stored)):
        for block in (2**20, 2**30):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("ncsn_tf.data.arrays_source._BLOCK", block)
                tracemalloc.start()
                load(file, image_size=8, channels=1)
                peaks[file.suffix, block] = tracemalloc.get_traced_memory()[1] / stored.nbytes
                tracemalloc.stop()
    assert peaks[".npy", 2**20] < 0.3 and peaks[".npz", 2**20] < 1.3
    assert peaks[".npy", 2**30] > 1.5  # without blocks


def test_flags_for_arrays(npy, npz):
    def message(*flags):
        with pytest.raises(UserError) as error:
            parse_config(["train.py", "--dataset=arrays", *flags])
        return one_line(error)

    path = npz(x_train=PIXELS, y_train=np.arange(41))
    config = parse_config(["x", "--dataset=arrays", f"--data_dir={path}", "--image_size=6"])
    assert (config.image_shape, str(config.run_dir)) == ((6, 6, 3), "runs/arrays")
    assert message("--image_size=6") == (
        "--data_dir= must name the .npy or .npz that --dataset=arrays reads"
    )
    start = "--dataset=arrays needs an explicit --image_size: "
    assert message(f"--data_dir={path}") == f"{start}{path} has x_train [41, 6, 6, 3]"
    path = npy(GREYS)
    assert message(f"--data_dir={path}") == f"{start}{path} has [41, 6, 6]"
    assert message("--data_dir=gone") == f"{start}gone is not a file"
    with pytest.raises(ConfigError):
        parse_config(["train.py", "--dataset=arrays"])
