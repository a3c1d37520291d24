"""Where images come from: TensorFlow Datasets, scikit-learn's digits, or a folder of pictures."""

import contextlib
import difflib
import logging as python_logging
import os
import sys
from concurrent import futures

import numpy as np
import tensorflow as tf
from absl import logging

from ncsn_tf.data import Source, crop_and_resize
from ncsn_tf.errors import UserError

_SPLITS = ("train", "test")
_HELD_OUT = 20  # one example in 20 is for test where a data set has no test split
_PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_FILES_NAMED = 20
_READ_BATCH = 4096
# TFDS would ask a missing network 10 times, for three minutes; 4 times take three seconds.
_DOWNLOAD_RETRIES = 4


def load_source(dataset, split, *, data_dir="", image_size, channels, crop_size=0):
    """Images of one data set, cropped to a centred square and resized to image_size x image_size.

    Args:
        dataset: "digits" (scikit-learn), "image_folder", or the name of a TFDS data set with an
            'image' feature.
        split: "train" or "test". Where a data set has no test split: its validation split if it has
            one, else one example in 20 of its train split, which training then leaves out.
        data_dir: the folder with the pictures, or TFDS's data folder ("" is TFDS's default); digits
            needs none.
        image_size: H = W of the images.
        channels: C, 1 (grey) or 3 (RGB).
        crop_size: side of the centred square that is kept before the resize; 0, or more than the
            image's shorter side, keeps the largest square.

    Returns:
        a `Source`.

    Raises:
        ValueError: an unknown split, or channels other than 1 and 3.
        UserError: the data set is unknown, absent and not to be downloaded, or without readable
            images.
    """
    if split not in _SPLITS:
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels!r}")
    data_dir = os.path.expanduser(data_dir)
    if dataset == "digits":
        return _digits(split, image_size, channels, crop_size)
    if dataset == "image_folder":
        return _image_folder(split, data_dir, image_size, channels, crop_size)
    return _tfds(dataset, split, data_dir, image_size, channels, crop_size)


def run_source(config, split):
    """The `Source` of a run's images: `load_source` with the settings of its `Config`."""
    return load_source(
        config.dataset,
        split,
        data_dir=config.data_dir,
        image_size=config.image_size,
        channels=config.channels,
        crop_size=config.crop_size,
    )


def _in_memory(pixels, name, labels=None):
    """A source of decoded images: uint8 [N, H, W, C]."""
    return Source(pixels, lambda image: image, len(pixels), pixels.shape[1:], name, labels)


def _digits(split, image_size, channels, crop_size):
    """scikit-learn's 1,797 digits, 8x8; the last tenth of a fixed permutation is for test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    values = digits.images[..., None]  # [1797, 8, 8, 1], 0 to 16
    pixels = np.round(values * (255 / 16)).astype(np.uint8)
    order = np.random.RandomState(0).permutation(len(pixels))
    num_test = len(pixels) // 10
    order = order[:-num_test] if split == "train" else order[-num_test:]
    chosen, labels = pixels[order], digits.target[order].astype(np.int64)
    with tf.device("CPU:0"):
        chosen = crop_and_resize(chosen, image_size, crop_size).numpy()
    return _in_memory(np.repeat(chosen, channels, axis=-1), "digits", labels)


def _tfds(dataset, split, data_dir, image_size, channels, crop_size):
    """The encoded images of a TFDS data set, downloaded and prepared if need be."""
    import tensorflow_datasets as tfds

    if data_dir and not tf.io.gfile.isdir(data_dir):
        raise UserError(f"data_dir {data_dir!r} is not a folder")
    with _quiet():
        builder = _tfds_builder(dataset, data_dir)
        _prepare(builder, dataset)
        feature = dict(builder.info.features).get("image")
        if not isinstance(feature, tfds.features.Image) or feature.np_dtype != np.uint8:
            names = sorted(builder.info.features)
            raise UserError(f"data set {dataset!r} has no 8-bit feature 'image', only {names}")
        tfds_split = _tfds_split(builder, dataset, split)
        records, labels = _encoded_examples(builder, tfds_split, dataset)

    def decode(record):
        image = tf.io.decode_image(record, channels=channels, expand_animations=False)
        image.set_shape([None, None, channels])
        return crop_and_resize(image, image_size, crop_size)

    image_shape = (image_size, image_size, channels)
    return Source(records, decode, len(records), image_shape, dataset, labels)


def _tfds_builder(dataset, data_dir):
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(dataset, data_dir=data_dir or None)
    except tfds.core.DatasetNotFoundError as error:
        known = ["digits", "image_folder", *tfds.list_builders(with_community_datasets=False)]
        near = difflib.get_close_matches(dataset, known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"unknown data set {dataset!r}{hint}") from error
    except (ImportError, TypeError, ValueError) as error:
        raise UserError(f"data set {dataset!r} cannot be opened: {_first_line(error)}") from error


def _prepare(builder, dataset):
    """Download and prepare, unless that is done."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    retries = getattr(downloader, "MAX_RETRIES", None)
    downloader.MAX_RETRIES = _DOWNLOAD_RETRIES
    try:
        builder.download_and_prepare()
    except Exception as error:  # whatever its download and its preparation code may raise
        raise UserError(
            f"data set {dataset!r} is not in {builder.data_dir} and could not be downloaded: "
            f"{_first_line(error)}"
        ) from error
    finally:
        downloader.MAX_RETRIES = retries


