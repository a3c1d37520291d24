"""Arrays in a .npy or an .npz as a data set."""

import os
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from ncsn_tf.data.class_names import as_text, numbered
from ncsn_tf.data.decoding import fitted_pixels
from ncsn_tf.data.folder import split_places
from ncsn_tf.data.image_file import FileImages
from ncsn_tf.data.images import to_uint8
from ncsn_tf.data.source import Source, from_arrays
from ncsn_tf.errors import UserError, warn
from ncsn_tf.files import array_headers, is_array, map_array, read_arrays

_BLOCK = 2**26  # bytes of the file's numbers that are looked at together
_CLASSES = "class_names"  # of an .npz: the names of the classes, by number
# What an .npz with splits calls its images and labels, for training and for test.
_SPLITS = (
    ("x_train", "y_train", "x_test", "y_test"),  # Keras
    ("train_images", "train_labels", "test_images", "test_labels"),  # MedMNIST
)


def load(
    split: str,
    data_dir: str,
    image_shape: tuple[int, int, int],
    crop_size: int,
    cache_dir: str = "",
) -> Source:
    """The images of a .npy, or of an .npz with their labels.

    Of an .npz the array `images` is taken, with `labels` if there are any, which are numbers or
    names, and `class_names`, the names of the numbers; or those of `_SPLITS`;
    or the only array of 3 or 4 axes. Without splits the first of each 20 images is for test, as in
    a folder; a single one is for both. Images of another size or other channels become what a file
    with these pixels becomes, in memory; of a .npy of uint8 in the shape of the run, batches are
    read from the file.

    Arguments are those of `sources.LOADERS`; `data_dir` is the file, `cache_dir` is not looked at.

    Raises:
        UserError: the file cannot be read, or does not hold images; one line, which says what would
            be right.
    """
    if not data_dir:
        raise UserError("the data set arrays needs data_dir, the .npy or .npz with the images")
    images, labels, title, has_splits, others, classes = _find(data_dir, split)
    _check_type(images, title)
    if labels is not None:
        labels, classes = _checked_labels(labels, len(images), data_dir, others, classes)
    places = np.arange(len(images))
    if not has_splits:
        places = split_places(places)[split]
        labels = None if labels is None else labels[places]
        if len(images) == 1:
            warn(f"{data_dir} has one picture: it is for training and for test")
    name = f"arrays {data_dir}"
    if _is_file_of_rows(images) and _fits(images.shape, image_shape, crop_size):
        return Source(FileImages(data_dir, places), name, labels)
    pixels = _pixels(images, places, image_shape, crop_size, title)
    return from_arrays(pixels, labels, name, () if labels is None else classes)


class _Found(NamedTuple):
    """What a file has for a split.

    Attributes:
        images, labels: arrays; labels may be None.
        title: what messages call the images.
        has_splits: whether these are the images of the split alone.
        others: the labels of the other split, which has the same classes; None without any.
        classes: the names of the classes, an array; None without any.
    """

    images: np.ndarray
    labels: np.ndarray | None
    title: str
    has_splits: bool = False
    others: np.ndarray | None = None
    classes: np.ndarray | None = None


def _find(path, split):
    if not os.path.isfile(path):
        what = "a folder" if os.path.isdir(path) else "not a file"
        raise UserError(f"data_dir {path!r} is {what}: name a .npy or an .npz with images")
    if is_array(path):
        return _Found(map_array(path), None, path)
    headers = array_headers(path)
    names, has_splits, other = _choose(headers, path, split)
    classes = _CLASSES if names[1] and _CLASSES in headers else None
    wanted = [name for name in (*names, other, classes) if name]
    for name in wanted:
        if headers[name][1].hasobject:
            raise UserError(
                f"{name} of {path} holds Python objects, which are not unpickled: save numbers"
            )
    arrays = read_arrays(path, wanted)
    images, labels, others, classes = (arrays.get(name) for name in (*names, other, classes))
    return _Found(images, labels, f"{names[0]} of {path}", has_splits, others, classes)


def _choose(headers, path, split):
    """((the name of the images, that of the labels or None), whether they are of one split, the
    name of the other split's labels or None)."""
    for train, train_labels, test, test_labels in _SPLITS:
        if train in headers and "images" not in headers:
            has_splits = test in headers
            pairs = ((train, train_labels), (test, test_labels))
            own, other = pairs[::-1] if has_splits and split == "test" else pairs
            labels = own[1] if own[1] in headers else None
            others = other[1] if has_splits and labels and other[1] in headers else None
            return (own[0], labels), has_splits, others
    like = {name: shape for name, (shape, _) in headers.items() if len(shape) in (3, 4)}
    if "images" not in headers and len(like) != 1:
        listed = ", ".join(f"{name} {list(shape)}" for name, (shape, _) in headers.items())
        raise UserError(
            f"{path} has no array 'images', nor a single one of 3 or 4 axes: it has "
            f"{listed or 'no arrays'}; name one of them images"
        )
    images = "images" if "images" in headers else next(iter(like))
    return (images, "labels" if "labels" in headers else None), False, None


