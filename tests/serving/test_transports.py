"""Both transports against a server that speaks the protos and REST rules of TensorFlow Serving."""

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import serving_server
from ports import free_ports
from serving_server import ServingServer, stand_in_images
from waiting import wait_for

from ncsn_tf.errors import UserError
from ncsn_tf.serving.client import Client, open_transport
from ncsn_tf.serving.contract import EXPECTED, SAMPLING, Tensor
from ncsn_tf.serving.transport import CAN_PASS, Address, Kind, RequestError, VersionStatus

ROOT = Path(__file__).resolve().parents[2]
SEEDS = np.array([5, -3, 2**62 + 1, -(2**63)])
PROTOCOLS = pytest.mark.parametrize("protocol", ["grpc", "rest"])


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    serving_server.save_stand_in(folder / "1")
    serving_server.save_stand_in(folder / "2")
    with ServingServer(folder) as server:
        yield server


@pytest.fixture
def server(shared_server):
    shared_server.reset()
    return shared_server


@pytest.fixture
def connect(server):
    """protocol -> a transport to the server; closed at the end."""
    opened = []

    def connect(protocol, model="ncsn", deadline=20.0, port=None, prefix=""):
        scheme = {"rest": "http"}.get(protocol, protocol)
        port = port or (server.grpc_port if protocol == "grpc" else server.rest_port)
        address = Address(scheme, "127.0.0.1", port, prefix)
        opened.append(open_transport(address, model, deadline))
        return opened[-1]

    yield connect
    for transport in opened:
        transport.close()


def failed(call, *args):
    """The RequestError that the call raises."""
    with pytest.raises(RequestError) as error:
        call(*args)
    assert "\n" not in str(error.value)
    return error.value


def draw(transport, seeds=SEEDS, version=2):
    """The cheapest way to images."""
    inputs, output = {"seed": np.asarray(seeds, np.int64)}, transport.pixels_output
    return transport.predict(version, transport.pixels_signature, inputs, [output])[output]


@PROTOCOLS
def test_status_and_signatures(protocol, connect, server):
    transport = connect(protocol)
    assert transport.status() == {version: VersionStatus("AVAILABLE") for version in (1, 2)}
    server.states[2] = [("LOADING", "")]
    server.states[1] = [("END", "out of memory")]
    assert transport.status() == {
        1: VersionStatus("END", "out of memory"),
        2: VersionStatus("LOADING"),
    }
    server.reset()
    found = transport.signatures(2)
    for name in EXPECTED.keys() & SAMPLING.keys():  # those of every export
        expected = EXPECTED[name]
        dtypes = {key: tensor.dtype for key, tensor in found[name].inputs.items()}
        assert dtypes == {key: tensor.dtype for key, tensor in expected.inputs.items()}
    assert found["sample"].inputs["step_lr"] == Tensor("float32", (None,))
    assert found["sample"].outputs == {
        "image": Tensor("uint8", (None, 3, 4, 3)),
        "image_bytes": Tensor("string", (None,)),
        "samples": Tensor("float32", (None, 3, 4, 3)),
        "steps_per_level": Tensor("int32", (None,)),
    }


@PROTOCOLS
@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, stand_in_images(SEEDS)),
        ({"num_steps_each": 4}, stand_in_images(SEEDS, steps=4)),
        ({"step_lr": 0.3}, stand_in_images(SEEDS, step_lr=0.3)),
        ({"num_steps_each": 9, "step_lr": 0.7}, stand_in_images(SEEDS, steps=9, step_lr=0.7)),
    ],
)
def test_images_are_exact(protocol, settings, expected, connect):
    drawn = Client(connect(protocol), **settings).images(SEEDS)
    np.testing.assert_array_equal(drawn, expected)
    assert drawn.dtype == np.uint8
    assert settings == {} or np.any(drawn != stand_in_images(SEEDS))


@PROTOCOLS
def test_more_steps_than_the_server_takes(protocol, connect):
    client = Client(connect(protocol), num_steps_each=10)
    with pytest.raises(UserError) as error:
        client.images(SEEDS)
    assert str(error.value).endswith(
        " takes 9 steps a level, not --num_steps_each=10: ask for no more, or export with a larger "
        "--max_steps_each"
    )


@PROTOCOLS
def test_the_limit_of_the_servers_batching(protocol, connect, server):
    """It is learned from the refusal, in the words of the server's batching."""
    client = Client(connect(protocol))
    text = "Task size 4 is larger than maximum input batch size 3"
    server.failures.append(("predict", "INVALID_ARGUMENT", text))
    np.testing.assert_array_equal(client.images(SEEDS), stand_in_images(SEEDS))
    sizes = [size_of(request) for _, method, request in server.requests if method == "predict"]
    assert sizes == [4, 3, 1]


