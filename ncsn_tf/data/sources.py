"""Where images come from: the kinds of data sets by name."""

import difflib
import os
from collections.abc import Callable

from ncsn_tf.data import digits, folder, tfds_source
from ncsn_tf.data.source import Source, from_arrays
from ncsn_tf.errors import UserError
from ncsn_tf.files import user_path

__all__ = ["LOADERS", "Source", "from_arrays", "load_source"]

# Name -> load(split, data_dir, image_size, channels, crop_size) -> Source, as in `load_source`.
# Every other name is one of TensorFlow Datasets.
LOADERS: dict[str, Callable[[str, str, int, int, int], Source]] = {
    "digits": digits.load,
    "image_folder": folder.load,
}
_SPLITS = ("train", "test")


def load_source(
    dataset: str,
    split: str,
    *,
    data_dir: str | os.PathLike = "",
    image_size: int,
    channels: int,
    crop_size: int = 0,
) -> Source:
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

    Example:
        >>> source = load_source("digits", "test", image_size=8, channels=1)
        >>> source.num_examples, source.image_shape, source.labels[:4].tolist()
        (179, (8, 8, 1), [6, 1, 7, 4])
    """
    if split not in _SPLITS:
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels!r}")
    data_dir = os.fspath(data_dir)
    if data_dir.startswith("~"):  # others stay as they are, such as gs://bucket
        data_dir = str(user_path(data_dir))
    if dataset in LOADERS:
        return LOADERS[dataset](split, data_dir, image_size, channels, crop_size)
    try:
        return tfds_source.load(dataset, split, data_dir, image_size, channels, crop_size)
    except tfds_source.UnknownNameError:
        known = [*LOADERS, *tfds_source.names()]
        near = difflib.get_close_matches(dataset, known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"unknown data set {dataset!r}{hint}") from None
