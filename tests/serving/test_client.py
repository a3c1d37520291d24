"""The client's part that no transport decides: repetitions, versions, splitting, order."""

import concurrent.futures
import threading

import numpy as np
import pytest

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.serving import contract, request
from ncsn_tf.serving.client import Client
from ncsn_tf.serving.contract import Signature, Tensor
from ncsn_tf.serving.in_flight import in_flight
from ncsn_tf.serving.retries import LONGEST_PAUSE
from ncsn_tf.serving.transport import Address, Kind, RequestError, VersionStatus, failure

ADDRESS = Address("grpc", "here", 8500)
READY = {3: VersionStatus("AVAILABLE")}
LOADING = {3: VersionStatus("LOADING")}
SHAPED = {
    name: Signature(
        signature.inputs,
        {
            key: Tensor(tensor.dtype, (None, 2, 2, 1) if key == "image" else (None,))
            for key, tensor in signature.outputs.items()
        },
    )
    for name, signature in contract.EXPECTED.items()
}


def fail(kind, detail="because"):
    return failure(kind, ADDRESS, 60.0, detail)


class FakeTransport:
    """Answers from lists; what is an exception is raised. The last answer stays."""

    pixels_signature = contract.PIXELS
    pixels_output = settings_output = "image"
    bytes_per_value = {contract.PIXELS: 1, contract.SETTINGS: 4}
    address = ADDRESS
    deadline = 60.0

    def __init__(self, status=(READY,), signatures=(SHAPED,), predict=(None,)):
        self.answers = {
            "status": list(status),
            "signatures": list(signatures),
            "predict": list(predict),
        }
        self.calls = []
        self.is_closed = False

    def _answer(self, method, *args):
        self.calls.append((method, *args))
        answers = self.answers[method]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def status(self):
        return self._answer("status")

    def signatures(self, version):
        return self._answer("signatures", version)

    def predict(self, version, signature, inputs, outputs):
        answer = self._answer("predict", version, signature, inputs, outputs)
        if answer is None:
            answer = np.broadcast_to(
                inputs["seed"][:, None, None, None], [len(inputs["seed"]), 2, 2, 1]
            ).astype(np.uint8)
        return answer if isinstance(answer, dict) else {"image": answer}

    def close(self):
        self.is_closed = True


class Time:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 0.0
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def connect(time):
    """transport, settings -> Client without randomness that sleeps in no time."""

    def connect(transport, **settings):
        settings = {"jitter": lambda: 1.0, **settings}
        return Client(transport, sleep=time.sleep, clock=lambda: time.now, **settings)

    return connect


def methods(transport):
    return [call[0] for call in transport.calls]


@pytest.mark.parametrize("kind", [Kind.UNREACHABLE, Kind.LOST, Kind.UNAVAILABLE])
def test_what_can_pass_is_tried_again_with_doubling_pauses(kind, connect, time):
    transport = FakeTransport(predict=[fail(kind)] * 3 + [None])
    client = connect(transport, retries=3, backoff=0.5)
    np.testing.assert_array_equal(client.images(np.array([7, 9]))[:, 1, 1, 0], [7, 9])
    assert time.slept == [0.5, 1.0, 2.0]
    assert methods(transport).count("predict") == 4
    assert client.num_retried == 3


def test_the_last_failure_is_the_error(connect, time):
    transport = FakeTransport(predict=[fail(Kind.UNAVAILABLE, f"no. {n}") for n in range(9)])
    client = connect(transport, retries=2)
    with pytest.raises(UserError) as error:
        client.images(np.array([1]))
    assert str(error.value) == "here:8500 is not available: no. 2 (tried 3 times)"
    assert len(time.slept) == 2


def test_no_retries(connect, time):
    transport = FakeTransport(predict=[fail(Kind.LOST), None])
    with pytest.raises(UserError, match="here:8500 broke the connection: because$"):
        connect(transport, retries=0).images(np.array([1]))
    assert time.slept == []


