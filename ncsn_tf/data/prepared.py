"""Images that were decoded once: in memory where they are few, else in a file that is kept.

Each file lies in a folder of the cache: see `cache`. A picture that cannot be read has its row, of
zeros. When the pictures change, they are prepared anew, and what was prepared of the old ones is
removed.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path

import numpy as np
import PIL
from tqdm import tqdm

from ncsn_tf.data import cache, claims, preparation
from ncsn_tf.data.collection import Collection, classes_by_folder
from ncsn_tf.data.decoding import RULE, PictureError
from ncsn_tf.data.image_file import FileImages
from ncsn_tf.data.rows import decode_rows
from ncsn_tf.data.source import ArrayImages, Images
from ncsn_tf.errors import UserError, inform, warn
from ncsn_tf.files import machine

# Fewer pictures, of fewer bytes, are decoded at every start: that is quicker than to look for them.
_FEW, _FEW_BYTES = 1024, 2**25
_TRIED_AGAIN = 50  # pictures that could not be read, at every start
_SLICE = 16  # pictures that a thread decodes at a time


@dataclasses.dataclass(frozen=True)
class Pictures:
    """N pictures that are to be prepared.

    Attributes:
        name: short, for the folder's name.
        origin: where they come from: another one is another preparation.
        fingerprint: another one whenever one of them may be another.
        number: N.
        parts: size -> (start, the pictures' bytes) of each `size` pictures in order; None in place
            of bytes where there is a collection.
        collection: what other processes read them from; None where `parts` has their bytes.
        labels: called after `parts` has ended: int64 [N], or None where there are no classes.
        classes: the classes' names; empty where there are none, or they have no names.
    """

    name: str
    origin: str
    fingerprint: str
    number: int
    parts: preparation.Parts
    collection: Collection | None = None
    labels: Callable[[], np.ndarray | None] = lambda: None
    classes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Pictures as pixels, by their places.

    Attributes:
        pixels: uint8 [N, H, W, C], or the path of a file of it.
        unreadable: {place: why} of those that cannot be read, in order.
        labels: int64 [N], or None.
    """

    pixels: np.ndarray | Path
    unreadable: dict[int, str]
    labels: np.ndarray | None = None

    def images(self, rows: np.ndarray | None = None) -> Images:
        """The images of some rows, which can be read; or of all of them, None."""
        if isinstance(self.pixels, np.ndarray):
            return ArrayImages(self.pixels if rows is None else self.pixels[rows])
        unreadable = list(self.unreadable) if rows is None else ()
        return FileImages(self.pixels, rows, unreadable)


def prepare_collection(
    collection: Collection,
    image_shape: tuple[int, int, int],
    crop_size: int,
    cache_dir: str = "",
    labels: np.ndarray | None = None,
) -> Prepared:
    """The pictures of a collection as pixels: few in memory, many in the cache.

    Of few, those that were decoded last stay in memory, for another split of them.

    Args:
        collection: N pictures.
        image_shape: (H, W, C).
        crop_size: as in `decoding.fitted_pixels`.
        cache_dir: as in `cache.cache_folder`.
        labels: int64 [N], the pictures' folders by number, sorted by name; None where they are no
            classes.

    Raises:
        UserError: as of `prepare`.
    """
    number, fingerprint = len(collection.names), collection.fingerprint()
    if number < _FEW and number * int(np.prod(image_shape)) < _FEW_BYTES:
        key = (type(collection), collection.origin, fingerprint, image_shape, crop_size)
        if key not in _in_memory:
            _in_memory.clear()
            _in_memory[key] = _decode(collection, image_shape, crop_size)
        return dataclasses.replace(_in_memory[key], labels=labels)
    origin = os.path.realpath(collection.origin)
    pictures = Pictures(
        name=os.path.basename(origin),
        origin=origin,
        fingerprint=fingerprint,
        number=number,
        parts=lambda size: ((start, None) for start in range(0, number, size)),
        collection=collection,
        labels=lambda: labels,
        classes=sorted(set(classes_by_folder(collection.names))),
    )
    return prepare(pictures, image_shape, crop_size, cache_dir)


_in_memory = {}


def prepare(
    pictures: Pictures, image_shape: tuple[int, int, int], crop_size: int, cache_dir: str = ""
) -> Prepared:
    """The file of images that was prepared of pictures; it is made first if there is none.

    Args:
        pictures: what is prepared.
        image_shape: (H, W, C).
        crop_size: as in `decoding.fitted_pixels`.
        cache_dir: as in `cache.cache_folder`.

    Raises:
        UserError: the cache cannot be written, the disk is full, or pictures cannot be had.
    """
    place = cache.cache_folder(cache_dir)
    about = {
        "format": cache.FORMAT,
        "origin": pictures.origin,
        "image_shape": list(image_shape),
        "crop_size": crop_size,
        "number": pictures.number,
        "fingerprint": pictures.fingerprint,
        "rule": RULE,
    }
    settings = [cache.FORMAT, pictures.origin, list(image_shape), crop_size]
    start, whole = cache.folder_name(pictures.name, settings, [pictures.fingerprint, RULE])
    final, shape, is_made = place / whole, (pictures.number, *image_shape), False
    with cache.errors_in_one_line(place, shape):
        while True:
            stamp, before = cache.stamp(final), None
            found = cache.find(final, about)
            if found is not None:
                unreadable, labels = found
                if is_made or not _can_be_read_now(final, unreadable, pictures.collection):
                    return Prepared(final / cache.PIXELS, unreadable, labels)
                before = unreadable
            elif is_made:
                raise UserError(f"{final} was written and cannot be read: is the disk at work?")
            with claims.claimed(final) as part:
                if part is None:
                    continue
                if cache.stamp(final) != stamp:  # another one was faster, between look and claim
                    shutil.rmtree(part, ignore_errors=True)
                    continue
                if before is not None:
                    preparation.begin_with(part, final, shape, before)
                _make(part, final, pictures, about, stamp)
                claims.remove_others(final, start)
                is_made = True


def _make(part, final, pictures, about, stamp):
    """Prepare pictures in the folder `part` and give it its name.

    What has that name already is replaced if it is what was looked at, by its stamp. Otherwise
    another process was faster, where there are no locks, and its folder stays.
    """
    shape = (pictures.number, *about["image_shape"])
    megabytes = np.prod(shape, dtype=np.int64) / 1e6
    inform(
        f"{pictures.origin}: preparing {shape[0]:,} pictures, once, in {final} "
        f"({megabytes:,.0f} MB)"
    )
    unreadable = preparation.fill(
        part,
        shape,
        pictures.parts,
        crop_size=about["crop_size"],
        collection=pictures.collection,
        title="pictures",
    )
    labels = pictures.labels()
    if labels is not None:
        np.save(part / cache.LABELS, labels)
    about = {
        **about,
        "labels": labels is not None,
        "classes": list(pictures.classes),
        "made": time.strftime("%Y-%m-%d %H:%M:%S"),
        "machine": machine(),
        "pillow": PIL.__version__,
        "unreadable": sorted(unreadable.items()),
    }
    text = json.dumps(about, indent=1) + "\n"
    (part / cache.ABOUT).write_text(text, encoding="utf-8")
    # Damaged, or of pictures that could not be read then.
    if stamp is not None and cache.stamp(final) == stamp:
        shutil.rmtree(final)
    claims.publish(part, final)


def _can_be_read_now(final, unreadable, collection):
    """Whether a picture can be read that could not be when it was prepared, which is said.

    Its file may be as it was, and only its permission another, or the disk at work again.
    """
    if collection is None:
        return False
    for place in list(unreadable)[:_TRIED_AGAIN]:
        with contextlib.suppress(PictureError):
            collection.read(place)
            warn(f"{collection.title(place)} can be read now: {final} is completed")
            return True
    return False


def _decode(collection, image_shape, crop_size):
    """All pictures of a collection in memory, by several threads."""
    number = len(collection.names)
    pixels, unreadable = np.empty([number, *image_shape], np.uint8), {}
    slices = [range(start, number)[:_SLICE] for start in range(0, number, _SLICE)]

    def decode(places):
        return decode_rows(collection.read, places, image_shape, crop_size)

    pool = futures.ThreadPoolExecutor()
    try:
        with tqdm(None, "pictures", number, disable=None) as bar:
            for places, (part, causes) in zip(slices, pool.map(decode, slices), strict=True):
                pixels[places.start : places.stop] = part
                unreadable.update(causes)
                bar.update(len(places))
    finally:
        pool.shutdown(cancel_futures=True)
    return Prepared(pixels, unreadable)