def size_of(request):
    if isinstance(request, dict):
        return len(request["inputs"]["seed"])
    return request.inputs["seed"].tensor_shape.dim[0].size


def test_a_grpc_request_asks_for_no_output_that_it_does_not_need(connect, server):
    Client(connect("grpc")).images(SEEDS)
    assert list(server.requests[-1][2].output_filter) == ["image"]
    Client(connect("grpc"), step_lr=0.5).images(SEEDS)  # whose chains may diverge: it is told
    assert list(server.requests[-1][2].output_filter) == ["image", "steps_per_level"]
    Client(connect("grpc"), version=1, num_steps_each=4).images(SEEDS)
    request = server.requests[-1][2]
    assert request.model_spec.name == "ncsn"
    assert request.model_spec.version.value == 1
    assert request.model_spec.signature_name == "sample"
    assert list(request.output_filter) == ["image", "steps_per_level"]
    assert request.inputs["seed"].dtype == 9  # DT_INT64
    assert [axis.size for axis in request.inputs["seed"].tensor_shape.dim] == [4]
    assert sorted(request.inputs) == ["seed", "step_lr", "steps_per_level"]


def test_rest_requests_are_columns_of_the_right_types(connect, server):
    Client(connect("rest")).images(SEEDS)
    assert server.requests[-1][2] == {
        "signature_name": "serving_default",
        "inputs": {"seed": SEEDS.tolist()},
    }
    Client(connect("rest"), step_lr=0.5).images(np.array([1]))
    assert server.requests[-1][2] == {
        "signature_name": "sample",
        "inputs": {"seed": [1], "steps_per_level": [0], "step_lr": [0.5]},
    }


@PROTOCOLS
def test_the_version_that_was_chosen_is_the_one_that_is_asked(protocol, connect, server):
    client = Client(connect(protocol), version=1)
    client.images(np.array([1]))
    del server.states[1]
    with pytest.raises(UserError, match=r"unloaded version 1 meanwhile: .*Specific\(ncsn, 1\)"):
        client.images(np.array([1]))
    assert [method for _, method, _ in server.requests] == [
        "status",
        "metadata",
        "predict",
        "predict",
    ]


@PROTOCOLS
def test_a_missing_model(protocol, connect):
    with pytest.raises(UserError) as error:
        Client(connect(protocol, model="a b/c"))
    said = "Could not find any versions of model a b/c; --model=NAME says which to draw from"
    assert str(error.value).endswith(f"has no such model: {said}")


@PROTOCOLS
@pytest.mark.parametrize(
    "code, kind",
    [
        ("UNAVAILABLE", Kind.UNAVAILABLE),
        ("RESOURCE_EXHAUSTED", Kind.UNAVAILABLE),
        ("INVALID_ARGUMENT", Kind.REFUSED),
        ("INTERNAL", Kind.REFUSED),
        ("FAILED_PRECONDITION", Kind.REFUSED),
        ("NOT_FOUND", Kind.NOT_FOUND),
        ("DROP", Kind.LOST),
    ],
)
def test_what_the_server_answers(protocol, code, kind, connect, server):
    transport = connect(protocol)
    draw(transport)
    server.failures.append(("predict", code, "this is why"))
    error = failed(draw, transport)
    if protocol == "grpc" and code == "DROP":
        kind = Kind.UNAVAILABLE  # gRPC has no other word for it
    assert error.kind is kind
    assert code == "DROP" or str(error).endswith("this is why")
    wait_for(lambda: succeeds(draw, transport))  # usable as before


@pytest.mark.parametrize(
    "status, kind",
    [
        (429, Kind.UNAVAILABLE),
        (502, Kind.UNAVAILABLE),
        (503, Kind.UNAVAILABLE),
        (504, Kind.UNAVAILABLE),
        (500, Kind.NOT_SERVING),
        (404, Kind.NOT_SERVING),
    ],
)
def test_what_a_proxy_answers(status, kind, connect, server):
    server.failures.append(("predict", status, ""))
    error = failed(draw, connect("rest"))
    assert error.kind is kind
    assert f"HTTP {status}" in str(error)


def test_a_message_too_large_for_a_proxy(connect, server):
    text = "Received message larger than max (5 vs. 4)"
    server.failures.append(("predict", "RESOURCE_EXHAUSTED", text))
    error = failed(draw, connect("grpc"))
    assert error.kind is Kind.TOO_LARGE
    assert (
        str(error)
        == f"a message was too large: {text}; ask for fewer images at once with --batch_size"
    )


