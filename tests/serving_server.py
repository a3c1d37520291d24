"""A small TensorFlow Serving: the same protos, REST rules and error texts, a real SavedModel.

`ServingServer(folder)` runs the versions of an export folder in sessions, as TensorFlow Serving
does, and answers on two ports of 127.0.0.1:

* gRPC: PredictionService.Predict and GetModelMetadata, ModelService.GetModelStatus;
* REST: GET /v1/models/NAME[/versions/N][/metadata], POST /v1/models/NAME[/versions/N]:predict with
  rows ("instances") or columns ("inputs").

Its knobs make it slow, failing, or rude; see the attributes. The rules are those of
https://www.tensorflow.org/tfx/serving/api_rest and of what was seen of TensorFlow Serving's code.
"""

import base64
import collections
import concurrent.futures
import contextlib
import http.server
import inspect
import json
import re
import socket
import struct
import threading
from pathlib import Path
from urllib.parse import unquote

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

State = get_model_status_pb2.ModelVersionStatus.State
_HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


class ServingError(Exception):
    """A status code by its gRPC name, and the text that goes with it."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class DroppedError(Exception):
    """Ends a request by breaking its connection."""


class Model:
    """One version of a SavedModel in a session of its own."""

    def __init__(self, folder):
        message = saved_model_pb2.SavedModel()
        message.ParseFromString((Path(folder) / "saved_model.pb").read_bytes())
        self.signatures = message.meta_graphs[0].signature_def
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            tf.compat.v1.saved_model.load(self.session, ["serve"], str(folder))

    def signature(self, name):
        name = name or "serving_default"
        if name not in self.signatures:
            raise ServingError("INVALID_ARGUMENT", f'Serving signature name: "{name}" not found')
        return self.signatures[name]

    def run(self, signature, inputs, outputs):
        """{output: array} for {input: array}; every input must be there, and no other."""
        if set(inputs) != set(signature.inputs):
            raise ServingError(
                "INVALID_ARGUMENT",
                f"input size does not match signature: {sorted(inputs)} {sorted(signature.inputs)}",
            )
        for name, array in inputs.items():
            expected = tf.dtypes.as_dtype(signature.inputs[name].dtype)
            if tf.dtypes.as_dtype(array.dtype) != expected:
                raise ServingError(
                    "INVALID_ARGUMENT", f"Expects {name} to be {expected.name}, not {array.dtype}"
                )
        names = list(outputs or signature.outputs)
        unknown = [name for name in names if name not in signature.outputs]
        if unknown:
            raise ServingError(
                "INVALID_ARGUMENT", f"output tensor alias not found in signature: {unknown[0]}"
            )
        try:
            arrays = self.session.run(
                [signature.outputs[name].name for name in names],
                {signature.inputs[name].name: array for name, array in inputs.items()},
            )
        except tf.errors.OpError as error:
            raise ServingError("INVALID_ARGUMENT", error.message) from None
        return dict(zip(names, arrays, strict=True))


class ServingServer:
    """Serves the versions in `folder` as model `name`; a context manager.

    Attributes to set:
        failures: [(method, code, text)]: the next call of the method ("predict", "status" or
            "metadata") ends with the gRPC code or its HTTP status; an int is an HTTP status with
            an HTML body, as from a proxy; "DROP" breaks the connection.
        states: {version: [(state, error message), ...]}: what successive status calls say; the
            last one stays.
        gates: {first seed: threading.Event} a request waits for.
        time_limit: seconds a REST request may wait for its gate, as --rest_api_timeout_in_ms.
        delay: seconds before each prediction.

    Attributes to read: `requests`, [(protocol, method, parsed request)]; `most_at_once`, the
    largest number of predictions at the same time; `broken_off`, how many gRPC predictions the
    client ended.
    """

    def __init__(self, folder, name="ncsn"):
        self.name = name
        self.models = {int(path.name): Model(path) for path in sorted(Path(folder).glob("[0-9]*"))}
        self._lock = threading.Lock()
        self._running = 0
        self.reset()
        self._workers = workers = concurrent.futures.ThreadPoolExecutor(16)
        # SO_REUSEPORT would let a second server of another test process take the same port.
        options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        self._grpc = grpc.server(workers, options=options)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Grpc(self), self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Grpc(self), self._grpc)
        self._http = _HttpServer(("127.0.0.1", 0), _Rest)
        self._http.serving = self
        self.relay = Relay(self._grpc.add_insecure_port("127.0.0.1:0"))
        self.grpc_port = self.relay.port
        self.rest_port = self._http.server_port

    def reset(self):
        """Every knob as at the start, once the requests of before have ended."""
        for gate in getattr(self, "gates", {}).values():
            gate.set()
        for _ in range(1000):
            if self._running == 0:
                break
            threading.Event().wait(0.01)
        assert self._running == 0
        self.failures = []
        self.states = {version: [("AVAILABLE", "")] for version in self.models}
        self.gates = collections.defaultdict(_open_gate)
        self.time_limit = None
        self.delay = 0.0
        self.requests = []
        self.most_at_once = 0
        self.broken_off = 0

    def __enter__(self):
        self._grpc.start()
        threading.Thread(target=self._http.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_):
        self.relay.close()
        self._grpc.stop(grace=None)
        self._http.shutdown()
        self._http.server_close()
        self._workers.shutdown(wait=False)
        for gate in self.gates.values():
            gate.set()
        for _ in range(200):
            if self._running == 0:
                for model in self.models.values():
                    model.session.close()
                return
            threading.Event().wait(0.01)

    def status(self, protocol, name, version=None):
        """{version: (state, error message)}"""
        self._begin(protocol, "status", (name, version))
        if name != self.name or not self.states:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {name}")
        if version is not None and version not in self.states:
            raise ServingError("NOT_FOUND", f"Could not find version {version} of model {name}")
        found = {}
        for number, states in self.states.items():
            if version in (None, number):
                found[number] = states.pop(0) if len(states) > 1 else states[0]
        return found

    def model(self, name, version=None):
        """(version, Model) of an available version."""
        there = [
            number
            for number, states in self.states.items()
            if name == self.name and states[0][0] == "AVAILABLE" and version in (None, number)
        ]
        if not there:
            which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise ServingError("NOT_FOUND", f"Servable not found for request: {which}")
        return max(there), self.models[max(there)]

    def metadata(self, protocol, name, version=None):
        """(version, {name: SignatureDef})"""
        self._begin(protocol, "metadata", (name, version))
        version, model = self.model(name, version)
        return version, model.signatures

    @contextlib.contextmanager
    def predicting(self, protocol, request):
        """Counts predictions, and makes one fail if the knobs say so."""
        with self._lock:
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        try:
            self._begin(protocol, "predict", request)
            yield
        finally:
            with self._lock:
                self._running -= 1

    def wait(self, seeds, is_active=lambda: True, time_limit=None):
        """Hold a request back until its gate opens or its time is over."""
        threading.Event().wait(self.delay)
        gate, waited = self.gates[int(seeds[0])], 0.0
        while not gate.wait(0.01) and is_active():
            waited += 0.01
            if time_limit is not None and waited >= time_limit:
                raise ServingError("DEADLINE_EXCEEDED", "Timed out waiting for notification")

    def count_broken_off(self):
        """One more request that nobody waits for."""
        with self._lock:
            self.broken_off += 1

    def _begin(self, protocol, method, request):
        with self._lock:
            self.requests.append((protocol, method, request))
            for index, (failing, code, text) in enumerate(self.failures):
                if failing == method:
                    del self.failures[index]
                    raise DroppedError if code == "DROP" else ServingError(code, text)


class Relay:
    """Passes bytes between its own port and another, until it cuts its connections.

    A Python servicer cannot break the connection that it answers on.
    """

    def __init__(self, target_port, port=0):
        self.target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", port))
        self._streams = []
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """Reset every connection."""
        streams, self._streams = self._streams, []
        for stream in streams:
            _reset(stream)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for connections
        self._listener.close()
        self.cut()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target_port))
                self._streams += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    @staticmethod
    def _pass_on(source, sink):
        with contextlib.suppress(OSError):
            while block := source.recv(2**16):
                sink.sendall(block)
            sink.shutdown(socket.SHUT_WR)


def _reset(stream):
    """End a connection without the orderly end; also what other threads do with it."""
    with contextlib.suppress(OSError):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.shutdown(socket.SHUT_RD)  # wakes the thread that reads
    stream.close()


def _open_gate():
    gate = threading.Event()
    gate.set()
    return gate


class _Grpc:
    """Both services."""

    def __init__(self, server):
        self.server = server

    def Predict(self, request, context):  # noqa: N802 (the service's name)
        assert isinstance(request, predict_pb2.PredictRequest)
        with self.errors(context), self.server.predicting("grpc", request):
            version, model = self.server.model(*_model_spec(request))
            signature = model.signature(request.model_spec.signature_name)
            inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            self.server.wait(inputs.get("seed", [0]), context.is_active)
            if not context.is_active():
                self.server.count_broken_off()
                raise ServingError("CANCELLED", "the client is gone")
            outputs = model.run(signature, inputs, request.output_filter)
            answer = predict_pb2.PredictResponse()
            for name, array in outputs.items():
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(array))
            answer.model_spec.name = self.server.name
            answer.model_spec.version.value = version
            answer.model_spec.signature_name = request.model_spec.signature_name
            return answer

    def GetModelMetadata(self, request, context):  # noqa: N802
        with self.errors(context):
            if list(request.metadata_field) != ["signature_def"]:
                raise ServingError("INVALID_ARGUMENT", "Metadata field is not supported")
            version, signatures = self.server.metadata("grpc", *_model_spec(request))
            answer = get_model_metadata_pb2.GetModelMetadataResponse()
            answer.model_spec.name = self.server.name
            answer.model_spec.version.value = version
            answer.metadata["signature_def"].Pack(_signature_map(signatures))
            return answer

    def GetModelStatus(self, request, context):  # noqa: N802
        with self.errors(context):
            answer = get_model_status_pb2.GetModelStatusResponse()
            for version, (state, error) in self.server.status(
                "grpc", *_model_spec(request)
            ).items():
                item = answer.model_version_status.add(version=version, state=State.Value(state))
                item.status.error_code = 2 if error else 0
                item.status.error_message = error
            return answer

    @contextlib.contextmanager
    def errors(self, context):
        try:
            yield
        except ServingError as error:
            context.abort(grpc.StatusCode[error.code], str(error))
        except DroppedError:
            self.server.relay.cut()
            context.abort(grpc.StatusCode.CANCELLED, "cut")

    def __getattr__(self, name):
        """The services' other methods, which no one may call."""
        if name[:1].isupper():
            return None
        raise AttributeError(name)


