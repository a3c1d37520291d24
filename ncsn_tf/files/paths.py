"""Paths that users name: what they may be, and whether a file can be written there."""

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ncsn_tf.errors import ConfigError, UserError

# Of the files that commands write.
_FILE_ENDINGS = (".gif", ".html", ".jpeg", ".jpg", ".json", ".npz", ".png", ".webp")
# What TensorFlow takes for patterns in some paths that it reads.
_PATTERN = re.compile(r"[*?\[\]\\]")
_OPEN_FILES = "/proc/self/fd"
_LONGEST_NAME = 255  # bytes, of all usual file systems
_LONGEST_PATH = 3800  # of Linux's 4,096, so that there is room for what a folder will hold
_ROOM = 14  # for what is added to a name while its file is written


def broken_path(path: str, here: bool = True) -> str | None:
    """What a path that cannot be one should have been; None when nothing is wrong with it.

    Args:
        path: as a user named it.
        here: whether the user of its `~name` must be one of this machine's.

    Example:
        >>> broken_path("~/pictures") is None
        True
        >>> broken_path("a" * 300)
        'a path whose names have 255 bytes at most'
    """
    try:
        names = [name.encode() for name in path.split(os.sep)]
    except UnicodeEncodeError:  # Python's stand-in for bytes that are no text
        return "a path in UTF-8"
    if "\0" in path:
        return "a path without the character of code 0"
    if max(map(len, names)) > _LONGEST_NAME:
        return f"a path whose names have {_LONGEST_NAME} bytes at most"
    if len(path.encode()) > _LONGEST_PATH:
        return f"a path of {_LONGEST_PATH} bytes at most"
    if here and path.startswith("~") and os.path.expanduser(path) == path:
        name = path.partition(os.sep)[0]
        return f"another path: there is no user {name[1:]!r} (a file of that name is ./{name})"
    return None


def user_path(path: str | os.PathLike) -> Path:
    """A path as a user named it: `~` and `~name` are homes.

    Raises:
        UserError: no file can have it, or it names the home of nobody.

    Example:
        >>> user_path("~/runs") == Path.home() / "runs"
        True
        >>> user_path("a" * 300)  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        ncsn_tf.errors.UserError: ... must be a path whose names have 255 bytes at most
    """
    path = os.fspath(path)
    rule = broken_path(path)
    if rule:
        raise UserError(f"{path} must be {rule}")
    expanded = Path(os.path.expanduser(path))
    # Path drops the ./ of ./~name, which would then be somebody's home where it is read again.
    return Path.cwd() / expanded if str(expanded).startswith("~") else expanded


@contextlib.contextmanager
def plain_folder(folder: str | os.PathLike) -> Iterator[str]:
    """A path of a folder without `[`, `]`, `\\`, `*` and `?`: its own, or one that leads there.

    For what TensorFlow reads by path: it takes these characters for patterns where checkpoints and
    SavedModels are read, and not where they are written.

    Raises:
        UserError: there is no such folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory(suffix="[1]") as folder:
        ...     _ = Path(folder, "file").write_text("found")
        ...     with plain_folder(folder) as plain:
        ...         "[" in plain, Path(plain, "file").read_text()
        (False, 'found')
    """
    folder = os.fspath(folder)
    if not _PATTERN.search(folder):
        yield folder
    elif os.path.isdir(_OPEN_FILES):
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{folder} cannot be read: {error.strerror}") from None
        try:
            yield f"{_OPEN_FILES}/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.TemporaryDirectory(prefix="ncsn-") as place:
            link = os.path.join(place, "link")
            os.symlink(os.path.abspath(folder), link, target_is_directory=True)
            yield link


def check_place(path: str | os.PathLike) -> None:
    """Raise a UserError if a file of that path cannot be written, as far as its folders tell.

    For before the work: nothing is written, and folders that are missing are not made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     check_place(Path(folder, "new", "samples.png"))
        ...     check_place(folder)  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        ncsn_tf.errors.UserError: ... cannot be written: Is a directory
    """
    path = Path(path)
    folder = next(filter(os.path.lexists, path.absolute().parents), path)
    if os.path.isdir(path):
        cause = errno.EISDIR
    elif len(os.fsencode(path.name)) > _LONGEST_NAME - _ROOM:
        cause = errno.ENAMETOOLONG
    elif not folder.is_dir():
        cause = errno.ENOTDIR
    elif not os.access(folder, os.W_OK | os.X_OK):
        cause = errno.EACCES
    else:
        return
    raise UserError(f"{path} cannot be written: {os.strerror(cause)}")


def require_ending(path: str | os.PathLike, endings: Iterable[str]) -> str:
    """The ending of a path, in lower case, which is one of those.

    Raises:
        ConfigError: it is another; one line, which says which are possible.

    Example:
        >>> require_ending("a/b.PNG", [".png", ".jpg"])
        '.png'
        >>> require_ending("a/b.bmp", [".png", ".jpg"])
        Traceback (most recent call last):
        ncsn_tf.errors.ConfigError: a/b.bmp must end with .png or .jpg, which decides its format
    """
    ending, endings = Path(path).suffix.lower(), list(endings)
    if ending not in endings:
        known = " or ".join(filter(None, [", ".join(endings[:-1]), endings[-1]]))
        raise ConfigError(f"{path} must end with {known}, which decides its format")
    return ending


def require_folder(path: str | os.PathLike) -> None:
    """Raise a ConfigError for what is named like a file, where a folder is to be written.

    Example:
        >>> require_folder("samples.2")
        >>> require_folder("samples.png")
        Traceback (most recent call last):
        ncsn_tf.errors.ConfigError: samples.png must name a folder, and not end with .png
    """
    ending = Path(path).suffix.lower()
    if ending in _FILE_ENDINGS and not os.path.isdir(path):
        raise ConfigError(f"{path} must name a folder, and not end with {ending}")


def shipped(name: str) -> Path:
    """A folder that comes with the package: `flags`, `serving` or `zoo`.

    Inside the package where it was installed from a wheel, beside it in a clone.

    Example:
        >>> (shipped("flags") / "digits.flags").is_file()
        True
    """
    package = Path(__file__).resolve().parents[1]
    installed = package / "shipped" / name
    return installed if installed.is_dir() else package.parent / name
