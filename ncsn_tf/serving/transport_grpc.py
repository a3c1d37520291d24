"""TensorFlow Serving over gRPC, with the messages of tensorflow-serving-api.

Those messages hold TensorFlow's own (TensorProto, SignatureDef), whose Python modules are part of
the package `tensorflow` and import all of it: this transport takes seconds to start, unlike REST.
No device is set up.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ncsn_tf.backend.quiet import quietly
from ncsn_tf.errors import UserError
from ncsn_tf.serving import contract
from ncsn_tf.serving.contract import Signature, Tensor
from ncsn_tf.serving.transport import Address, Kind, VersionStatus, dtype_name, failure

_OPTIONS = {
    "grpc.max_receive_message_length": -1,  # 4 MB unless set
    "grpc.max_send_message_length": -1,
    # The client's own retries are the only ones, and find a server that has just come back: gRPC
    # by itself would not try to connect again for up to two minutes.
    "grpc.enable_retries": 0,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 500,
}
_NO_HTTP2 = ("http1.x", "HTTP/2")
_NO_CONNECTION = ("failed to connect", "resolving", "DNS resolution")


class GrpcTransport:
    """A `transport.Transport` over gRPC; one channel for all threads.

    Args:
        address: `Address` of the server.
        model: name of the model.
        deadline: seconds within which a request must be answered.

    Raises:
        UserError: tensorflow-serving-api is not installed.
    """

    pixels_signature = contract.PIXELS
    pixels_output = settings_output = "image"
    bytes_per_value = {contract.PIXELS: 1, contract.SETTINGS: 1, contract.FEW: 1}

    def __init__(self, address: Address, model: str, deadline: float):
        with quietly():
            self._import()
        self.address = address
        self.model = model
        self.deadline = deadline
        self._channel = self._grpc.insecure_channel(str(address), options=list(_OPTIONS.items()))
        self._predictions = self._prediction_service.PredictionServiceStub(self._channel)
        self._models = self._model_service.ModelServiceStub(self._channel)

    def _import(self):
        try:
            import grpc
            import tensorflow as tf
            from tensorflow.core.framework import types_pb2
            from tensorflow_serving.apis import (
                get_model_metadata_pb2,
                get_model_status_pb2,
                model_service_pb2_grpc,
                predict_pb2,
                prediction_service_pb2_grpc,
            )
        except ImportError as error:
            raise UserError(
                f"gRPC needs tensorflow-serving-api ({error}): pip install -r requirements.txt, or "
                "use the server's REST port"
            ) from None
        self._grpc, self._tf, self._types = grpc, tf, types_pb2
        self._metadata, self._status = get_model_metadata_pb2, get_model_status_pb2
        self._predict = predict_pb2
        self._model_service = model_service_pb2_grpc
        self._prediction_service = prediction_service_pb2_grpc

    def status(self) -> dict[int, VersionStatus]:
        request = self._status.GetModelStatusRequest()
        request.model_spec.name = self.model
        answer = self._call(self._models.GetModelStatus, request)
        return {
            item.version: VersionStatus(
                self._status.ModelVersionStatus.State.Name(item.state), item.status.error_message
            )
            for item in answer.model_version_status
        }

    def signatures(self, version: int) -> dict[str, Signature]:
        request = self._metadata.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._name(request.model_spec, version)
        answer = self._call(self._predictions.GetModelMetadata, request)
        found = self._metadata.SignatureDefMap()
        if not answer.metadata["signature_def"].Unpack(found):
            raise self._failure(Kind.NOT_SERVING, "its metadata holds no signatures")
        return {
            name: Signature(self._tensors(definition.inputs), self._tensors(definition.outputs))
            for name, definition in found.signature_def.items()
        }

    def predict(
        self,
        version: int,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
    ) -> dict[str, np.ndarray]:
        request = self._predict.PredictRequest(output_filter=outputs)
        self._name(request.model_spec, version)
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(self._tf.make_tensor_proto(array))
        answer = self._call(self._predictions.Predict, request)
        return {output: self._array(answer, output) for output in outputs}

    def close(self) -> None:
        self._channel.close()

    def _array(self, answer, output):
        if output not in answer.outputs:
            raise self._failure(Kind.NOT_SERVING, f"its answer holds no {output}")
        try:
            return self._tf.make_ndarray(answer.outputs[output])
        except (TypeError, ValueError) as error:
            raise self._failure(Kind.NOT_SERVING, f"{output} is damaged: {error}") from None

    def _name(self, model_spec, version):
        model_spec.name = self.model
        model_spec.version.value = version

    def _tensors(self, infos):
        names = self._types.DataType.Name
        return {
            name: Tensor(dtype_name(names(info.dtype)), _shape(info.tensor_shape))
            for name, info in infos.items()
        }

    def _call(self, method, request):
        try:
            return method(request, timeout=self.deadline)
        except self._grpc.RpcError as error:
            kind = _kind(error.code().name, error.details() or "")
            detail = error.details() or error.code().name
            if kind is Kind.REFUSED:
                detail = f"{error.code().name}: {detail}"
            raise self._failure(kind, detail) from None

    def _failure(self, kind, detail):
        return failure(kind, self.address, self.deadline, detail)


def _kind(code, details):
    """The Kind of a gRPC status code."""
    if code == "UNAVAILABLE":
        if any(text in details for text in _NO_HTTP2):
            return Kind.NOT_GRPC
        connected = not any(text in details for text in _NO_CONNECTION)
        return Kind.UNAVAILABLE if connected else Kind.UNREACHABLE
    if code == "RESOURCE_EXHAUSTED":
        return Kind.TOO_LARGE if "larger than max" in details else Kind.UNAVAILABLE
    return {
        "DEADLINE_EXCEEDED": Kind.DEADLINE,
        "NOT_FOUND": Kind.NOT_FOUND,
        "UNIMPLEMENTED": Kind.NOT_SERVING,
    }.get(code, Kind.REFUSED)


def _shape(proto):
    if proto.unknown_rank:
        return None
    return tuple(None if axis.size < 0 else axis.size for axis in proto.dim)