def _model_spec(request):
    spec = request.model_spec
    return spec.name, spec.version.value if spec.HasField("version") else None


def _signature_map(signatures):
    message = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in signatures.items():
        message.signature_def[name].CopyFrom(signature)
    return message


class _HttpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


class _Rest(http.server.BaseHTTPRequestHandler):
    """The HTTP side."""

    PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(/metadata|:predict)?")

    def do_GET(self):  # noqa: N802 (the base class's name)
        self.handle_with(
            lambda serving, name, version, what: self.get(serving, name, version, what)
        )

    def do_POST(self):  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.handle_with(
            lambda serving, name, version, what: self.post(serving, name, version, what, body)
        )

    def handle_with(self, work):
        try:
            match = self.PATH.fullmatch(self.path)
            if not match:
                raise ServingError(
                    "INVALID_ARGUMENT", f"Malformed request: {self.command} {self.path}"
                )
            version = int(match[2]) if match[2] else None
            self.answer(200, work(self.server.serving, unquote(match[1]), version, match[3]))
        except ServingError as error:
            if isinstance(error.code, int):
                self.answer(error.code, None)
            else:
                self.answer(_HTTP_STATUS[error.code], {"error": str(error)})
        except DroppedError:
            # Half an answer, then a reset instead of an orderly end.
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            self.wfile.flush()
            _reset(self.connection)
        except (BrokenPipeError, ConnectionResetError):
            self.server.serving.count_broken_off()

    def answer(self, status, content):
        html = content is None
        body = b"<html>a proxy's page</html>" if html else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if html else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def get(self, serving, name, version, what):
        if what is None:
            states = serving.status("rest", name, version)
            return {
                "model_version_status": [
                    {
                        "version": str(number),
                        "state": state,
                        "status": {
                            "error_code": "UNKNOWN" if error else "OK",
                            "error_message": error,
                        },
                    }
                    for number, (state, error) in states.items()
                ]
            }
        if what != "/metadata":
            raise ServingError("INVALID_ARGUMENT", f"Malformed request: GET {self.path}")
        version, signatures = serving.metadata("rest", name, version)
        signature_map = json_format.MessageToDict(
            _signature_map(signatures),
            preserving_proto_field_name=True,
            **_PRINT_DEFAULTS,
        )
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(version)},
            "metadata": {"signature_def": signature_map},
        }

    def post(self, serving, name, version, what, body):
        if what != ":predict":
            raise ServingError("INVALID_ARGUMENT", f"Malformed request: POST {self.path}")
        try:
            request = json.loads(body)
        except ValueError as error:
            raise ServingError("INVALID_ARGUMENT", f"JSON Parse error: {error}") from None
        with serving.predicting("rest", request):
            _, model = serving.model(name, version)
            return predict(
                model,
                request,
                lambda seeds: serving.wait(seeds, time_limit=serving.time_limit),
            )

    def log_message(self, *_):
        pass


