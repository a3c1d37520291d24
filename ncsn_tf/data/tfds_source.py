"""Data sets of TensorFlow Datasets, whose images stay encoded until they are in a batch."""

import contextlib
import logging as python_logging
import sys

import numpy as np
import tensorflow as tf
from absl import logging

from ncsn_tf.data.decoding import decode_picture, square_pixels
from ncsn_tf.data.source import Source
from ncsn_tf.errors import UserError

_HELD_OUT = 20  # one example in 20 is for test where a data set has no test split
_READ_BATCH = 4096
# TFDS would ask a missing network 10 times, for three minutes; 4 times take three seconds.
_DOWNLOAD_RETRIES = 4


class UnknownNameError(Exception):
    """TFDS has no data set of that name."""


def names() -> list[str]:
    """The data sets that TFDS has."""
    import tensorflow_datasets as tfds

    with _quiet():
        return tfds.list_builders(with_community_datasets=False)


def load(
    dataset: str, split: str, data_dir: str, image_size: int, channels: int, crop_size: int
) -> Source:
    """The encoded images of a TFDS data set, downloaded and prepared if need be.

    They are decoded by the rule for all pictures, `decoding.read_picture`. A record that cannot be
    decoded is left out when its turn comes, and named on stderr by its place in the split: in
    training the next one that can be stands in for it, and passes over all images go without it.

    Arguments are those of `sources.load_source`.

    Raises:
        UnknownNameError: TFDS has no data set of that name.
        UserError: it is absent and not to be downloaded, or without readable images.
    """
    import tensorflow_datasets as tfds

    if data_dir and not tf.io.gfile.isdir(data_dir):
        raise UserError(f"data_dir {data_dir!r} is not a folder")
    with _quiet():
        builder = _open_builder(dataset, data_dir)
        _prepare(builder, dataset)
        feature = dict(builder.info.features).get("image")
        if not isinstance(feature, tfds.features.Image) or feature.np_dtype != np.uint8:
            there = sorted(builder.info.features)
            raise UserError(f"data set {dataset!r} has no 8-bit feature 'image', only {there}")
        tfds_split = _tfds_split(builder, dataset, split)
        records, labels = _encoded_examples(builder, tfds_split, dataset)

    def decode(record):
        return square_pixels(decode_picture(record), image_size, channels, crop_size)

    name = f"{dataset} ({tfds_split})"
    image_shape = (image_size, image_size, channels)
    source = Source(records, decode, len(records), image_shape, name, labels)
    source.encoded.check()
    return source


def _open_builder(dataset, data_dir):
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(dataset, data_dir=data_dir or None)
    except tfds.core.DatasetNotFoundError as error:
        raise UnknownNameError(dataset) from error
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
    """The 'image' features as they are stored, bytes [N]; 'label', int64 [N], or None."""
    import tensorflow_datasets as tfds

    has_labels = isinstance(dict(builder.info.features).get("label"), tfds.features.ClassLabel)
    wanted = {"image": True, **({"label": True} if has_labels else {})}
    encoded = tfds.decode.PartialDecoding(wanted, decoders={"image": tfds.decode.SkipDecoding()})
    config = tfds.ReadConfig(try_autocache=False, enable_ordering_guard=False)
    try:
        examples = builder.as_dataset(split=tfds_split, decoders=encoded, read_config=config)
        columns = examples.map(lambda example: tuple(example[name] for name in wanted))
        batches = list(columns.batch(_READ_BATCH).as_numpy_iterator())
    except (tf.errors.OpError, ValueError) as error:
        raise UserError(
            f"data set {dataset!r} in {builder.data_dir} cannot be read: {_first_line(error)}"
        ) from error
    if not batches:
        raise UserError(
            f"data set {dataset!r} in {builder.data_dir} has no examples in {tfds_split!r}"
        )
    columns = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    return columns[0], columns[1] if has_labels else None


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