def _check_type(images, title):
    """Raise a UserError if an array cannot be images, by its shape and type."""
    shape, dtype = list(images.shape), images.dtype
    hint = ""
    if images.ndim == 4 and shape[3] not in (1, 3):
        if shape[1] in (1, 3):
            hint = ": save images.transpose(0, 2, 3, 1)"
        elif shape[3] == 4:
            hint = ": save images[..., :3], which has no transparency"
    elif images.ndim == 3 and shape[2] in (1, 3, 4) and shape[1] > 4:
        hint = ": of a single picture save images[None]"
    elif images.ndim not in (3, 4):
        hint = ": save images.reshape(-1, H, W, C)"
    elif images.size:
        shape = None
    if shape is not None:
        raise UserError(
            f"{title} must be [N, H, W] or [N, H, W, C] with C 1 or 3, not {shape}{hint}"
        )
    if dtype == np.uint8 or dtype.kind == "f":
        return
    if dtype.kind == "b":
        hint = ": save images.astype('uint8') * 255"
    elif dtype.kind in "iu":
        hint = ": save images.astype('uint8') where its values are 0 to 255"
    raise UserError(f"{title} must be uint8, or float in [0, 1], not {dtype}{hint}")


def _checked_labels(labels, count, path, others, classes):
    """(labels as int64 [N], the names of the classes)."""
    hint, names = "", _checked_classes(classes, path)
    if labels.dtype.kind in "US" and labels.shape in ((count,), (count, 1)):
        labels = as_text(labels.reshape(-1))
        if not names and others is not None and others.dtype.kind in "US":
            names = np.unique(np.concatenate([labels, as_text(others.reshape(-1))])).tolist()
        try:
            return numbered(labels, names)
        except ValueError as error:
            raise UserError(f"the labels of {path} must be {_CLASSES}: {error}") from None
    if labels.ndim == 2 and labels.shape[1] > 1:
        hint = ": save labels.argmax(1) of such as have a 1 at their class"
    elif labels.dtype.kind not in "iu":
        hint = ": save numpy.unique(labels, return_inverse=True)[1]"
    elif labels.shape in ((count,), (count, 1)):
        labels = labels.reshape(-1).astype(np.int64)
        highest = int(labels.max())
        if labels.min() >= 0 and (not names or highest < len(names)):
            if others is not None and others.size and others.dtype.kind in "iu":
                highest = max(highest, int(others.max()))
            return labels, names or [str(number) for number in range(highest + 1)]
        if labels.min() >= 0:
            raise UserError(
                f"a label of {path} is {highest}, and {_CLASSES} has the names of {len(names)}"
            )
        hint = f", one of them {labels.min()}"
    raise UserError(
        f"the labels of {path} must be {count} whole numbers from 0, one an image, not "
        f"{labels.dtype} {list(labels.shape)}{hint}"
    )


def _checked_classes(classes, path):
    """The names of the classes, in order; empty without any."""
    if classes is None:
        return []
    names = as_text(classes).tolist() if classes.ndim == 1 and classes.dtype.kind in "US" else []
    if len(names) < 1 or len(set(names)) < len(names) or not all(names):
        raise UserError(
            f"{_CLASSES} of {path} must be names, one a class and all different, not "
            f"{classes.dtype} {list(classes.shape)}"
        )
    return names


def _is_file_of_rows(images):
    """Whether an array is a file of uint8, row after row, and nothing else."""
    return (
        isinstance(images, np.memmap)
        and images.dtype == np.uint8
        and images.flags.c_contiguous
        and not images.flags.f_contiguous  # which the file may mean, where both are the same
        and os.path.getsize(images.filename) == images.offset + images.nbytes
    )


def _pixels(images, places, image_shape, crop_size, title):
    """Images at places in the shape of a run, uint8 [n, H, W, C]; little else is in memory."""
    pixels = np.empty([len(places), *image_shape], np.uint8)
    size = max(1, _BLOCK // max(1, images[0].nbytes))
    fits = _fits(images.shape, image_shape, crop_size)
    for start in tqdm(range(0, len(places), size), "arrays", disable=None):
        rows = slice(start, start + size)
        block = images[places[rows]]
        if block.dtype != np.uint8:
            block = _in_8_bits(block, title)
        if fits:
            pixels[rows] = block.reshape(-1, *image_shape)
            continue
        if block.ndim == 4 and block.shape[3] == 1:
            block = block[..., 0]
        for place, image in enumerate(block, start):
            pixels[place] = fitted_pixels(Image.fromarray(image), image_shape, crop_size)
    return pixels


def _fits(shape, image_shape, crop_size):
    """Whether images [N, H, W] or [N, H, W, C] are in the shape of a run as they are."""
    is_cropped = 0 < crop_size < min(image_shape[:2])
    return (*shape[1:], 1)[:3] == image_shape and not is_cropped


def _in_8_bits(block, title):
    low, high = float(block.min()), float(block.max())
    if not (low >= 0 and high <= 1):
        hint = ""
        if low >= 0 and high <= 255:
            hint = ": divide by 255"
        elif low >= -1 and high <= 1:
            hint = ": add 1 and divide by 2"
        raise UserError(f"{title} must be in [0, 1], and has values of {low:g} to {high:g}{hint}")
    return to_uint8(block.astype(np.float32) if block.dtype == np.float16 else block)
