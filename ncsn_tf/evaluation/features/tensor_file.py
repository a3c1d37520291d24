"""Tensors in a .pth file of PyTorch's first format, read without PyTorch.

Such a file is four pickles (a magic number, a version, what the machine was, the content), a fifth
with the storages' names, and then each storage's numbers. The content holds tensors as a storage,
an offset, a shape and strides. Nothing else is unpickled.
"""

import collections
import io
import math
import pickle
from typing import Any

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_TYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}
_FAULTS = (ArithmeticError, AttributeError, EOFError, ImportError, LookupError, TypeError)


def read_tensors(content: bytes) -> dict[str, np.ndarray]:
    """The tensors of a state dict.

    Args:
        content: of the file, whose checksum is known: of another one Python's unpickler may ask
            for more memory than there is.

    Returns:
        {name: array}, views of the storages.

    Raises:
        ValueError: another kind of file, a damaged one, or one with anything but tensors in it.
    """
    file = io.BytesIO(content)
    try:
        if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _VERSION:
            raise ValueError("not a .pth file of PyTorch's first format")
        _Unpickler(file).load()
        unpickler = _Unpickler(file)
        state = unpickler.load()
        storages = _storages(file, _Unpickler(file).load(), unpickler.storages)
        if not isinstance(state, dict):
            raise ValueError("no state dict")
        return {str(name): _array(tensor, storages) for name, tensor in state.items()}
    except (*_FAULTS, pickle.UnpicklingError, MemoryError) as error:
        raise ValueError(str(error) or type(error).__name__) from None


class _Tensor(tuple):
    """(storage's name, offset, shape, strides)."""


def _rebuild(storage, offset, shape, strides, *_):
    return _Tensor((storage, offset, shape, strides))


class _Unpickler(pickle.Unpickler):
    """Knows the storages, how a tensor is made of one, and ordered dicts.

    Attributes:
        storages: {name: (type, count)} of those that the content speaks of.
    """

    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} in it is no tensor")

    def persistent_load(self, pid: Any) -> str:
        kind, dtype, name, _, count, *_ = pid
        if kind != "storage" or dtype not in _TYPES.values():
            raise pickle.UnpicklingError("a storage of another kind")
        self.storages[name] = (dtype, count)
        return name


def _storages(file, names, known):
    """{name: array} of the storages that follow in a file, in order."""
    storages = {}
    for name in names:
        dtype, count = known[name]
        (stored,) = np.frombuffer(file.read(8), "<i8")
        part = file.read(count * dtype.itemsize) if stored == count >= 0 else b""
        if len(part) != count * dtype.itemsize:
            raise ValueError("it is cut short, or damaged")
        storages[name] = np.frombuffer(part, dtype)
    return storages


def _array(tensor, storages):
    if not isinstance(tensor, _Tensor):
        raise ValueError("not only tensors are in it")
    name, offset, shape, strides = tensor
    storage = storages[name]
    if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
        raise ValueError("a tensor of impossible shape")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if not math.prod(shape):
        return np.empty(shape, storage.dtype)
    if last >= len(storage):
        raise ValueError("a tensor that is larger than its storage")
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)
