"""Where images come from: the kinds of data sets by name."""

import difflib
import os
from collections.abc import Callable, Sequence

from ncsn_tf.backend.sizes import ImageSize, sides
from ncsn_tf.data import arrays_source, digits, folder, robohash_cats
from ncsn_tf.data.source import Source, from_arrays
from ncsn_tf.errors import UserError
from ncsn_tf.files import user_path

__all__ = ["LOADERS", "Source", "from_arrays", "load_source"]

# Name -> load(split, data_dir, (H, W, C), crop_size, cache_dir) -> Source, as in `load_source`.
# Every other name is one of TensorFlow Datasets.
LOADERS: dict[str, Callable[[str, str, tuple[int, int, int], int, str], Source]] = {
    "arrays": arrays_source.load,
    "digits": digits.load,
    "image_folder": folder.load,
    "robohash_cats": robohash_cats.load,
}
_SPLITS = ("train", "test")


def load_source(
    dataset: str,
    split: str,
    *,
    data_dir: str | os.PathLike = "",
    image_size: ImageSize | Sequence[int],
    channels: int,
    crop_size: int = 0,
    cache_dir: str | os.PathLike = "",
) -> Source:
    """Images of one data set, each cropped to the shape that is wanted, and resized.

    Args:
        dataset: "digits" (scikit-learn), "robohash_cats", "image_folder", "arrays", or the name of
            a TFDS data set with an 'image' feature.
        split: "train" or "test". Where a data set has no test split: its validation split if it has
            one, else one example in 20 of its train split, which training then leaves out.
        data_dir: the folder, .zip or .tar with the pictures of image_folder; the .npy or .npz of
            arrays; or TFDS's data folder ("" is TFDS's default). The others need none.
        image_size: of the images: the side of squares, such as 48, or (H, W), or "48x64".
        channels: C, 1 (grey) or 3 (RGB).
        crop_size: shorter side of the centred rectangle, of the shape of the images, that is kept
            before the resize; 0, or more than there is, keeps the largest one.
        cache_dir: where images of large data sets are kept once they are decoded; "" is
            $NCSN_CACHE, or the user's folder of caches.

    Returns:
        a `Source`.

    Raises:
        ValueError: an unknown split, channels other than 1 and 3, or what is no size.
        UserError: the data set is unknown, absent and not to be downloaded, or without readable
            images; or there is no room in the cache.

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
    image_shape = (*sides(image_size), channels)
    wanted = (split, data_dir, image_shape, crop_size, os.fspath(cache_dir))
    if dataset in LOADERS:
        return LOADERS[dataset](*wanted)
    from ncsn_tf.data import tfds_source

    try:
        return tfds_source.load(dataset, *wanted)
    except tfds_source.UnknownNameError:
        known = [*LOADERS, *tfds_source.names()]
        near = difflib.get_close_matches(dataset, known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"unknown data set {dataset!r}{hint}") from None
