"""Pictures in a .zip or a .tar, read where they lie: nothing is unpacked."""

import dataclasses
import functools
import os
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from ncsn_tf.data.archive_members import Member, Part, content, fault, members
from ncsn_tf.data.decoding import SUFFIXES, PictureError, check_bytes, decode_picture
from ncsn_tf.data.listing import Notes, is_hidden
from ncsn_tf.errors import UserError

_MOST_LINKS = 40  # that lead from one to the next, as in Linux
_PART = np.dtype([("offset", "i8"), ("stored", "i8"), ("size", "i8"), ("crc", "u4"), ("how", "i4")])


@dataclasses.dataclass(frozen=True, eq=False)
class PictureArchive:
    """The pictures of an archive: a `Collection`. To read one is to open the file and go there.

    Attributes:
        origin: its path.
        names: the paths of its pictures, sorted.
        left_out: what is left out and why, a line each.
        parts: where each picture is: a `Part` of the archive, as [N] of a structured type.
        stamp: size and time of change of the file.
    """

    origin: str
    names: Sequence[str]
    left_out: Sequence[str]
    parts: np.ndarray
    stamp: tuple[int, int]

    def read(self, place: int) -> Image.Image:
        title, part = self.title(place), Part(*self.parts[place].item())
        cause = fault(part)
        if cause:
            raise PictureError(title, cause)
        check_bytes(max(part.stored, part.size), title)
        try:
            with open(self.origin, "rb") as file:
                if _stamp(file) != self.stamp:
                    raise UserError(f"{self.origin} was changed while it was read: start again")
                found = content(file, part)
        except OSError as error:
            raise PictureError(title, error.strerror or str(error)) from None
        if found is None:
            raise PictureError(title, "it is damaged in the archive")
        return decode_picture(found, title)

    def title(self, place: int) -> str:
        return os.path.join(self.origin, self.names[place])

    def fingerprint(self) -> str:
        size, time = self.stamp
        return f"{os.path.basename(self.origin)} {size} {time}"


def open_archive(path: str) -> PictureArchive:
    """The pictures of a .zip or a .tar, by the rules for the names of files in a folder.

    Args:
        path: of the archive; its content decides which kind it is.

    Returns:
        a `PictureArchive`. Of several members of one name the last counts.

    Raises:
        UserError: it cannot be read, is something else, is damaged as a whole, or has no picture.

    Example:
        >>> import tempfile, zipfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "pictures.zip")
        ...     with zipfile.ZipFile(path, "w") as archive:
        ...         archive.writestr("dots/b.pgm", b"P5 1 1 255 b")
        ...         archive.writestr("dots/a.pgm", b"P5 1 1 255 a")
        ...     pictures = open_archive(path)
        ...     pictures.names, pictures.read(0).getpixel((0, 0))
        (['dots/a.pgm', 'dots/b.pgm'], 97)
    """
    try:
        with open(path, "rb") as file:
            return _look_through(path, _stamp(file))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


@functools.lru_cache(maxsize=1)  # training looks at its pictures for each split
def _look_through(path, stamp):
    notes = Notes()
    with open(path, "rb") as file:
        found = _choose(members(file, path, notes), notes)
    left_out = notes.left_out()
    if not found:
        but = f"; left out: {', '.join(left_out)}" if left_out else ""
        raise UserError(f"no pictures ({' '.join(SUFFIXES)}) in {path!r}{but}")
    names = sorted(found)
    parts = np.array([tuple(found[name]) for name in names], _PART)
    return PictureArchive(path, names, left_out, parts, stamp)


def _stamp(file):
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _choose(entries: Iterable[Member], notes: Notes) -> dict[str, Part]:
    """{name: where it is} of the pictures among members; the rest goes to the notes."""
    found, twice = {}, set()
    for entry in entries:
        if entry.name in found:
            twice.add(entry.name)
        found[entry.name] = entry
    parts, hidden_folders, runs, seen_runs, links = {}, set(), _runs(found), set(), 0
    for name, entry in found.items():
        folders = name.split("/")
        last = "" if entry.part is None else folders.pop()
        hidden = next((n for n, folder in enumerate(folders, 1) if is_hidden(folder)), None)
        above = ("/".join(folders[:n]) for n in range(len(folders) + 1)) if runs else ()
        run = next((folder for folder in above if folder in runs), None)
        if hidden is not None:
            hidden_folders.add("/".join(folders[:hidden]))
        elif run is not None:
            seen_runs.add(run)
        elif notes.is_picture(last, is_hidden(last)):
            parts[name] = _resolve(name, found)
        elif entry.target is not None and not is_hidden(last):
            links += _resolve(name, found) == Part()
    for run in seen_runs:
        notes.lines.append(f"{run or 'all of it'}: it holds a run, whose pictures are samples")
    notes.count("hidden folder", len(hidden_folders))
    notes.count("link", links, " to a folder, or out of the archive, not followed")
    notes.count("picture", len(twice & parts.keys()), " of a name that comes again later")
    return parts


def _runs(found):
    """The folders of runs among members; "" is all of the archive."""
    configs, checkpoints = set(), set()
    for name, entry in found.items():
        folders = name.split("/")
        last = None if entry.part is None else folders.pop()
        if last == "config.json":
            configs.add("/".join(folders))
        for place, folder in enumerate(folders):
            if folder == "checkpoints":
                checkpoints.add("/".join(folders[:place]))
    return configs & checkpoints


def _resolve(name, found):
    """Where a picture is, by the links that lead to it."""
    for _ in range(_MOST_LINKS):
        entry = found.get(name)
        if entry is None or entry.part is None:
            break
        if entry.target is None:
            return entry.part
        name = entry.target
    return Part()