@pytest.mark.parametrize(
    "kind", sorted(set(Kind) - {Kind.UNREACHABLE, Kind.LOST, Kind.UNAVAILABLE}, key=str)
)
def test_what_cannot_pass_is_not_tried_again(kind, connect, time):
    transport = FakeTransport(predict=[fail(kind), None])
    with pytest.raises(UserError):
        connect(transport, retries=5).images(np.array([1]))
    assert methods(transport).count("predict") == 1
    assert time.slept == []


def test_pauses_have_a_ceiling_and_jitter(connect, time):
    transport = FakeTransport(predict=[fail(Kind.LOST)] * 1100 + [None])
    jitter = iter([0.0, 0.5] + [1.0] * 1098)
    connect(transport, retries=1100, backoff=4.0, jitter=lambda: next(jitter)).images(np.array([1]))
    assert time.slept[:5] == [2.0, 6.0, 16.0, 30.0, 30.0]
    assert set(time.slept[3:]) == {LONGEST_PAUSE}


def test_opening_is_tried_again_too(connect, time):
    down = fail(Kind.UNREACHABLE, "Connection refused")
    transport = FakeTransport([down, READY], [down, SHAPED])
    assert connect(transport).version == 3
    assert methods(transport) == ["status", "status", "signatures", "signatures"]
    with pytest.raises(UserError) as error:
        connect(FakeTransport([down]), retries=1)
    line = "no server can be reached at here:8500: Connection refused (tried 2 times)"
    assert str(error.value) == line


def test_closing_ends_a_pause():
    class Down(FakeTransport):
        def predict(self, *args):
            sent.set()
            raise fail(Kind.LOST)

    sent, client = threading.Event(), Client(Down(), retries=1, backoff=1e6)
    thread = threading.Thread(target=lambda: pytest.raises(UserError, client.images, [1]))
    thread.start()
    assert sent.wait(10)
    client.close()
    thread.join(10)
    assert not thread.is_alive()


AVAILABLE = VersionStatus("AVAILABLE")


@pytest.mark.parametrize(
    "states, wanted, version",
    [
        ({3: AVAILABLE, 10: AVAILABLE}, 0, 10),
        ({3: AVAILABLE, 10: AVAILABLE}, 3, 3),
        ({3: AVAILABLE, 10: VersionStatus("LOADING")}, 0, 3),
        ({3: AVAILABLE, 10: VersionStatus("END", "no memory")}, 0, 3),
    ],
)
def test_the_newest_available_version_or_the_one_asked_for(states, wanted, version, connect):
    transport = FakeTransport([states])
    client = connect(transport, version=wanted)
    client.images(np.array([4]))
    assert client.version == version
    assert [call[1] for call in transport.calls[1:]] == [version, version]


def test_a_loading_version_is_waited_for(connect, time):
    transport = FakeTransport([{3: VersionStatus("START")}, LOADING, READY])
    assert connect(transport, version=3, backoff=2.0).version == 3
    assert time.slept == [2.0, 4.0]


def test_a_loading_version_is_not_asked_without_pause(connect, time):
    assert connect(FakeTransport([LOADING, LOADING, READY]), backoff=0.0).version == 3
    assert time.slept == [0.1, 0.1]


def test_a_version_that_loads_too_long(connect, time):
    with pytest.raises(UserError) as error:
        connect(FakeTransport([LOADING]))
    assert str(error.value) == "here:8500 is still loading version 3 after --deadline=60 seconds"
    assert 60 <= time.now <= 120


@pytest.mark.parametrize(
    "states, wanted, line",
    [
        (READY | {5: AVAILABLE}, 4, "here:8500 has no version 4 of the model, only 3, 5"),
        ({}, 0, "here:8500 has no version of the model"),
        (
            {3: VersionStatus("END", "no memory")},
            0,
            "here:8500 does not serve version 3, whose state is END: no memory",
        ),
        (
            {3: VersionStatus("UNLOADING"), 4: AVAILABLE},
            3,
            "here:8500 does not serve version 3, whose state is UNLOADING",
        ),
    ],
)
def test_versions_that_will_not_come(states, wanted, line, connect, time):
    with pytest.raises(UserError) as error:
        connect(FakeTransport([states]), version=wanted)
    assert str(error.value) == line
    assert time.slept == []


