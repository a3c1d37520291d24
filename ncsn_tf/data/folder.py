"""A folder of pictures, or an archive of them, as a data set."""

import numpy as np

from ncsn_tf.data.collection import (
    Collection,
    classes_by_folder,
    labels_by_folder,
    open_collection,
)
from ncsn_tf.data.prepared import prepare_collection
from ncsn_tf.data.source import Source
from ncsn_tf.errors import UserError, inform, warn

_HELD_OUT = 20  # one picture in 20 is for test
_NAMED = 20  # files that are named; of more, the number is said


_said = set()  # what was said of pictures that are left out: once of each collection


def load(
    split: str,
    data_dir: str,
    image_shape: tuple[int, int, int],
    crop_size: int,
    cache_dir: str = "",
) -> Source:
    """Every picture below a folder, or in an archive.

    Few are decoded into memory at every start, many once into the cache.

    The pictures in sorted order make blocks of 20, and the first of a block that can be read is for
    test: a file that is damaged later moves no picture of another block from one split to the
    other. Where that would leave nothing to train on, every 20th of all readable pictures is for
    test; a single one is for both. What is left out is said on stderr, with how many were found and
    read. A folder of folders gives labels, by the folders' names.

    Arguments are those of `sources.LOADERS`.

    Raises:
        UserError: no folder and no archive, no picture in it that can be read, or no room for them
            in the cache.
    """
    if not data_dir:
        raise UserError("image_folder needs data_dir, the folder, .zip or .tar with the pictures")
    collection = open_collection(data_dir)
    labels = labels_by_folder(collection.names)
    found = prepare_collection(collection, image_shape, crop_size, cache_dir, labels)
    number = len(collection.names)
    readable = np.delete(np.arange(number), sorted(found.unreadable))
    if not len(readable):
        place, cause = min(found.unreadable.items())
        raise UserError(
            f"none of the {number} pictures in {data_dir!r} can be read: "
            f"{collection.title(place)}: {cause}"
        )
    chosen = split_places(readable)[split]
    _say(collection, found.unreadable, split, len(chosen), len(readable))
    name = f"image_folder {data_dir}"
    if labels is None:
        return Source(found.images(chosen), name)
    classes = tuple(sorted(set(classes_by_folder(collection.names))))
    return Source(found.images(chosen), name, labels[chosen], classes)


def split_places(readable: np.ndarray) -> dict[str, np.ndarray]:
    """Which of the pictures that can be read are for training, and which for test.

    Args:
        readable: their places among all, int64 [n], sorted; at least one.

    Returns:
        {"train": places, "test": places}, each at least one.

    Example:
        >>> {split: places.tolist() for split, places in split_places(np.array([1, 2, 21])).items()}
        {'train': [2], 'test': [1, 21]}
    """
    _, firsts = np.unique(readable // _HELD_OUT, return_index=True)
    if len(firsts) == len(readable):  # each is alone in its block
        firsts = np.arange(0, len(readable), _HELD_OUT)
    test = readable[firsts]
    return {"train": np.delete(readable, firsts) if len(readable) > 1 else test, "test": test}


def _say(collection: Collection, unreadable, split, num_chosen, num_read):
    """What was found and read; what was left out and why, unless that was said before."""
    origin, num_found = collection.origin, len(collection.names)
    left_out = (
        tuple(f"left out of {origin}: {line}" for line in collection.left_out),
        tuple(
            f"picture left out, unreadable: {collection.title(place)} ({cause})"
            for place, cause in sorted(unreadable.items())
        ),
    )
    if left_out not in _said:
        _said.add(left_out)
        for lines in left_out:
            for line in lines[:_NAMED]:
                warn(line)
            if len(lines) > _NAMED:
                warn(f"and {len(lines) - _NAMED} more")
    if num_read == 1:
        warn(f"{origin} has one picture that can be read: it is for training and for test")
    bad = f", {len(unreadable)} unreadable" if unreadable else ""
    inform(
        f"{origin}: {num_found} picture{'s'[: num_found > 1]} found, "
        f"{num_read} read{bad}, {num_chosen} for {'training' if split == 'train' else 'test'}"
    )