@PROTOCOLS
def test_no_answer_within_the_deadline(protocol, connect, server):
    server.gates[5] = threading.Event()
    start = time.monotonic()
    error = failed(draw, connect(protocol, deadline=0.25))
    assert 0.2 < time.monotonic() - start < 10
    server.gates[5].set()
    assert error.kind is Kind.DEADLINE
    assert "did not answer within --deadline=0.25 seconds" in str(error)


@PROTOCOLS
def test_a_slow_server_and_a_deadline(protocol, connect, server):
    server.delay = 0.4
    assert failed(draw, connect(protocol, deadline=0.2)).kind is Kind.DEADLINE
    assert len(draw(connect(protocol, deadline=30.0))) == len(SEEDS)


def test_the_deadline_holds_for_an_answer_that_trickles(connect):
    """Each byte comes in time, the whole does not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle():
            stream, _ = listener.accept()
            with stream, pytest.raises(OSError):
                stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
                for _ in range(9999):
                    stream.sendall(b" ")
                    time.sleep(0.02)

        thread = threading.Thread(target=trickle)
        thread.start()
        port = listener.getsockname()[1]
        error = failed(connect("rest", port=port, deadline=0.3).status)
        thread.join(10)
    assert error.kind is Kind.DEADLINE


def test_the_time_limit_of_the_server(connect, server):
    server.gates[5] = threading.Event()
    server.time_limit = 0.05
    error = failed(draw, connect("rest"))
    assert error.kind is Kind.SERVER_TIME_LIMIT
    assert "gave up: Timed out" in str(error)
    assert "--rest_api_timeout_in_ms" in str(error)


@PROTOCOLS
def test_closing_breaks_requests_off(protocol, connect, server):
    server.gates[5] = threading.Event()
    transport, errors = connect(protocol), []
    thread = threading.Thread(target=lambda: errors.append(failed(draw, transport)))
    thread.start()
    wait_for(lambda: server.requests)
    transport.close()
    thread.join(10)
    assert not thread.is_alive()
    server.gates[5].set()
    assert len(errors) == 1


@PROTOCOLS
def test_no_server(protocol, connect):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failed(connect(protocol, port=port).status)
    assert error.kind is Kind.UNREACHABLE
    assert f"127.0.0.1:{port}: " in str(error)
    assert "refused" in str(error)


@PROTOCOLS
@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "a b"])
def test_no_such_host(protocol, host):
    scheme = {"rest": "http"}.get(protocol, protocol)
    transport = open_transport(Address(scheme, host, 8500), "ncsn", 20.0)
    assert failed(transport.status).kind is Kind.UNREACHABLE
    transport.close()


def test_a_grpc_server_that_comes_back_is_found(connect, server):
    """It is looked for twice a second. gRPC by itself would wait for 1 s, then 1.6 times as long
    each time, and so for 17 s before the eighth time."""
    (port,) = free_ports(1)
    transport, tried = connect("grpc", port=port), []

    def turn_away():
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()
                tried.append(time.monotonic())

    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=turn_away, daemon=True)
        thread.start()
        wait_for(lambda: not succeeds(transport.status) and len(tried) >= 8)
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        thread.join(10)
    # Between the fifth and the sixth gRPC itself waits for 6 s.
    assert min(np.diff(tried[4:])) < 2.5
    relay = serving_server.Relay(server.relay.target_port, port)
    wait_for(lambda: succeeds(transport.status))
    relay.close()


def succeeds(call, *args):
    """Whether the call succeeds; a failure that cannot pass is raised."""
    try:
        call(*args)
    except RequestError as error:
        if error.kind not in CAN_PASS:
            raise
        return False
    return True


def test_the_port_of_the_other_protocol(connect, server):
    error = failed(connect("grpc", port=server.rest_port).status)
    assert error.kind is Kind.NOT_GRPC
    assert str(error).endswith(f"--server=http://127.0.0.1:{server.rest_port}")
    error = failed(connect("rest", port=server.grpc_port).status)
    assert error.kind is Kind.NOT_HTTP
    assert str(error).endswith(f"--server=127.0.0.1:{server.grpc_port}")
    error = failed(connect("https", port=server.rest_port).status)
    assert error.kind is Kind.REFUSED  # no TLS there


def test_a_prefix_comes_before_the_path(connect):
    error = failed(connect("rest", prefix="/tf/a").status)
    assert str(error).endswith("Malformed request: GET /tf/a/v1/models/ncsn")


@pytest.mark.parametrize(
    "body, what",
    [
        (b"{}", "its status is malformed (KeyError"),
        (b'{"model_version_status": [{"version": "x", "state": "END"}]}', "malformed (ValueError"),
        (b'{"model_version_status": 3}', "malformed (TypeError"),
        (b"[]", "HTTP 200"),
        (b"not JSON", "HTTP 200"),
    ],
)
def test_an_answer_that_is_not_tensorflow_servings(body, what, connect):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            stream, _ = listener.accept()
            with stream:
                stream.recv(2**16)
                stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

        thread = threading.Thread(target=answer)
        thread.start()
        error = failed(connect("rest", port=listener.getsockname()[1]).status)
        thread.join(10)
    assert error.kind is Kind.NOT_SERVING
    assert what in str(error)


def test_messages_of_signature_sample_fit_in_json(connect):
    """An image as a PNG, as integers and as the longest of float32's decimals."""
    transport = connect("rest")
    client = Client(transport, step_lr=0.5)
    client._image_shape = (256, 256, 3)
    longest = json.dumps(np.full([1, 4, 4, 3], 1.1754943e-38, np.float32).tolist())
    assert transport.bytes_per_value["sample"] >= len(longest) / 48 + 2 * 4 + 2
    assert client.request_size(64) == 1
    client._image_shape = (32, 32, 3)
    assert client.request_size(64) == 4 * 2**20 // (96 * 3072)