_PRINT_DEFAULTS = {  # the second name is that of Protobuf 4
    name: True
    for name in ("always_print_fields_with_no_presence", "including_default_value_fields")
    if name in inspect.signature(json_format.MessageToDict).parameters
}


def predict(model, request, wait=lambda seeds: None):
    """The JSON answer to a JSON predict request, by TensorFlow Serving's rules."""
    signature = model.signature(request.get("signature_name", ""))
    if ("instances" in request) == ("inputs" in request):
        raise ServingError("INVALID_ARGUMENT", "Request has not one of 'instances' and 'inputs'")
    is_rows = "instances" in request
    columns = _columns(request["instances"], signature) if is_rows else request["inputs"]
    if not is_rows and not (isinstance(columns, dict) and set(columns) <= set(signature.inputs)):
        if len(signature.inputs) != 1:
            raise ServingError(
                "INVALID_ARGUMENT", "inputs is a plain value/list, but expecting one"
            )
        columns = {next(iter(signature.inputs)): columns}
    inputs = {}
    for name, info in signature.inputs.items():
        if name not in columns:
            raise ServingError("INVALID_ARGUMENT", f"Missing named input: {name} in request.")
        dtype = tf.dtypes.as_dtype(info.dtype)
        inputs[name] = np.array(_checked(columns[name], dtype), dtype.as_numpy_dtype)
    wait(inputs.get("seed", [0]))
    outputs = {
        name: _to_json(name, array) for name, array in model.run(signature, inputs, None).items()
    }
    if len(outputs) == 1:
        (only,) = outputs.values()
        return {"predictions" if is_rows else "outputs": only}
    if not is_rows:
        return {"outputs": outputs}
    rows = zip(*outputs.values(), strict=True)
    return {"predictions": [dict(zip(outputs, row, strict=True)) for row in rows]}


