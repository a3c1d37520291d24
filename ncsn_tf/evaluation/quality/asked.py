"""The classes that samples were asked to be of, for their accuracy."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ncsn_tf.errors import UserError
from ncsn_tf.files import array_headers, is_array, read_arrays, user_path
from ncsn_tf.settings.labels import Labels

_MOST_NAMED = 5  # classes in the name of a figure


class Asked(NamedTuple):
    """The class that each of N images was asked to be of.

    Attributes:
        labels: int64 [N], from 0.
        class_names: of all classes that there are, K; () where that is not known.

    Example:
        >>> Asked(np.array([1, 1, 2]), ("cat", "dog", "owl")).some
        'of-dog+owl'
        >>> Asked(np.array([0, 1]), ("cat", "dog")).some
        ''
    """

    labels: np.ndarray
    class_names: tuple[str, ...] = ()

    @property
    def some(self) -> str:
        """For names of figures: which classes the images are of; "" for all that there are."""
        present = np.unique(self.labels).tolist()
        if len(present) == len(self.class_names):
            return ""
        if len(present) > _MOST_NAMED:
            return f"of-{len(present)}-classes"
        known = dict(enumerate(self.class_names))
        return "of-" + "+".join(str(known.get(label, label)) for label in present)


def of_seeds(labels: Labels, seeds: Sequence[int] | np.ndarray) -> Asked:
    """The classes of the images of these seeds.

    Example:
        >>> of_seeds(Labels((1, 0), ("cat", "dog")), [0, 1, 2]).labels.tolist()
        [1, 0, 1]
    """
    return Asked(labels.of(seeds).astype(np.int64), labels.class_names)


def unclassifiable(asked: Asked | None, network: str, num_classes: int) -> str:
    """Why a network cannot tell how many images are of their class, in words; "" where it can.

    Args:
        asked: the classes that were asked for; None where there are none.
        network: name of the feature network.
        num_classes: of its probabilities; 0 where it has none.

    Example:
        >>> unclassifiable(Asked(np.array([0, 1]), ("cat", "dog")), "Means", 3)
        'needs a probability for each of the 2 classes, and Means has 3: take a classifier of these'
    """
    if asked is None:
        return "needs samples of which a class was asked for"
    if not num_classes:
        return f"needs probabilities, which {network} does not give: take a classifier"
    count = len(asked.class_names) or int(asked.labels.max(initial=0)) + 1
    if num_classes < count or (asked.class_names and num_classes != count):
        return (
            f"needs a probability for each of the {count} classes, and {network} has "
            f"{num_classes}: take a classifier of these"
        )
    return ""


def read_asked(path: str | os.PathLike, count: int, known: tuple[str, ...] = ()) -> Asked:
    """The classes of images that are there, as `ncsn sample --label --format=npz` writes them.

    Args:
        path: an .npz with `labels` and perhaps `class_names` beside its images, or a folder of such
            blocks, as of `images.open_images`.
        count: how many images it holds.
        known: the classes of the images that are compared with, where they have any.

    Raises:
        UserError: there are no labels, they are not one an image, or of other classes; one line.
    """
    place = user_path(path)
    paths = sorted(place.glob("seeds-*.npz")) if os.path.isdir(place) else [place]
    parts = [_read(part, path) for part in paths if os.path.isfile(part) and not is_array(part)]
    if not parts:
        raise UserError(f"{path} has none: ncsn sample --label --format=npz writes them")
    names = parts[0].class_names
    labels = np.concatenate([part.labels for part in parts])
    if any(part.class_names != names for part in parts):
        raise UserError(f"the files of {path} are of different classes")
    if len(labels) != count:
        raise UserError(f"{path} has {len(labels)}, for {count} images")
    if names and known and names != known:
        raise UserError(
            f"{path} is of the classes {_listed(names)}, and what it is compared with of "
            f"{_listed(known)}"
        )
    names = names or known
    if len(labels) and (labels.min() < 0 or (names and labels.max() >= len(names))):
        most = f" to {len(names) - 1}" if names else ""
        raise UserError(f"those of {path} must be from 0{most}")
    return Asked(labels, names)


def _read(path: Path, named: str | os.PathLike) -> Asked:
    """The labels of a file, of which `named` tells the user."""
    headers = array_headers(path)
    if "labels" not in headers:
        raise UserError(f"{named} has none: ncsn sample --label --format=npz writes them")
    shape, dtype = headers["labels"]
    if dtype.kind not in "iu" or len(shape) != 1:
        raise UserError(f"those of {named} must be whole numbers [N], not {dtype} {list(shape)}")
    has_names = "class_names" in headers and headers["class_names"][1].kind == "U"
    wanted = ["labels", *(["class_names"] if has_names else [])]
    arrays = read_arrays(path, wanted)
    names = arrays["class_names"].ravel().tolist() if has_names else []
    return Asked(arrays["labels"].astype(np.int64), tuple(names))


def _listed(names):
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"