def test_a_damaged_png(connect):
    client = Client(connect("rest"))
    client._transport.predict = lambda *args: {"image_bytes": np.array([b"not a PNG"], object)}
    with pytest.raises(UserError, match="answered with a damaged PNG"):
        client.images(np.array([1]))


def test_rest_needs_neither_tensorflow_nor_grpc(server):
    program = f"""
import sys
for name in ("tensorflow", "tensorflow_serving", "grpc", "keras"):
    sys.modules[name] = None  # importing it is an ImportError
import numpy as np
from ncsn_tf.serving.client import Client, open_transport
from ncsn_tf.serving.transport import Address
transport = open_transport(Address.parse("http://127.0.0.1:{server.rest_port}"), "ncsn", 60.0)
print(Client(transport).images(np.array([9])).tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == stand_in_images([9]).tolist()


class TestServerRules:
    """The rules of TensorFlow Serving's REST API that the test server must keep."""

    @pytest.fixture
    def post(self, server):
        def post(body, path="/v1/models/ncsn:predict"):
            connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
            connection.request("POST", path, json.dumps(body))
            answer = connection.getresponse()
            result = answer.status, json.loads(answer.read())
            connection.close()
            return result

        return post

    def test_rows_of_one_input_are_bare_and_so_is_one_output(self, post):
        status, answer = post({"instances": [7, 8]})
        assert status == 200
        assert [list(row) for row in answer["predictions"]] == [["b64"], ["b64"]]
        status, named = post({"instances": [{"seed": 7}, {"seed": 8}]})
        assert (status, named) == (200, answer)

    def test_rows_of_several_outputs_are_objects(self, post):
        row = {"seed": 7, "steps_per_level": 3, "step_lr": 1}
        status, answer = post({"signature_name": "sample", "instances": [row]})
        assert status == 200
        (row,) = answer["predictions"]
        assert sorted(row) == ["image", "image_bytes", "samples", "steps_per_level"]
        assert row["image"] == stand_in_images([7], 3, 1.0)[0].tolist()

    def test_columns(self, post):
        status, answer = post({"signature_name": "sample_uint8", "inputs": [7]})
        assert (status, answer) == (200, {"outputs": stand_in_images([7]).tolist()})

    @pytest.mark.parametrize(
        "body, what",
        [
            ({"instances": [1.0]}, "is not of expected type: int64"),
            ({"instances": [True]}, "is not of expected type: int64"),
            ({"signature_name": "sample", "inputs": {"seed": [1]}}, "Missing named input"),
            ({"signature_name": "none", "instances": [1]}, '"none" not found'),
            ({"instances": [1], "inputs": [1]}, "one of 'instances' and 'inputs'"),
            ({"signature_name": "sample", "instances": [1]}, "expecting list of objects"),
            ({"instances": []}, "non-empty"),
        ],
    )
    def test_bad_requests(self, body, what, post):
        status, answer = post(body)
        assert status == 400
        assert what in answer["error"]

    def test_a_version_that_is_not_there(self, post):
        status, answer = post({"instances": [1]}, "/v1/models/ncsn/versions/9:predict")
        assert (status, list(answer)) == (404, ["error"])
