"""The pictures in a folder: which files are taken for pictures, and what is left out, and why."""

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
    return search.found()


class _Search:
    """One search: what it has found so far."""

    def __init__(self, deep):
        self.deep = deep
        self.paths = []
        self.hidden_pictures = self.hidden_folders = 0
        self.others = collections.Counter()
        self.lines = []

    def look_through(self, top):
        """Take in what is below a folder: what is really there first, then what links bring."""
        seen, folders, links = set(), [top], []
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)
            try:
                status = os.stat(folder)
                if (status.st_dev, status.st_ino) in seen:
                    self.lines.append(f"{folder}: a link to a folder that is read already")
                    continue
                seen.add((status.st_dev, status.st_ino))
                if _holds_run(folder):
                    self.lines.append(f"{folder}: it holds a run, whose pictures are samples")
                    continue
                with os.scandir(folder) as entries:
                    inside = [self._take(entry) for entry in sorted(entries, key=_name)]
            except OSError as error:
                self.lines.append(f"{folder}: it cannot be read ({error.strerror or error})")
                continue
            for entry in filter(None, inside):
                (links if entry.is_symlink() else folders).append(entry.path)

    def _take(self, entry):
        """Note a file; return a folder that is to be looked through."""
        hidden = entry.name.startswith(".") or entry.name.lower() in _HIDDEN
        if os.path.isdir(entry.path):  # unlike entry.is_dir() without errors
            if self.deep:
                self.hidden_folders += hidden
                return None if hidden else entry
            return None
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix in SUFFIXES:
            if hidden:
                self.hidden_pictures += 1
            else:
                self.paths.append(entry.path)
        elif suffix in _OTHER_SUFFIXES and not hidden:
            self.others[suffix] += 1
        return None

    def found(self):
        """What was found, as a `Found`."""
        lines = sorted(self.lines)
        for number, what in (
            (self.hidden_folders, "hidden folder"),
            (self.hidden_pictures, "hidden picture"),
        ):
            if number:
                lines.append(f"{number} {what}{'s'[: number > 1]}")
        if self.others:
            number = sum(self.others.values())
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(self.others.items()))
            lines.append(
                f"{number} picture{'s'[: number > 1]} in a format that is not read ({kinds})"
            )
        return Found(sorted(self.paths), lines)


def _holds_run(folder):
    """Whether a folder is that of a run."""
    return os.path.isfile(os.path.join(folder, "config.json")) and os.path.isdir(
        os.path.join(folder, "checkpoints")
    )


def _name(entry):
    return entry.name
