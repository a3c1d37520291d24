"""Loads and runs a SavedModel through TensorFlow's C API, without Python's TensorFlow.

Behind it is the C++ loader that TensorFlow Serving uses: no Python object graph, no Keras, and XLA
disabled as the server disables it.

    python tests/c_api.py EXPORT INPUTS.npz OUTPUTS.npz

INPUTS.npz holds arrays named SIGNATURE/INPUT; OUTPUTS.npz gets SIGNATURE/OUTPUT.
"""

import ctypes
import importlib.util
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

DTYPES = {1: np.float32, 3: np.int32, 4: np.uint8, 9: np.int64}  # numbers of types.proto
STRING = 7
TSTRING_BYTES = 24
POINTER = ctypes.c_void_p


class _Output(ctypes.Structure):  # TF_Output
    _fields_ = [("operation", POINTER), ("index", ctypes.c_int)]


class _Buffer(ctypes.Structure):  # TF_Buffer
    _fields_ = [("data", POINTER), ("length", ctypes.c_size_t), ("deallocator", POINTER)]


_FUNCTIONS = {  # name: result, arguments
    "TF_NewStatus": (POINTER, []),
    "TF_GetCode": (ctypes.c_int, [POINTER]),
    "TF_Message": (ctypes.c_char_p, [POINTER]),
    "TF_NewGraph": (POINTER, []),
    "TF_NewSessionOptions": (POINTER, []),
    "TF_NewBuffer": (ctypes.POINTER(_Buffer), []),
    "TF_LoadSessionFromSavedModel": (
        POINTER,
        [POINTER, POINTER, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int]
        + [POINTER] * 3,
    ),
    "TF_GraphOperationByName": (POINTER, [POINTER, ctypes.c_char_p]),
    "TF_AllocateTensor": (
        POINTER,
        [ctypes.c_int, ctypes.POINTER(ctypes.c_int64), ctypes.c_int, ctypes.c_size_t],
    ),
    "TF_TensorData": (POINTER, [POINTER]),
    "TF_TensorType": (ctypes.c_int, [POINTER]),
    "TF_NumDims": (ctypes.c_int, [POINTER]),
    "TF_Dim": (ctypes.c_int64, [POINTER, ctypes.c_int]),
    "TF_TensorByteSize": (ctypes.c_size_t, [POINTER]),
    "TF_DeleteTensor": (None, [POINTER]),
    "TF_SessionRun": (
        None,
        [POINTER] * 4
        + [ctypes.c_int, POINTER, POINTER, ctypes.c_int, POINTER, ctypes.c_int]
        + [POINTER] * 2,
    ),
}