def _columns(rows, signature):
    if not isinstance(rows, list) or not rows:
        raise ServingError("INVALID_ARGUMENT", "Expecting 'instances' value to be a non-empty list")
    if not isinstance(rows[0], dict):
        if len(signature.inputs) != 1:
            raise ServingError(
                "INVALID_ARGUMENT", "instances is a plain list, but expecting list of objects"
            )
        return {next(iter(signature.inputs)): rows}
    if any(not isinstance(row, dict) or set(row) != set(rows[0]) for row in rows):
        raise ServingError("INVALID_ARGUMENT", "instances have different keys")
    return {name: [row[name] for row in rows] for name in rows[0]}


def _checked(value, dtype):
    """The JSON value if its numbers have the right type: 1.0 is no integer, 1 is a float."""
    if isinstance(value, list):
        return [_checked(item, dtype) for item in value]
    kinds = (int,) if dtype.is_integer else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ServingError(
            "INVALID_ARGUMENT",
            f"JSON Value: {json.dumps(value)} Type: {type(value).__name__} is not of expected type:"
            f" {dtype.name}",
        )
    return value


def _to_json(name, array):
    if array.dtype != object:
        return array.tolist()
    if name.endswith("_bytes"):
        return [{"b64": base64.b64encode(item).decode()} for item in array]
    return [item.decode() for item in array]


