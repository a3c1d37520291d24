"""Which files are taken for pictures, by their names, and what is left out, and why.

`find_pictures` looks through a folder; `Notes` counts what is left out of it, or of an archive.
"""

import collections
import dataclasses
import os

from ncsn_tf.data.decoding import SUFFIXES

# Files that are pictures, or look like it, and that nothing here reads.
_OTHER_SUFFIXES = (
    *(".ai", ".arw", ".cr2", ".cr3", ".dds", ".dng", ".eps", ".exr", ".hdr", ".heic", ".heif"),
    *(".icns", ".ico", ".jxl", ".nef", ".orf", ".pcx", ".psd", ".raf", ".raw", ".rw2", ".sgi"),
    *(".svg", ".svgz", ".tga", ".xcf"),
)
# Files that hold files. Nothing looks into one that lies in a folder, or in another.
_ARCHIVE_SUFFIXES = (".7z", ".bz2", ".gz", ".rar", ".tar", ".tbz", ".tgz", ".txz", ".xz", ".zip")
# Copies that systems and programs make of pictures; others begin with a dot.
_HIDDEN = ("@eadir", "__macosx", "$recycle.bin", "#recycle")


@dataclasses.dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        paths: the pictures, in sorted order.
        left_out: what is left out and why, a line each.
    """

    paths: list[str]
    left_out: list[str]


def find_pictures(folder: str | os.PathLike, deep: bool = True) -> Found:
    """The pictures in a folder, by the endings of their names.

    Linked files and folders are followed; a folder that is reached a second time, as in a circle
    of links, is not read again. Hidden files and folders (`.NAME`, `@eaDir`, `__MACOSX`) are left
    out, and so are the folders of runs, whose pictures are samples.

    Args:
        folder: its path.
        deep: whether the folders in it are looked through as well.

    Returns:
        `Found`; nothing is decoded.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.png", "a.JPG", ".hidden.png", "c.svg", "notes.txt"):
        ...         pathlib.Path(folder, name).touch()
        ...     found = find_pictures(folder)
        >>> [os.path.basename(path) for path in found.paths]
        ['a.JPG', 'b.png']
        >>> found.left_out
        ['1 hidden picture', '1 picture in a format that is not read (1 .svg)']
    """
    search = _Search(deep)
    search.look_through(os.fspath(folder))
    return Found(sorted(search.paths), search.notes.left_out())


class Notes:
    """What was left out so far.

    Attributes:
        lines: a line each of what has its own, to be added to.

    Example:
        >>> notes = Notes()
        >>> [notes.is_picture(name, hidden=False) for name in ("a.PNG", "b.svg", "c.svg", "d.txt")]
        [True, False, False, False]
        >>> notes.left_out()
        ['2 pictures in a format that is not read (2 .svg)']
    """

    def __init__(self):
        self.lines = []
        self._counts = collections.Counter()
        self._formats = collections.Counter()

    def is_picture(self, name: str, hidden: bool) -> bool:
        """Whether a file is taken for a picture; otherwise it is counted where it looks like one.

        Args:
            name: its last name.
            hidden: whether it is a hidden file.
        """
        suffix = os.path.splitext(name)[1].lower()
        if suffix in SUFFIXES:
            if hidden:
                self.count("hidden picture")
            return not hidden
        if suffix in _OTHER_SUFFIXES and not hidden:
            self._formats[suffix] += 1
        elif suffix in _ARCHIVE_SUFFIXES and not hidden:
            self.count("archive", which=", not looked into")
        return False

    def count(self, what: str, number: int = 1, which: str = "") -> None:
        """Count things that are left out: "2 hidden folders", "1 archive, not looked into"."""
        self._counts[what, which] += number

    def left_out(self) -> list[str]:
        """What is left out and why, a line each."""
        counted = [
            f"{number} {what}{'s'[: number > 1]}{which}"
            for (what, which), number in sorted(self._counts.items())
            if number
        ]
        number = sum(self._formats.values())
        if number:
            kinds = ", ".join(
                f"{count} {suffix}" for suffix, count in sorted(self._formats.items())
            )
            plural = "s"[: number > 1]
            counted.append(f"{number} picture{plural} in a format that is not read ({kinds})")
        return sorted(self.lines) + counted


def is_hidden(name: str) -> bool:
    """Whether a file or a folder of that last name is hidden.

    Example:
        >>> [is_hidden(name) for name in ("._a.png", "__MACOSX", "a.png")]
        [True, True, False]
    """
    return name.startswith(".") or name.lower() in _HIDDEN


class _Search:
    """One search: what it has found so far."""

    def __init__(self, deep):
        self.deep = deep
        self.paths = []
        self.notes = Notes()

    def look_through(self, top):
        """Take in what is below a folder: what is really there first, then what links bring."""
        seen, folders, links = set(), [top], []
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)
            try:
                status = os.stat(folder)
                if (status.st_dev, status.st_ino) in seen:
                    self.notes.lines.append(f"{folder}: a link to a folder that is read already")
                    continue
                seen.add((status.st_dev, status.st_ino))
                if _holds_run(folder):
                    self.notes.lines.append(f"{folder}: it holds a run, whose pictures are samples")
                    continue
                with os.scandir(folder) as entries:
                    # One entry at a time: a hundred thousand of them would fill memory.
                    inside = sorted(filter(None, map(self._take, entries)), key=_name)
            except OSError as error:
                self.notes.lines.append(f"{folder}: it cannot be read ({error.strerror or error})")
                continue
            for entry in inside:
                (links if entry.is_symlink() else folders).append(entry.path)

    def _take(self, entry):
        """Note a file; return a folder that is to be looked through."""
        hidden = is_hidden(entry.name)
        if _is_folder(entry):
            if self.deep and hidden:
                self.notes.count("hidden folder")
            return entry if self.deep and not hidden else None
        if self.notes.is_picture(entry.name, hidden):
            self.paths.append(entry.path)
        return None


def _holds_run(folder):
    """Whether a folder is that of a run."""
    return os.path.isfile(os.path.join(folder, "config.json")) and os.path.isdir(
        os.path.join(folder, "checkpoints")
    )


def _is_folder(entry):
    """Whether it is one, or a link to one; the system is asked of links only."""
    try:
        if entry.is_dir(follow_symlinks=False):
            return True
        return entry.is_symlink() and os.path.isdir(entry.path)
    except OSError:  # what it is will be seen when it is read
        return False


def _name(entry):
    return entry.name
