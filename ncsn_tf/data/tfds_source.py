"""Data sets of TensorFlow Datasets: encoded in memory where they are small, else decoded once.

TFDS takes seconds to import: `sources` imports this file when such a data set is asked for.
"""

import contextlib
import hashlib
import logging as python_logging
import math
import sys

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core.download import downloader

from ncsn_tf.data import prepared
from ncsn_tf.data.decoding import decode_picture, fitted_pixels
from ncsn_tf.data.encoded import NAMED, EncodedImages, none_decodable, undecodable
from ncsn_tf.data.prepared import Pictures
from ncsn_tf.data.source import Source
from ncsn_tf.errors import UserError, warn

_HELD_OUT = 20  # one example in 20 is for test where a data set has no test split
_READ_BATCH = 4096
# Splits whose records and pixels take no more are held in memory, each in its form: MNIST and
# CIFAR-10 are. Others are decoded once, into the cache.
_IN_MEMORY = 2**28
# TFDS would ask a missing network 10 times, for three minutes; 4 times take three seconds.
_DOWNLOAD_RETRIES = 4


class UnknownNameError(Exception):
    """TFDS has no data set of that name."""


def names() -> list[str]:
    """The data sets that TFDS has."""
    with _quiet():
        return tfds.list_builders(with_community_datasets=False)


def load(
    dataset: str,
    split: str,
    data_dir: str,
    image_shape: tuple[int, int, int],
    crop_size: int,
    cache_dir: str = "",
) -> Source:
    """The images of a TFDS data set, downloaded and prepared by TFDS if need be.

    They are decoded by the rule for all pictures, `decoding.read_picture`. A record that cannot be
    decoded is named on stderr by its place in the split, and left out when its turn comes: in
    training the next one that can be stands in for it, and passes over all images go without it.

    Arguments are those of `sources.LOADERS`, after the name.

    Raises:
        UnknownNameError: TFDS has no data set of that name.
        UserError: it is absent and not to be downloaded, or without readable images; or there is no
            room in the cache.
    """
    if data_dir and not tf.io.gfile.isdir(data_dir):
        raise UserError(f"data_dir {data_dir!r} is not a folder")
    with _quiet():
        builder = _open_builder(dataset, data_dir)
        _prepare(builder, dataset)
        feature = dict(builder.info.features).get("image")
        if not isinstance(feature, tfds.features.Image) or feature.np_dtype != np.uint8:
            there = sorted(builder.info.features)
            raise UserError(f"data set {dataset!r} has no 8-bit feature 'image', only {there}")
        records = _Records(builder, _tfds_split(builder, dataset, split), dataset)
        if records.number * math.prod(image_shape) > _IN_MEMORY or records.num_bytes > _IN_MEMORY:
            return _prepared(records, image_shape, crop_size, cache_dir)
        return _encoded(records, image_shape, crop_size)


def _encoded(records, image_shape, crop_size):
    """A source of records that are decoded when their turn comes."""

    def decode(record):
        return fitted_pixels(decode_picture(record), image_shape, crop_size)

    contents = np.concatenate([part for _, part in records.parts(_READ_BATCH)])
    images = EncodedImages(contents, decode, image_shape, records.name)
    images.check()
    return Source(images, records.name, records.labels(), records.classes)


def _prepared(records, image_shape, crop_size, cache_dir):
    """A source of records that were decoded once."""
    pictures = Pictures(
        name=records.name,
        origin=f"{records.name} in {records.builder.data_dir}",
        fingerprint=records.fingerprint(),
        number=records.number,
        parts=records.parts,
        labels=records.labels,
        classes=records.classes,
    )
    found = prepared.prepare(pictures, image_shape, crop_size, cache_dir)
    unreadable = sorted(found.unreadable.items())
    if len(unreadable) == records.number:
        raise none_decodable(records.number, records.name, unreadable[0][1])
    for place, cause in unreadable[:NAMED]:
        warn(undecodable(place, records.name, cause))
    if len(unreadable) > NAMED:
        warn(f"and {len(unreadable) - NAMED} more")
    return Source(found.images(), records.name, found.labels, records.classes)


