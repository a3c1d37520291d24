"""Arrays in .npz and .npy files: written whole, read within limits and without unpickling."""

import contextlib
import hashlib
import math
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from ncsn_tf.errors import UserError
from ncsn_tf.files.writing import write_atomically

MAX_ARRAY_BYTES = 2**33  # of all the arrays that are read from one .npz
_MAGIC = np.lib.format.MAGIC_PREFIX  # of an array, before its version
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


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
        UserError: the file cannot be read, is damaged, is no .npz, lacks an array, or says that its
            arrays have more than `MAX_ARRAY_BYTES`, which a small file may; one line.

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
    with _one_line(path, what), _opened(path) as content:
        wanted = content.files if names is None else list(names)
        _check_sizes(content.zip, wanted)
        arrays = {name: content[name] for name in wanted}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):  # NumPy hands out foreign members as bytes
                raise ValueError(f"{name} is not an array")
        return arrays


def array_headers(path: str | os.PathLike) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """What an .npz says of its arrays; they are not read.

    Returns:
        {name: (shape, type)}. Members that are not arrays are left out.

    Raises:
        UserError: as `read_arrays`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.npz")
        ...     save_arrays(path, {"seeds": np.arange(2, dtype=np.int8)})
        ...     array_headers(path)
        {'seeds': ((2,), dtype('int8'))}
    """
    with _one_line(path), _opened(path) as content:
        headers = {}
        for info in content.zip.infolist():
            with content.zip.open(info) as member:
                header = _read_header(member, info.filename)
            if header is not None:
                headers[info.filename.removesuffix(".npy")] = header
        return headers


def is_array(path: str | os.PathLike) -> bool:
    """Whether a file begins as a .npy does; False where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def map_array(path: str | os.PathLike) -> np.ndarray:
    """The array of a .npy, mapped into memory: it is read where it is looked at.

    Raises:
        UserError: the file cannot be read, is damaged, is no .npy, or holds Python objects; one
            line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.npy")
        ...     np.save(path, np.arange(3))
        ...     map_array(path).tolist()
        [0, 1, 2]
    """
    with _one_line(path):
        with open(path, "rb") as file:
            header = _read_header(file, "it")
            if header is None:
                raise ValueError("not a .npy")
            (shape, dtype), start = header, file.tell()
            size = os.fstat(file.fileno()).st_size - start
        if dtype.hasobject:
            raise ValueError("it holds Python objects, which are not unpickled")
        if math.prod(shape) * dtype.itemsize > size:
            raise ValueError("it is cut short")
        if not math.prod(shape):  # which cannot be mapped
            return np.empty(shape, dtype)
        return np.load(path, mmap_mode="r", allow_pickle=False)


@contextlib.contextmanager
def _one_line(path: str | os.PathLike, what: str = "") -> Iterator[None]:
    """What goes wrong in reading a file, as one line that names it."""
    path = Path(path)
    try:
        yield
    except MemoryError:
        raise UserError(f"{path} cannot be read: it needs more memory than there is") from None
    except UserError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    except Exception as error:  # a damaged file can raise almost anything in NumPy and zipfile
        cause = getattr(error, "strerror", None)
        if what and cause is None:
            raise UserError(f"{path} is not {what}") from None
        # A KeyError shows its text in quotes.
        cause = cause or (str(error).strip("'\"").splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be read: {cause}") from None


@contextlib.contextmanager
def _opened(path):
    """An .npz as NumPy opens it."""
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("not an .npz")
        file.seek(0)
        with np.load(file, allow_pickle=False) as content:
            yield content


def _read_header(file, name):
    """(shape, type) of an array, from its start; None where there is none."""
    if file.read(len(_MAGIC)) != _MAGIC:
        return None
    read_header = _HEADERS.get(tuple(file.read(2)))
    if read_header is None:
        raise ValueError(f"its member {name} is of another format")
    shape, _, dtype = read_header(file)
    return shape, dtype


def _check_sizes(archive, names):
    """Raise an error if the arrays are larger than is allowed, by what the archive says of them."""
    infos = {info.filename: info for info in archive.infolist()}
    # As NumPy looks for them: the member of exactly that name first.
    members = [infos.get(name, infos.get(f"{name}.npy")) for name in names]
    members = [info for info in members if info is not None]
    total = sum(info.file_size for info in members)
    if total > MAX_ARRAY_BYTES:
        raise UserError(f"its arrays of {total:,} bytes are more than {MAX_ARRAY_BYTES:,}")
    for info in members:
        with archive.open(info) as member:
            header = _read_header(member, info.filename)
        if header is None:
            continue  # NumPy hands it out as the bytes that it is
        shape, dtype = header
        # NumPy takes the memory for what the header says, before it looks for the values.
        if not dtype.hasobject and math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(f"its member {info.filename} is cut short")


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 of bytes that follow one another, the first 16 digits of it.

    Example:
        >>> digest([b"ab", b"c"]) == digest([b"a", b"bc"])
        True
    """
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()[:16]
