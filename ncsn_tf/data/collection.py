"""Pictures that are kept together, by number: what a folder or an archive is read through."""

import dataclasses
import hashlib
import os
import posixpath
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from ncsn_tf.data.archive import PictureArchive, open_archive
from ncsn_tf.data.decoding import SUFFIXES, read_picture
from ncsn_tf.data.listing import find_pictures
from ncsn_tf.errors import UserError


class Collection(Protocol):
    """N pictures by number. Can be pickled: another process opens it for itself.

    Attributes:
        origin: the path of all, for messages.
        names: N names as paths below `origin` with "/", sorted.
        left_out: what is left out and why, a line each.
    """

    origin: str
    names: Sequence[str]
    left_out: Sequence[str]

    def read(self, place: int) -> Image.Image:
        """One picture, by the rule of `decoding.read_picture`; raises a `PictureError`."""
        ...

    def title(self, place: int) -> str:
        """What messages call a picture."""
        ...

    def fingerprint(self) -> str:
        """Another one whenever a name, a size or a time of change is another."""
        ...


@dataclasses.dataclass(frozen=True)
class PictureFolder:
    """The pictures below a folder; see `listing.find_pictures`."""

    origin: str
    names: Sequence[str]
    left_out: Sequence[str]

    def read(self, place: int) -> Image.Image:
        return read_picture(self.title(place))

    def title(self, place: int) -> str:
        return os.path.join(self.origin, self.names[place])

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for place, name in enumerate(self.names):
            try:
                status = os.stat(self.title(place))
                stamp = f"{status.st_size} {status.st_mtime_ns}"
            except OSError as error:  # a link to nothing, say, which may come to something
                stamp = f"error {error.errno}"
            digest.update(f"{len(name)} {name} {stamp}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()


def open_collection(path: str) -> PictureFolder | PictureArchive:
    """The pictures below a folder, or in a .zip or a .tar.

    Raises:
        UserError: no such thing, or no picture in it.
    """
    if os.path.isdir(path):
        return open_folder(path)
    if os.path.isfile(path):  # and no pipe: to open one would wait for what it brings
        return open_archive(path)
    raise UserError(f"data_dir {path!r} is not a folder, nor a .zip or a .tar")


def open_folder(folder: str) -> PictureFolder:
    """The pictures below a folder.

    Raises:
        UserError: there is none.
    """
    found = find_pictures(folder)
    if not found.paths:
        but = f"; left out: {', '.join(found.left_out)}" if found.left_out else ""
        raise UserError(f"no pictures ({' '.join(SUFFIXES)}) in {folder!r}{but}")
    start = len(os.path.join(folder, ""))
    return PictureFolder(folder, [path[start:] for path in found.paths], found.left_out)


def labels_by_folder(names: Sequence[str]) -> np.ndarray | None:
    """The classes of pictures by the folders that they lie in: int64 [N].

    Folders that all pictures lie in are passed over: those below are the classes. So a folder gives
    the same labels as itself, as the one above it, and as an archive that was made of either.

    Args:
        names: N paths with "/".

    Returns:
        the number of each picture's folder among all of them, sorted by name; None unless every
        picture lies in a folder, and there are two folders at least.

    Example:
        >>> labels_by_folder(["cats/a.png", "cats/b/c.png", "dogs/a.png"]).tolist()
        [0, 0, 1]
        >>> labels_by_folder(["pets/cats/a.png", "pets/dogs/a.png"]).tolist()
        [0, 1]
        >>> labels_by_folder(["cats/a.png", "b.png"]) is None
        True
    """
    classes = classes_by_folder(names)
    if not classes:
        return None
    _, labels = np.unique(classes, return_inverse=True)
    return labels.astype(np.int64)


def classes_by_folder(names: Sequence[str]) -> list[str]:
    """The folder that is each picture's class, by the rule of `labels_by_folder`; [] for none.

    Example:
        >>> classes_by_folder(["pets/cats/a.png", "pets/dogs/b/c.png"])
        ['cats', 'dogs']
    """
    # Of each folder once: there may be millions of names.
    folders = {name.rpartition("/")[0] for name in names}
    shared = len(posixpath.commonpath(folders)) if all(folders) and folders else 0
    classes = {folder: folder[shared:].lstrip("/").partition("/")[0] for folder in folders}
    if not all(classes.values()):
        return []
    return [classes[name.rpartition("/")[0]] for name in names]