class _Records:
    """The encoded images of a split.

    Attributes:
        name: of data set and split.
        number: of records.
        num_bytes: of them all, as TFDS tells it.
        classes: names of the classes; empty where there are none.
    """

    def __init__(self, builder, split, dataset):
        self.builder, self.split, self.dataset = builder, split, dataset
        self.name = f"{dataset} ({split})"
        whole, info = builder.info.splits[split.partition("[")[0]], builder.info.splits[split]
        self.number = info.num_examples
        self.num_bytes = whole.num_bytes
        feature = dict(builder.info.features).get("label")
        self._has_labels = isinstance(feature, tfds.features.ClassLabel)
        self.classes = tuple(feature.names or ()) if self._has_labels else ()
        self._labels = []

    def parts(self, size):
        """(start, the 'image' features as they are stored, bytes [n]) of each `size` in order."""
        self._labels = []
        wanted = {"image": True, **({"label": True} if self._has_labels else {})}
        encoded = tfds.decode.PartialDecoding(
            wanted, decoders={"image": tfds.decode.SkipDecoding()}
        )
        config = tfds.ReadConfig(try_autocache=False, enable_ordering_guard=False)
        place, start = self._place(), 0
        try:
            examples = self.builder.as_dataset(
                split=self.split, decoders=encoded, read_config=config
            )
            columns = examples.map(lambda example: tuple(example[name] for name in wanted))
            for images, *labels in columns.batch(size).as_numpy_iterator():
                self._labels += labels
                yield start, images
                start += len(images)
        except (tf.errors.OpError, ValueError) as error:
            raise UserError(f"{place} cannot be read: {_first_line(error)}") from error
        if not start:
            raise UserError(f"{place} has no examples in {self.split!r}")
        if start != self.number:
            raise UserError(f"{place} has {start} examples in {self.split!r}, not {self.number}")

    def labels(self):
        """'label', int64 [N], or None; after `parts` has ended."""
        return np.concatenate(self._labels) if self._has_labels else None

    def fingerprint(self):
        """Another one whenever the files are others, by what TFDS and the file system tell."""
        info = self.builder.info
        digest = hashlib.sha256(f"{info.full_name} {self.split}".encode())
        split = info.splits[self.split.partition("[")[0]]
        digest.update(f" {list(split.shard_lengths)} {split.num_bytes}".encode())
        for path in split.filepaths:
            try:
                status = tf.io.gfile.stat(str(path))
            except tf.errors.OpError as error:
                raise UserError(f"{self._place()} cannot be read: {_first_line(error)}") from error
            digest.update(f" {path.name} {status.length} {status.mtime_nsec}".encode())
        return digest.hexdigest()

    def _place(self):
        return f"data set {self.dataset!r} in {self.builder.data_dir}"


def _open_builder(dataset, data_dir):
    try:
        return tfds.builder(dataset, data_dir=data_dir or None)
    except tfds.core.DatasetNotFoundError as error:
        raise UnknownNameError(dataset) from error
    except (ImportError, TypeError, ValueError) as error:
        raise UserError(f"data set {dataset!r} cannot be opened: {_first_line(error)}") from error


def _prepare(builder, dataset):
    """Download and prepare, unless that is done."""
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    if not builder.is_prepared():
        # The files are those of all of its configurations; of few data sets there is no list.
        is_one = len(builder.builder_configs) < 2
        size = sum(info.size for info in (builder.url_infos or {}).values()) if is_one else 0
        amount = f"downloads {size / 1e6:.0f} MB" if size else "downloads it"
        print(f"Data set {dataset} is not here yet: {amount} (--dataset=digits needs no download)")
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
