"""Images in a file of their own, of which any is read by its place: nothing is kept in memory."""

import contextlib
import math
import os
import sys
import threading
import weakref
from collections.abc import Sequence

import numpy as np

from ncsn_tf.errors import UserError
from ncsn_tf.files import digest

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

_ALIGNED = 64  # bytes, as TensorFlow wants its tensors
_MOST_BUFFERS, _MOST_BYTES = 16, 2**27  # that are kept to be used again
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class FileImages:
    """Images of a .npy file, as `source.Images`.

    Rows are read with `pread`, and not through a mapping of the file: what was read is the system's
    to keep or to drop and does not count as memory of this process, a disk that fails is an error
    and not the end of the process, and other threads go on meanwhile. The file has a shared lock,
    where there are locks: who would remove it can see that it is in use.

    Args:
        path: a .npy file of uint8 [M, H, W, C], or [M, H, W] with C = 1, in C order.
        rows: int64 [N], the rows that are images; None is all, N = M.
        unreadable: places, 0 to N - 1, whose rows hold no image.

    Raises:
        ValueError: not such a file, or one that is shorter than it says.
        OSError: it cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "images.npy")
        ...     np.save(path, np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1))
        ...     images = FileImages(path, rows=np.array([1, 2, 3]), unreadable=[1])
        >>> images.shape, images.pixels(np.array([2, 0])).ravel().tolist()
        ((3, 1, 1, 1), [3, 1])
        >>> images.standing_in(np.array([0, 1])).tolist()
        [0, 2]
    """

    def __init__(
        self,
        path: str | os.PathLike,
        rows: np.ndarray | None = None,
        unreadable: Sequence[int] = (),
    ):
        self._path = os.fspath(path)
        shape, self._offset = read_header(path)
        self._rows = rows
        self.shape = (shape[0] if rows is None else len(rows), *shape[1:])
        self._is_readable = self._stand_ins = None
        if len(unreadable):
            self._is_readable = np.ones(self.shape[0], bool)
            self._is_readable[list(unreadable)] = False
            there = np.flatnonzero(self._is_readable)
            places = np.searchsorted(there, np.arange(self.shape[0])) % len(there)
            self._stand_ins = there[places]
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._descriptor)
        if fcntl is not None:
            with contextlib.suppress(OSError):  # no locks there
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        self._buffers = _Buffers()
        # One thread reads at a time: with several, each row would be a wait for Python's own lock.
        self._lock = threading.Lock()

    def readable(self, places: np.ndarray) -> np.ndarray:
        if self._is_readable is None:
            return np.ones(len(places), bool)
        return self._is_readable[places]

    def standing_in(self, places: np.ndarray) -> np.ndarray:
        return places if self._stand_ins is None else self._stand_ins[places]

    def pixels(self, places: np.ndarray) -> np.ndarray:
        rows = places if self._rows is None else self._rows[places]
        size = math.prod(self.shape[1:])
        with self._lock:
            pixels = self._buffers.take(len(rows) * size)
            view = memoryview(pixels)
            for index, row in enumerate(rows.tolist()):
                place = view[index * size : (index + 1) * size]
                self._read(place, self._offset + row * size)
        return pixels.reshape(len(rows), *self.shape[1:])

    def fingerprint(self) -> str:
        """Of the file's size and time, and of which rows are images."""
        status = os.fstat(self._descriptor)
        parts = [f"{status.st_size} {status.st_mtime_ns} {self._offset}".encode()]
        for array in (self._rows, self._is_readable):
            parts.append(b"" if array is None else array.tobytes())
        return digest(parts)

    def _read(self, place, offset):
        """Fill a place in memory with what is in the file from an offset on."""
        read = getattr(os, "preadv", _seek_and_read)
        while len(place):  # a signal, or a network's disk, may bring less at a time
            try:
                count = read(self._descriptor, [place], offset)
            except OSError as error:
                raise OSError(error.errno, error.strerror, self._path) from None
            if not count:
                raise UserError(f"{self._path} ends too early: it was cut short meanwhile")
            place, offset = place[count:], offset + count


def _seek_and_read(descriptor, buffers, offset):
    """`os.preadv`, for Windows, which has none."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    content = os.read(descriptor, len(buffers[0]))
    buffers[0][: len(content)] = content
    return len(content)


class _Buffers:
    """Memory that is used again, once nobody has what was in it.

    Memory that is fresh from the system costs more time than the reading. It begins where
    TensorFlow wants it, which then takes it as it is and makes no copy.
    """

    def __init__(self):
        self._all = []

    def take(self, size):
        """uint8 [size], of any values."""
        for place in range(len(self._all)):
            is_large = len(self._all[place]) >= size + _ALIGNED
            if is_large and _references(self._all, place) == _UNUSED:
                return _aligned(self._all[place], size)
        buffer = np.empty(size + _ALIGNED, np.uint8)
        kept = [*self._all[1 - _MOST_BUFFERS :], buffer]
        while sum(map(len, kept)) > _MOST_BYTES:
            del kept[0]
        self._all = kept
        return _aligned(buffer, size)


def _aligned(buffer, size):
    start = -buffer.ctypes.data % _ALIGNED
    return buffer[start : start + size]


def _references(buffers, place):
    """How often something is held, a view of it too."""
    return sys.getrefcount(buffers[place])


_UNUSED = _references([np.empty(1)], 0)


def read_header(path: str | os.PathLike) -> tuple[tuple[int, int, int, int], int]:
    """((M, H, W, C), where the first row begins) of a .npy file of images.

    Raises:
        ValueError: not such a file, or another length than it says.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"a version of .npy that is not read: {version}")
        try:
            shape, is_fortran, dtype = _HEADERS[version](file)
        except (OSError, ValueError):
            raise
        except Exception as error:  # it is read as Python, where damage can raise almost anything
            raise ValueError(f"a damaged header of .npy ({type(error).__name__})") from None
        offset, length = file.tell(), os.fstat(file.fileno()).st_size
    if dtype != np.uint8 or len(shape) not in (3, 4) or is_fortran:
        raise ValueError(f"not uint8 [N, H, W, C], but {dtype} {list(shape)}")
    shape = (*shape, 1)[:4]
    if length != offset + math.prod(shape):
        raise ValueError(f"{length:,} bytes, not {offset + math.prod(shape):,}")
    return shape, offset


def write_header(path: str | os.PathLike, shape: tuple[int, int, int, int]) -> int:
    """Begin a .npy file of images uint8 [N, H, W, C], all 0. Returns where the first row begins."""
    header = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        offset = file.tell()
        file.truncate(offset + math.prod(shape))
    return offset
