"""TensorFlow Serving over REST, with Python's standard library alone.

https://www.tensorflow.org/tfx/serving/api_rest: a request is in column format, {"inputs": {name:
[one value an image]}}; a string output whose name ends in _bytes is {"b64": text}.

Not `requests` or urllib3: their timeouts start anew with every packet, also urllib3's "total", so
that an answer of 4 seconds which trickles in passes a limit of 0.3; and closing a session in one
thread ends no request that waits in another.
"""

import base64
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import numpy as np

from ncsn_tf.serving import contract
from ncsn_tf.serving.contract import Signature, Tensor
from ncsn_tf.serving.transport import Address, Kind, VersionStatus, dtype_name, failure

_CONNECT_SECONDS = 20.0


class RestTransport:
    """A `transport.Transport` over REST; a connection for each request.

    Args:
        address: `Address` of the server.
        model: name of the model.
        deadline: seconds within which a request must be answered.
    """

    pixels_signature = contract.PNG
    pixels_output = settings_output = "image_bytes"
    # A PNG of noise in base64; `sample` also sends, in decimals, the pixels and the float samples.
    bytes_per_value = {contract.PNG: 2, contract.SETTINGS: 96, contract.FEW: 96}

    def __init__(self, address: Address, model: str, deadline: float):
        self.address = address
        self.deadline = deadline
        self._model = f"{address.prefix}/v1/models/{quote(model, safe='')}"
        self._sockets = set()
        self._lock = threading.Lock()

    def status(self) -> dict[int, VersionStatus]:
        answer = self._json("GET", self._model)
        with self._well_formed("status"):
            return {
                int(item["version"]): VersionStatus(
                    item["state"], item.get("status", {}).get("error_message", "")
                )
                for item in answer["model_version_status"]
            }

    def signatures(self, version: int) -> dict[str, Signature]:
        answer = self._json("GET", f"{self._model}/versions/{version}/metadata")
        with self._well_formed("metadata"):
            found = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: Signature(
                    _tensors(definition.get("inputs", {})), _tensors(definition.get("outputs", {}))
                )
                for name, definition in found.items()
            }

    def predict(
        self,
        version: int,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
    ) -> dict[str, np.ndarray]:
        columns = {name: array.tolist() for name, array in inputs.items()}
        request = {"signature_name": signature, "inputs": columns}
        answer = self._json("POST", f"{self._model}/versions/{version}:predict", request)
        with self._well_formed("answer"):
            values = answer["outputs"]
            if not isinstance(values, dict):  # the one output of a signature, without its name
                values = dict.fromkeys(outputs, values)
            return {output: _array(output, values[output]) for output in outputs}

    def close(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, None
        for each in sockets or ():
            _shut(each)

    def _json(self, method, path, body=None):
        status, reason, content = self._exchange(method, path, body)
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if status == 200 and isinstance(answer, dict):
            return answer
        said = answer.get("error") if isinstance(answer, dict) else None
        detail = str(said) if said else f"HTTP {status} {reason}"
        raise self._failure(_kind(status, said is not None), detail)

    def _exchange(self, method, path, body):
        """(status, reason, content) of one HTTP request, all within the deadline."""
        ends = time.monotonic() + self.deadline
        connection = self._connect()
        stream = connection.sock
        # A timeout of the socket would start anew with each packet.
        timer = threading.Timer(max(ends - time.monotonic(), 0), _shut, [stream])
        timer.daemon = True
        try:
            with self._registered(stream):
                timer.start()
                headers = {"Connection": "close", "Content-Type": "application/json"}
                content = None if body is None else json.dumps(body).encode()
                connection.request(method, path, content, headers)
                with connection.getresponse() as answer:
                    return answer.status, answer.reason, answer.read()
        except (OSError, http.client.HTTPException) as error:
            kind, detail = _broken_exchange(error)
            kind = kind if time.monotonic() < ends else Kind.DEADLINE
            raise self._failure(kind, detail) from None
        finally:
            timer.cancel()
            connection.close()

    def _connect(self):
        secure = self.address.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        timeout = min(self.deadline, _CONNECT_SECONDS)
        try:
            connection = connect(self.address.host, self.address.port, timeout=timeout)
            connection.connect()
        except (OSError, http.client.InvalidURL, UnicodeError) as error:
            # A certificate does not get better.
            kind = Kind.REFUSED if isinstance(error, ssl.SSLError) else Kind.UNREACHABLE
            raise self._failure(kind, getattr(error, "strerror", None) or str(error)) from None
        connection.sock.settimeout(None)
        return connection

    @contextlib.contextmanager
    def _registered(self, stream):
        with self._lock:
            if self._sockets is None:
                raise ConnectionAbortedError("the client was closed")
            self._sockets.add(stream)
        try:
            yield
        finally:
            with self._lock:
                if self._sockets is not None:
                    self._sockets.discard(stream)

    @contextlib.contextmanager
    def _well_formed(self, what):
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            detail = f"its {what} is malformed ({type(error).__name__}: {error})"
            raise self._failure(Kind.NOT_SERVING, detail) from None

    def _failure(self, kind, detail):
        return failure(kind, self.address, self.deadline, detail)


def _kind(status, from_serving):
    """The Kind of an HTTP status; `from_serving`: with {"error": ...}, as TF Serving answers."""
    if status in (429, 502, 503) or (status == 504 and not from_serving):
        return Kind.UNAVAILABLE
    if not from_serving:
        return Kind.NOT_SERVING
    return {404: Kind.NOT_FOUND, 504: Kind.SERVER_TIME_LIMIT}.get(status, Kind.REFUSED)


def _broken_exchange(error):
    """(Kind, detail) of an error between connecting and the answer's last byte."""
    if isinstance(error, OSError):  # RemoteDisconnected, of both families, among them
        return Kind.LOST, error.strerror or str(error)
    if isinstance(error, http.client.IncompleteRead):
        return Kind.LOST, f"after {len(error.partial)} bytes of its answer"
    return Kind.NOT_HTTP, ""


def _shut(stream):
    """End a socket that another thread may be waiting for."""
    with contextlib.suppress(OSError):
        stream.shutdown(socket.SHUT_RDWR)


def _array(name, values):
    """An output as an array; bytes are objects."""
    if not name.endswith("_bytes"):
        return np.array(values)
    values = [base64.b64decode(value["b64"], validate=True) for value in values]
    return np.array(values, object)


def _tensors(infos):
    return {
        name: Tensor(dtype_name(info["dtype"]), _shape(info["tensor_shape"]))
        for name, info in infos.items()
    }


def _shape(info):
    if info.get("unknown_rank"):
        return None
    sizes = [int(axis["size"]) for axis in info.get("dim", ())]
    return tuple(None if size < 0 else size for size in sizes)