def test_a_missing_model_and_one_that_goes(connect):
    missing = fail(Kind.NOT_FOUND, "Could not find any versions of model ncsn")
    with pytest.raises(UserError) as error:
        connect(FakeTransport([missing]))
    assert str(error.value) == (
        "here:8500 has no such model: Could not find any versions of model ncsn; --model=NAME says "
        "which to draw from"
    )
    client = connect(FakeTransport(predict=[missing]))
    with pytest.raises(UserError, match="here:8500 unloaded version 3 meanwhile: .*any versions"):
        client.images(np.array([1]))


def test_signatures_that_are_not_a_samplers(connect):
    other = Signature({"seed": Tensor("int64")}, {"images": Tensor("uint8")})
    for found, what in [
        ({"serving_default": other}, "it has no signature sample_uint8 .*, only serving_default"),
        (
            {"sample_uint8": other},
            r"sample_uint8 is \(seed int64\) -> \(images uint8\), not \(seed int64\) -> \(image",
        ),
        (
            {"sample_uint8": Signature({"seed": Tensor("int32")}, SHAPED["sample"].outputs)},
            r"is \(seed int32\) -> ",
        ),
        (
            {"sample_uint8": Signature(SHAPED["sample"].inputs, SHAPED["sample"].outputs)},
            "steps_per_level int32",
        ),
    ]:
        with pytest.raises(UserError, match=f"here:8500 runs version 3, .*sampler: .*{what}"):
            connect(FakeTransport(signatures=[found]))


def test_settings_go_through_the_signature_that_takes_them(connect):
    transport = FakeTransport()
    connect(transport).images(np.array([2**40, -1]))
    connect(transport, num_steps_each=7).images(np.array([1, 2]))
    connect(transport, step_lr=0.25).images(np.array([1]))
    plain, steps, step_lr = (call for call in transport.calls if call[0] == "predict")
    assert plain[2:3] + plain[4:] == ("sample_uint8", ("image",))
    assert list(plain[3]) == ["seed"]
    assert plain[3]["seed"].tolist() == [2**40, -1]
    assert plain[3]["seed"].dtype == np.int64
    for call, expected in [(steps, ([7, 7], [0.0, 0.0])), (step_lr, ([0], [0.25]))]:
        assert call[2:3] + call[4:] == ("sample", ("image",))
        found = call[3]["steps_per_level"], call[3]["step_lr"]
        assert tuple(array.tolist() for array in found) == expected
        assert [array.dtype for array in found] == [np.int32, np.float32]


def test_the_steps_that_the_export_took_are_those_asked_for(connect):
    """Where it tells them: the signature of `SHAPED` is that of older exports."""
    sample = SHAPED["sample"]
    tells = Signature(sample.inputs, sample.outputs | {"steps_per_level": Tensor("int32")})
    found = [SHAPED | {"sample": tells}]
    images = np.zeros([2, 2, 2, 1], np.uint8)

    def client(*taken, **settings):
        answer = {"image": images, "steps_per_level": np.array(taken, np.int32)}
        transport = FakeTransport(signatures=found, predict=[answer])
        return connect(transport, **settings), transport

    same, transport = client(7, 7, num_steps_each=7)
    np.testing.assert_array_equal(same.images(np.arange(2)), images)
    assert transport.calls[-1][-1] == ("image", "steps_per_level")
    other, _ = client(7, 5, num_steps_each=7)
    with pytest.raises(UserError) as error:
        other.images(np.arange(2))
    assert str(error.value) == (
        "here:8500 takes 5 steps a level, not --num_steps_each=7: ask for no more, or export with "
        "a larger --max_steps_each"
    )
    unasked, _ = client(5, 9, step_lr=0.5)
    np.testing.assert_array_equal(unasked.images(np.arange(2)), images)
    diverged, _ = client(5, 0, step_lr=0.5)
    with pytest.raises(UserError) as error:
        diverged.images(np.arange(2))
    assert str(error.value) == (
        "here:8500 says: the chains of 1 image diverged: --step_lr=0.5 must be smaller"
    )