def _tfds_split(builder, dataset, split):
    """The name of a TFDS split, or a slice of one."""
    splits = builder.info.splits
    if "train" not in splits:
        raise UserError(f"data set {dataset!r} has no split 'train', only {sorted(splits)}")
    if split == "train":
        held_out = 0 if {"test", "validation"} & set(splits) else _num_held_out(splits)
        return f"train[:-{held_out}]" if held_out else "train"
    for name in ("test", "validation"):
        if name in splits:
            return name
    return f"train[-{_num_held_out(splits)}:]"


def _num_held_out(splits):
    return max(1, splits["train"].num_examples // _HELD_OUT)


def _encoded_examples(builder, tfds_split, dataset):
    """The 'image' features as they are stored, string [N]; 'label', int64 [N], or None."""
    import tensorflow_datasets as tfds

    has_labels = isinstance(dict(builder.info.features).get("label"), tfds.features.ClassLabel)
    wanted = {"image": True, **({"label": True} if has_labels else {})}
    encoded = tfds.decode.PartialDecoding(wanted, decoders={"image": tfds.decode.SkipDecoding()})
    config = tfds.ReadConfig(try_autocache=False, enable_ordering_guard=False)
    try:
        examples = builder.as_dataset(split=tfds_split, decoders=encoded, read_config=config)
        columns = examples.map(lambda example: tuple(example[name] for name in wanted))
        batches = list(columns.batch(_READ_BATCH))
    except (tf.errors.OpError, ValueError) as error:
        raise UserError(
            f"data set {dataset!r} in {builder.data_dir} cannot be read: {_first_line(error)}"
        ) from error
    if not batches:
        raise UserError(
            f"data set {dataset!r} in {builder.data_dir} has no examples in {tfds_split!r}"
        )
    columns = [tf.concat(parts, axis=0) for parts in zip(*batches, strict=True)]
    return columns[0], columns[1].numpy() if has_labels else None


@contextlib.contextmanager
def _quiet():
    """From TFDS (which logs with absl) and its downloads errors only; what it prints, to stderr."""
    # Not set back: where one download has failed, others still retry, and warn, in their threads.
    python_logging.getLogger("urllib3.connectionpool").setLevel(python_logging.ERROR)
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logging.set_verbosity(verbosity)


def _first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _image_folder(split, data_dir, image_size, channels, crop_size):
    """Every picture below a folder, decoded once; every 20th in sorted order is for test."""
    if not data_dir:
        raise UserError("image_folder needs data_dir, the folder with the pictures")
    if not os.path.isdir(data_dir):
        raise UserError(f"data_dir {data_dir!r} is not a folder")
    paths = sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(data_dir)
        for name in names
        if name.lower().endswith(_PICTURES)
    )
    if not paths:
        raise UserError(f"no pictures ({' '.join(_PICTURES)}) in {data_dir!r}")
    if len(paths) > 1:
        test = set(paths[::_HELD_OUT])
        paths = [path for path in paths if (path in test) == (split == "test")]
    pixels, unreadable = _read_pictures(paths, image_size, channels, crop_size)
    for path, cause in unreadable[:_FILES_NAMED]:
        logging.warning("picture left out, unreadable: %s (%s)", path, cause)
    if len(unreadable) > _FILES_NAMED:
        logging.warning("and %d more", len(unreadable) - _FILES_NAMED)
    if not len(pixels):
        raise UserError(f"none of the {len(paths)} {split} pictures in {data_dir!r} can be read")
    if unreadable:
        logging.warning("%d of %d pictures are unreadable", len(unreadable), len(paths))
    return _in_memory(pixels, f"image_folder {data_dir}")


def _read_pictures(paths, image_size, channels, crop_size):
    """The readable pictures, uint8 [N, H, W, C], and (path, cause) of each unreadable file."""
    from tqdm import tqdm

    pixels = np.empty([len(paths), image_size, image_size, channels], np.uint8)
    unreadable = {}

    def read(index):
        try:
            pixels[index] = _read_picture(paths[index], image_size, channels, crop_size)
        except MemoryError:
            raise
        except Exception as error:  # a damaged file can raise almost anything in a decoder
            unreadable[index] = _first_line(error)

    with futures.ThreadPoolExecutor() as pool:
        list(tqdm(pool.map(read, range(len(paths))), "pictures", len(paths), disable=None))
    if unreadable:
        pixels = np.delete(pixels, sorted(unreadable), axis=0)
    return pixels, [(paths[index], unreadable[index]) for index in sorted(unreadable)]


def _read_picture(path, image_size, channels, crop_size):
    """One picture, uint8 [image_size, image_size, channels].

    Upright by its EXIF orientation, white where transparent, a centred square resized by Lanczos.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as picture:
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I"):  # 16 bits
            values = np.clip(np.asarray(picture) / 257, 0, 255)
            picture = Image.fromarray(np.round(values).astype(np.uint8))
        elif "A" in picture.getbands() or "transparency" in picture.info:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        picture = picture.convert("L" if channels == 1 else "RGB")
    side = min(picture.size)
    if crop_size:
        side = min(side, crop_size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    if side != image_size:
        picture = picture.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return np.asarray(picture).reshape(image_size, image_size, channels)
