"""Files that appear whole or not at all, arrays in them, and places looked at before the work."""

import contextlib
import errno
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from ncsn_tf.errors import UserError


def write_atomically(path: str | os.PathLike, write: Callable[[Path], object]) -> None:
    """Call write(temporary path), then move the file into place: never half a file.

    Args:
        path: the file; folders that are missing are made.
        write: called with the path of a file beside it, which it writes.

    Raises:
        UserError: when the place cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "notes.txt")
        ...     write_atomically(path, lambda temporary: temporary.write_text("whole"))
        ...     path.read_text()
        'whole'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def save_arrays(
    path: str | os.PathLike, arrays: Mapping[str, object], compressed: bool = False
) -> None:
    """Write {name: array} as one .npz, whole or not at all.

    Raises:
        UserError: when the place cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "seeds.npz")
        ...     save_arrays(path, {"seeds": np.arange(3)})
        ...     read_arrays(path)["seeds"].tolist()
        [0, 1, 2]
    """
    save = np.savez_compressed if compressed else np.savez

    def write(temporary):
        with open(temporary, "wb") as file:
            save(file, **arrays)

    write_atomically(path, write)


def read_arrays(
    path: str | os.PathLike, names: Iterable[str] | None = None, what: str = ""
) -> dict[str, np.ndarray]:
    """Arrays of an .npz.

    Args:
        path: the file.
        names: the arrays wanted; None takes all of them.
        what: what the file should be, such as "an .npz of images", for the line about one that is
            damaged or something else; "" says what is wrong with it instead.

    Returns:
        {name: array}.

    Raises:
        UserError: the file cannot be read, is damaged, is no .npz, or lacks an array; one line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.npz")
        ...     save_arrays(path, {"images": np.zeros([2, 4, 4, 1]), "seeds": np.arange(2)})
        ...     arrays = read_arrays(path, ["images"])
        >>> {name: array.shape for name, array in arrays.items()}
        {'images': (2, 4, 4, 1)}
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("not an .npz")
            file.seek(0)
            with np.load(file) as content:
                wanted = content.files if names is None else names
                arrays = {name: content[name] for name in wanted}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):  # NumPy hands out foreign members as bytes
                raise ValueError(f"{name} is not an array")
        return arrays
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can raise almost anything in NumPy and zipfile
        cause = getattr(error, "strerror", None)
        if what and cause is None:
            raise UserError(f"{path} is not {what}") from None
        # A KeyError shows its text in quotes.
        cause = cause or (str(error).strip("'\"").splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be read: {cause}") from None


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
    if path.is_dir():
        cause = errno.EISDIR
    elif not folder.is_dir():
        cause = errno.ENOTDIR
    elif not os.access(folder, os.W_OK | os.X_OK):
        cause = errno.EACCES
    else:
        return
    raise UserError(f"{path} cannot be written: {os.strerror(cause)}")


def shipped(name: str) -> Path:
    """A folder that comes with the package: `flags` or `serving`.

    Inside the package where it was installed from a wheel, beside it in a clone.

    Example:
        >>> (shipped("flags") / "digits.flags").is_file()
        True
    """
    package = Path(__file__).resolve().parent
    installed = package / "shipped" / name
    return installed if installed.is_dir() else package.parent / name