@pytest.mark.parametrize("step_lr, value", [(1e-50, "0"), (1e39, "inf")])
def test_a_step_size_that_float32_makes_another(step_lr, value, connect):
    transport = FakeTransport()
    with pytest.raises(ConfigError) as error:
        connect(transport, step_lr=step_lr)
    assert str(error.value) == (
        f"--step_lr={step_lr} would be {value} to an export, which takes float32"
    )
    assert transport.calls == []
    with pytest.raises(ConfigError, match=f"--step_lr={step_lr} ".replace("+", r"\+")):
        request.inputs("sample", [1], step_lr=step_lr)


@pytest.mark.parametrize(
    "answer, what",
    [
        (np.zeros([1, 2, 2, 1], np.uint8), "uint8 \\[1, 2, 2, 1\\] to a request for 2 images"),
        (np.zeros([2, 2, 2, 3], np.uint8), "uint8 \\[2, 2, 2, 3\\]"),
        (np.zeros([2, 2, 2, 1], np.float32), "float32"),
    ],
)
def test_an_answer_of_another_kind(answer, what, connect):
    with pytest.raises(UserError, match=f"here:8500 answered {what}"):
        connect(FakeTransport(predict=[answer])).images(np.array([1, 2]))


def test_requests_are_split_so_that_messages_stay_below_4_mb(connect):
    def size(shape, most, **settings):
        outputs = {"image": Tensor("uint8", shape), "image_bytes": Tensor("string")}
        found = {
            name: Signature(signature.inputs, outputs)
            for name, signature in contract.EXPECTED.items()
        }
        return connect(FakeTransport(signatures=[found]), **settings).request_size(most)

    assert size((None, 32, 32, 3), 64) == 64
    large = size((None, 256, 256, 3), 64)
    assert large == 21
    assert large * 256 * 256 * 3 < 4 * 2**20 <= (large + 1) * 256 * 256 * 3
    assert size((None, 256, 256, 3), 64, step_lr=1.0) == 5  # 4 bytes a value
    assert size((None, 4096, 4096, 3), 64) == 1
    assert size((None, None, None, 3), 64) == 64  # not known


def test_the_limit_of_the_servers_batching_is_kept_once_it_is_known(connect, time):
    too_many = fail(Kind.REFUSED, "Task size 5 is larger than maximum input batch size 2")
    transport = FakeTransport(predict=[too_many, None])
    client = connect(transport)
    np.testing.assert_array_equal(client.images(np.arange(5))[:, 0, 0, 0], np.arange(5))
    client.images(np.arange(3))
    sent = [call[3]["seed"].tolist() for call in transport.calls if call[0] == "predict"]
    assert sent == [[0, 1, 2, 3, 4], [0, 1], [2, 3], [4], [0, 1], [2]]
    assert time.slept == []
    nonsense = fail(Kind.REFUSED, "Task size 2 is larger than maximum input batch size 2")
    with pytest.raises(UserError, match="size 2$"):
        connect(FakeTransport(predict=[nonsense])).images(np.arange(2))


def test_calls_end_in_any_order_and_never_more_than_the_limit():
    gates = {item: threading.Event() for item in range(6)}
    lock, running, most, started = threading.Lock(), [], [], []

    def work(item):
        with lock:
            running.append(item)
            started.append(item)
            most.append(len(running))
        assert gates[item].wait(10)
        with lock:
            running.remove(item)
        return item * item

    results = in_flight(work, range(6), 2, cancel=lambda: None)
    gates[1].set()
    assert next(results) == (1, 1)
    assert sorted(started)[:2] == [0, 1]
    gates[2].set()
    assert next(results) == (2, 4)
    for gate in gates.values():
        gate.set()
    assert sorted(results) == [(item, item * item) for item in (0, 3, 4, 5)]
    assert max(most) == 2


@pytest.mark.parametrize("how", ["a call fails", "the consumer stops"])
def test_stopping_early_cancels_the_others(how):
    cancelled, ended = threading.Event(), []

    def work(item):
        if item == 0:
            if how == "a call fails":
                raise UserError("no")
            return 0
        assert cancelled.wait(10)
        ended.append(item)

    results = in_flight(work, range(9), 3, cancelled.set)
    if how == "a call fails":
        with pytest.raises(UserError, match="^no$"):
            next(results)
    else:
        assert next(results) == (0, 0)
        results.close()
    assert {1, 2} <= set(ended) <= {1, 2, 3}


