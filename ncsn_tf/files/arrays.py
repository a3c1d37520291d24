"""Arrays in .npz files: written whole, read within limits and without unpickling."""

import math
import os
import zipfile
from collections.abc import Iterable, Mapping
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
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("not an .npz")
            file.seek(0)
            with np.load(file, allow_pickle=False) as content:
                wanted = content.files if names is None else list(names)
                _check_sizes(content.zip, wanted)
                arrays = {name: content[name] for name in wanted}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):  # NumPy hands out foreign members as bytes
                raise ValueError(f"{name} is not an array")
        return arrays
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
            if member.read(len(_MAGIC)) != _MAGIC:
                continue  # NumPy hands it out as the bytes that it is
            read_header = _HEADERS.get(tuple(member.read(2)))
            if read_header is None:
                raise ValueError(f"its member {info.filename} is of another format")
            shape, _, dtype = read_header(member)
        # NumPy takes the memory for what the header says, before it looks for the values.
        if not dtype.hasobject and math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(f"its member {info.filename} is cut short")