HEIGHT, WIDTH, CHANNELS = 3, 4, 3
DEFAULT_STEPS, DEFAULT_STEP_LR, MOST_STEPS = 2, 0.5, 9


class StandIn(tf.Module):
    """The signatures of an exported sampler with images that are a formula of their inputs."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="seed")])
    def serving_default(self, seed):
        return {"image_bytes": _pngs(_stand_in_images(seed))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="seed")])
    def sample_uint8(self, seed):
        return {"image": _stand_in_images(seed)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, name="seed"),
            tf.TensorSpec([None], tf.int32, name="steps_per_level"),
            tf.TensorSpec([None], tf.float32, name="step_lr"),
        ]
    )
    def sample(self, seed, steps_per_level, step_lr):
        steps = tf.where(steps_per_level > 0, steps_per_level, DEFAULT_STEPS)
        steps = tf.minimum(steps, MOST_STEPS)
        image = _stand_in_images(seed, steps, tf.where(step_lr > 0, step_lr, DEFAULT_STEP_LR))
        return {
            "image_bytes": _pngs(image),
            "image": image,
            "samples": tf.cast(image, tf.float32) / 255,
            "steps_per_level": steps,
        }


def stand_in_images(seeds, steps=DEFAULT_STEPS, step_lr=DEFAULT_STEP_LR):
    """What `StandIn` draws, uint8 [B, H, W, C] as an array."""
    seeds = np.asarray(seeds, np.int64)
    rows = [np.full(seeds.shape, steps, np.int32), np.full(seeds.shape, step_lr, np.float32)]
    return _stand_in_images(tf.constant(seeds), *map(tf.constant, rows)).numpy()


def save_stand_in(folder):
    """Save a `StandIn` as folder."""
    module = StandIn()
    names = ("serving_default", "sample_uint8", "sample")
    tf.saved_model.save(module, str(folder), {name: getattr(module, name) for name in names})


def _stand_in_images(seed, steps=None, step_lr=None):
    places = tf.range(HEIGHT * WIDTH * CHANNELS, dtype=tf.int64)
    steps = tf.fill(tf.shape(seed), DEFAULT_STEPS) if steps is None else steps
    step_lr = tf.fill(tf.shape(seed), DEFAULT_STEP_LR) if step_lr is None else step_lr
    offset = 31 * seed + 17 * tf.cast(steps, tf.int64) + tf.cast(step_lr * 64, tf.int64)
    values = (offset[:, None] + 7 * places**2) % 256
    return tf.cast(tf.reshape(values, [-1, HEIGHT, WIDTH, CHANNELS]), tf.uint8)


def _pngs(images):
    encode = tf.io.encode_png
    return tf.map_fn(encode, images, fn_output_signature=tf.TensorSpec([], tf.string))