def test_what_ended_with_a_failure_is_yielded_before_it(monkeypatch):
    """Whichever of them was begun first, and nothing is begun after it."""
    gate, begun = threading.Event(), []

    def work(item):
        begun.append(item)
        assert gate.wait(10)
        if item in (0, 2):
            raise UserError("no")
        return item

    real = concurrent.futures.wait

    def wait(running, return_when):
        """All of the first calls end together."""
        gate.set()
        return real(running)

    results = in_flight(work, range(9), 4, cancel=lambda: None)
    monkeypatch.setattr(concurrent.futures, "wait", wait)
    yielded = [next(results), next(results)]
    with pytest.raises(UserError, match="^no$"):
        next(results)
    assert sorted(yielded) == [(1, 1), (3, 3)]
    assert sorted(begun) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "text, parsed, shown",
    [
        ("host:8500", ("grpc", "host", 8500, ""), "host:8500"),
        ("10.0.0.7:1", ("grpc", "10.0.0.7", 1, ""), "10.0.0.7:1"),
        ("[::1]:8500", ("grpc", "::1", 8500, ""), "[::1]:8500"),
        ("http://host:8501", ("http", "host", 8501, ""), "http://host:8501"),
        ("https://host/tf/a/", ("https", "host", None, "/tf/a"), "https://host/tf/a"),
        ("http://[::1]:8501", ("http", "::1", 8501, ""), "http://[::1]:8501"),
        ("http://h:1/ü%20/v1", ("http", "h", 1, "/%C3%BC%20/v1"), "http://h:1/%C3%BC%20/v1"),
        ("http://bücher.example:1", ("http", "bücher.example", 1, ""), "http://bücher.example:1"),
    ],
)
def test_addresses(text, parsed, shown):
    address = Address.parse(text)
    assert (address.scheme, address.host, address.port, address.prefix) == parsed
    assert str(address) == shown


@pytest.mark.parametrize(
    "text",
    [
        "host",
        ":8500",
        "host:",
        "host:0",
        "host:99999",
        "host:x",
        "a b:1",
        "grpc://host:8500",
        "ftp://host:1",
        "http://",
        "http://:8501",
        "http://host:x",
        "http://host:8501?a=1",
        "http://user:word@host:8501",
        "http://a b:8501",
        "http://host:8501/a b",
        "http://a..b:8501",
        "a..b:8500",
        f"http://{64 * 'a'}:8501",
        "::1:8500",
    ],
)
def test_addresses_that_are_none(text):
    with pytest.raises(ConfigError) as error:
        Address.parse(text)
    assert str(error.value) == (
        f"--server={text} must be host:port for gRPC, or http://host:port for REST"
    )


@pytest.mark.parametrize(
    "text", ["http://host:85\n01", "ho\tst:8500", "http://h/\x00", "http://h/\u00a0"]
)
def test_addresses_with_invisible_characters_are_shown_in_one_line(text):
    with pytest.raises(ConfigError) as error:
        Address.parse(text)
    assert str(error.value).startswith(f"--server={ascii(text)} must be host:port")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "text, server, model",
    [
        ("http://host:8501/v1/models/ncsn", "http://host:8501", "ncsn"),
        ("http://host:8501/v1/models/a:predict", "http://host:8501", "a"),
        ("https://host/tf/v1/models/a/versions/3", "https://host/tf", "a"),
    ],
)
def test_an_address_of_a_model_says_what_to_give(text, server, model):
    with pytest.raises(ConfigError) as error:
        Address.parse(text)
    assert str(error.value) == f"--server={text} must be {server}, with --model={model}"


def test_failures_are_one_line():
    error = failure(Kind.REFUSED, ADDRESS, 1.0, "first\n  second\n" + 300 * "long ")
    assert isinstance(error, RequestError)
    assert str(error).startswith("here:8500 refused the request: first second long long")
    assert "\n" not in str(error)
    assert len(str(error)) < 450
    assert "http://here:8500" in str(failure(Kind.NOT_GRPC, ADDRESS, 1.0))
    rest = Address.parse("http://here:8501")
    assert str(failure(Kind.NOT_HTTP, rest, 1.0)).endswith("--server=here:8501")