class SavedModel:
    """A SavedModel in a session of its own."""

    def __init__(self, folder):
        package = Path(importlib.util.find_spec("tensorflow").origin).parent  # found, not imported
        ctypes.CDLL(str(package / "libtensorflow_framework.so.2"), ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(package / "libtensorflow_cc.so.2"), ctypes.RTLD_GLOBAL)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self.library, name)
            function.restype, function.argtypes = result, arguments
        self.library["_ZN10tensorflow21DisableXlaCompilationEv"]()
        self.status = self.library.TF_NewStatus()
        self.graph = self.library.TF_NewGraph()
        meta_graph = self.library.TF_NewBuffer()
        self.session = self.library.TF_LoadSessionFromSavedModel(
            self.library.TF_NewSessionOptions(),
            None,
            bytes(Path(folder)),
            (ctypes.c_char_p * 1)(b"serve"),
            1,
            self.graph,
            meta_graph,
            self.status,
        )
        self._check()
        content = meta_graph.contents
        self.signatures = _signatures(ctypes.string_at(content.data, content.length))

    def run(self, signature, inputs):
        """{output: array, or list of bytes} of a signature for {input: array}."""
        about = self.signatures[signature]
        places, tensors = [], []
        for name, value in inputs.items():
            tensor, dtype = about["inputs"][name]
            value = np.ascontiguousarray(value)
            assert value.dtype == DTYPES[dtype], (name, value.dtype)
            places.append(self._place(tensor))
            tensors.append(self._tensor(dtype, value))
        names = list(about["outputs"])
        fetched = [self._place(about["outputs"][name][0]) for name in names]
        results = (POINTER * len(names))()
        self.library.TF_SessionRun(
            self.session,
            None,
            (_Output * len(places))(*places),
            (POINTER * len(tensors))(*tensors),
            len(tensors),
            (_Output * len(names))(*fetched),
            results,
            len(names),
            None,
            0,
            None,
            self.status,
        )
        self._check()
        for tensor in tensors:
            self.library.TF_DeleteTensor(tensor)
        return {name: self._value(tensor) for name, tensor in zip(names, results, strict=True)}

    def _check(self):
        if self.library.TF_GetCode(self.status):
            raise RuntimeError(self.library.TF_Message(self.status).decode())

    def _place(self, tensor):
        operation, _, index = tensor.partition(":")
        found = self.library.TF_GraphOperationByName(self.graph, operation.encode())
        return _Output(found, int(index or 0))

    def _tensor(self, dtype, value):
        shape = (ctypes.c_int64 * value.ndim)(*value.shape)
        tensor = self.library.TF_AllocateTensor(dtype, shape, value.ndim, value.nbytes)
        ctypes.memmove(self.library.TF_TensorData(tensor), value.ctypes.data, value.nbytes)
        return tensor

    def _value(self, tensor):
        library = self.library
        shape = [library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor))]
        data = library.TF_TensorData(tensor)
        dtype = library.TF_TensorType(tensor)
        if dtype == STRING:
            count = int(np.prod(shape))
            value = [_string(data + TSTRING_BYTES * index) for index in range(count)]
        else:
            content = ctypes.string_at(data, library.TF_TensorByteSize(tensor))
            value = np.frombuffer(content, DTYPES[dtype]).reshape(shape)
        library.TF_DeleteTensor(tensor)
        return value


def _string(address):
    """The bytes of a TF_TString: small, large, offset and view layouts, told apart by two bits."""
    words = ctypes.cast(address, ctypes.POINTER(ctypes.c_uint64))
    layout = words[0] & 3
    if layout == 0:
        return ctypes.string_at(address + 1, (words[0] & 0xFF) >> 2)
    if layout == 1:
        return ctypes.string_at(words[2], words[0] >> 2)
    if layout == 2:
        return ctypes.string_at(address + (words[0] >> 32), (words[0] & 0xFFFFFFFF) >> 2)
    return ctypes.string_at(words[1], words[0] >> 2)


def _signatures(meta_graph):
    """{name: {"inputs" | "outputs": {name: (tensor, dtype)}}} of a serialized MetaGraphDef."""
    signatures = {}
    for entry in _message(meta_graph)[5]:  # map signature_def
        name, definition = _entry(entry)
        fields = _message(definition)
        signatures[name] = {
            kind: {key: _tensor_info(info) for key, info in map(_entry, fields[number])}
            for kind, number in (("inputs", 1), ("outputs", 2))
        }
    return signatures


def _tensor_info(data):
    fields = _message(data)
    return fields[1][0].decode(), (fields[2] or [0])[0]  # name, dtype; 0 is not written


def _entry(data):
    fields = _message(data)
    return fields[1][0].decode(), fields[2][0]


def _message(data):
    """{field number: [values]} of a serialized message: integers, or bytes."""
    fields, at = defaultdict(list), 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        wire_type = key & 7
        if wire_type == 0:
            value = varint()
        else:
            length = varint() if wire_type == 2 else {1: 8, 5: 4}[wire_type]
            value = data[at : at + length]
            at += length
        fields[key >> 3].append(value)
    return fields


def main(folder, inputs, outputs):
    model = SavedModel(folder)
    calls, results = defaultdict(dict), {}
    with np.load(inputs) as arrays:
        for key in arrays.files:
            signature, _, name = key.partition("/")
            calls[signature][name] = arrays[key]
    for signature, values in calls.items():
        for name, value in model.run(signature, values).items():
            results[f"{signature}/{name}"] = value
    np.savez(outputs, **results)
    assert "tensorflow" not in sys.modules


if __name__ == "__main__":
    main(*sys.argv[1:])
