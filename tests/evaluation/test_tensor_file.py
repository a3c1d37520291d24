"""Tensors of a .pth file of PyTorch's first format, without PyTorch."""

import collections
import io
import pickle

import numpy as np
import pytest

from ncsn_tf.evaluation.features.tensor_file import read_tensors

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


class Named:
    """Pickled as a name of a module."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Called:
    """Pickled as a call of a name."""

    def __init__(self, module, name, *arguments):
        self.name, self.arguments = Named(module, name), arguments


class Stored:
    """Pickled as a storage."""

    def __init__(self, kind, key, count):
        self.pid = ("storage", Named("torch", kind), key, "cpu", count, None)


class Pickler(pickle._Pickler):
    """Writes names that are not installed here."""

    def save(self, obj, *arguments, **options):
        if isinstance(obj, Named):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Called):
            self.save(obj.name)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        elif isinstance(obj, Stored):
            self.save(obj.pid)
            self.write(pickle.BINPERSID)
        else:
            super().save(obj, *arguments, **options)


def tensor(key, shape, strides, offset=0, kind="FloatStorage", count=6):
    storage = Stored(kind, key, count)
    empty = collections.OrderedDict()
    return Called(
        "torch._utils", "_rebuild_tensor_v2", storage, offset, shape, strides, False, empty
    )


def file_of(state, storages, magic=MAGIC):
    file = io.BytesIO()
    for part in (magic, VERSION, {"little_endian": True}, state, list(storages)):
        Pickler(file, protocol=2).dump(part)
    for array in storages.values():
        file.write(np.int64(len(array)).tobytes() + array.tobytes())
    return file.getvalue()


SIX = np.arange(6, dtype=np.float32)


def test_tensors_have_their_strides_and_offsets():
    state = collections.OrderedDict(
        rows=tensor("1", (2, 3), (3, 1)),
        columns=tensor("1", (2, 3), (1, 2)),
        part=tensor("1", (2,), (1,), offset=4),
        number=tensor("2", (), (), kind="LongStorage", count=1),
        nothing=tensor("1", (0, 3), (3, 1)),
    )
    found = read_tensors(file_of(state, {"2": np.array([7]), "1": SIX}))
    assert {name: array.tolist() for name, array in found.items()} == {
        "rows": [[0, 1, 2], [3, 4, 5]],
        "columns": [[0, 2, 4], [1, 3, 5]],
        "part": [4, 5],
        "number": 7,
        "nothing": [],
    }
    assert found["rows"].dtype == np.float32


@pytest.mark.parametrize(
    "value",
    [
        Called("os", "mkdir", "made"),
        Called("builtins", "eval", "1"),
        Named("torch", "load"),
        Called("torch", "FloatStorage", 3),
        Called("torch._utils", "_rebuild_tensor_v2"),
    ],
)
def test_nothing_else_is_unpickled(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        read_tensors(file_of({"a": value}, {"1": SIX}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "impossible",
    [
        tensor("1", (2, 4), (3, 1)),
        tensor("1", (2, 3), (3, 1), offset=1),
        tensor("1", (2, 3), (-3, 1), offset=5),
        tensor("1", (2, 3), (3,)),
        tensor("9", (2, 3), (3, 1)),
        tensor("1", (2, 3), (3, 1), count=2**60),
        tensor("1", ("a", 3), (3, 1)),
        "text",
    ],
)
def test_impossible_tensors_are_refused(impossible):
    with pytest.raises(ValueError):
        read_tensors(file_of({"a": impossible}, {"1": SIX}))


def test_damage_is_a_value_error():
    content = file_of({"a": tensor("1", (2, 3), (3, 1))}, {"1": SIX})
    assert read_tensors(content)["a"].shape == (2, 3)
    with pytest.raises(ValueError, match="first format"):
        read_tensors(file_of({}, {}, magic=1))
    for end in range(0, len(content), 7):
        with pytest.raises(ValueError):
            read_tensors(content[:end])
