"""sample.py --server against a running server: the same files as local sampling."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import serving_server
from serving_server import ServingServer
from test_signatures import CONFIG, Network
from waiting import wait_for

from ncsn_tf.commands.sample import main
from ncsn_tf.data.images import to_uint8
from ncsn_tf.errors import UserError
from ncsn_tf.serving import export
from ncsn_tf.serving.server_origin import Server
from ncsn_tf.settings.options import show
from ncsn_tf.training.run_sampler import sampler_of

ROOT = Path(__file__).resolve().parents[2]
PROTOCOLS = pytest.mark.parametrize("protocol", ["grpc", "rest"])


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    for version in ("1", "2"):
        serving_server.save_stand_in(folder / version)
    with ServingServer(folder) as server:
        server.folder = folder
        yield server


@pytest.fixture
def server(shared_server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shared_server.reset()
    return shared_server


@pytest.fixture
def address(server):
    return {
        "grpc": f"127.0.0.1:{server.grpc_port}",
        "rest": f"http://127.0.0.1:{server.rest_port}",
    }


def sample(**options):
    main(["sample.py", *(show(name, value) for name, value in options.items())])


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*.*")
        if path.is_file()
    }


@PROTOCOLS
@pytest.mark.parametrize("settings", [{}, {"num_steps_each": 3}, {"step_lr": 0.125}])
def test_files_are_those_of_local_sampling(protocol, settings, server, address, tmp_path):
    for name, origin in [
        ("local", {"saved_model": str(server.folder)}),
        ("served", {"server": address[protocol], "in_flight": 3, "deadline": 60.0}),
    ]:
        for format, out in (("npz", "all.npz"), ("grid", "all.png"), ("png", "all")):
            out = f"{name}/{out}"
            sample(
                **origin, **settings, num_samples=11, seed=4, batch_size=2, format=format, out=out
            )
    local, served = files(tmp_path / "local"), files(tmp_path / "served")
    assert len(local) == 13
    assert local == served
    sizes = [size_of(request) for _, method, request in server.requests if method == "predict"]
    assert sorted(sizes) == sorted(3 * [2, 2, 2, 2, 2, 1])
    assert server.most_at_once <= 3


def size_of(request):
    if isinstance(request, dict):
        return len(request["inputs"]["seed"])
    return request.inputs["seed"].tensor_shape.dim[0].size


@PROTOCOLS
def test_requests_are_in_flight_together_and_may_end_in_any_order(protocol, server, address):
    """The first request waits until the others are answered."""
    server.gates[0] = threading.Event()
    drawing = threading.Thread(
        target=sample,
        kwargs={"server": address[protocol], "num_samples": 5, "batch_size": 1, "format": "npz"},
    )
    drawing.start()
    wait_for(lambda: sum(method == "predict" for _, method, _ in server.requests) == 5)
    server.gates[0].set()
    drawing.join(20)
    assert server.most_at_once >= 2
    with np.load("samples.npz") as arrays:
        np.testing.assert_array_equal(arrays["seeds"], np.arange(5))
        expected = serving_server.stand_in_images(np.arange(5))
        np.testing.assert_array_equal(arrays["images"], expected)


class Bar:
    """What a `tqdm` was told."""

    def __init__(self):
        self.count = 0
        self.said = {}

    def update(self, count):
        self.count += count

    def set_postfix(self, **said):
        self.said = said


@PROTOCOLS
def test_the_bar_counts_images_and_repetitions(protocol, server, address):
    origin = Server(address[protocol], batch_size=3, backoff=0.01, in_flight=1)
    for failure in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"):
        server.failures.append(("predict", failure, "try again"))
    bar = Bar()
    parts = list(origin.images(np.arange(7), bar))
    assert [len(pictures) for _, pictures in parts] == [3, 3, 1]
    assert (origin.unit, origin.amount(7), bar.count) == ("image", 7, 7)
    assert bar.said == {"retried": 2}
    assert origin._client._closed.is_set()


@PROTOCOLS
def test_flags_reach_the_client(protocol, server, address, capsys):
    sample(server=address[protocol], model_version=1, num_samples=1)
    assert f"{address[protocol]}, version 1 of ncsn\n" in capsys.readouterr().out
    with pytest.raises(UserError, match="no version 3 of the model, only 1, 2"):
        sample(server=address[protocol], model_version=3)
    with pytest.raises(UserError, match="versions of model other; --model=NAME"):
        sample(server=address[protocol], model="other")
    server.gates[0] = threading.Event()
    with pytest.raises(UserError, match="within --deadline=0.5 seconds"):
        sample(server=address[protocol], deadline=0.5)
    server.gates[0].set()
    server.failures = [("status", "UNAVAILABLE", "")] * 7
    start = time.monotonic()
    with pytest.raises(UserError, match="tried 7 times"):
        sample(server=address[protocol], retries=6, backoff=0.0)
    assert time.monotonic() - start < 30  # the default would pause for at least 31 seconds


def test_a_real_export_draws_what_the_sampler_draws(tmp_path, monkeypatch):
    """Through each signature, over both protocols and from the folder."""
    monkeypatch.chdir(tmp_path)
    network, folder = Network(), tmp_path / "export"
    export.save_sampler(network, CONFIG, folder, {})
    seeds = 2**40 + np.arange(5)
    drawn = {"num_samples": 5, "batch_size": 2, "seed": 2**40, "format": "npz"}
    with ServingServer(folder) as server:
        places = {
            "folder": {"saved_model": str(folder)},
            "grpc": {"server": f"127.0.0.1:{server.grpc_port}"},
            "rest": {"server": f"http://127.0.0.1:{server.rest_port}"},
        }
        for settings in ({}, {"num_steps_each": 2, "step_lr": 3e-4}):
            floats = sampler_of(network, dataclasses.replace(CONFIG, **settings)).draw(seeds)
            for origin in places.values():
                sample(**origin, **settings, **drawn)
                with np.load("samples.npz") as arrays:
                    np.testing.assert_array_equal(arrays["images"], to_uint8(floats))
                    np.testing.assert_array_equal(arrays["seeds"], seeds)
        asked = [
            request["signature_name"] if protocol == "rest" else request.model_spec.signature_name
            for protocol, method, request in server.requests
            if method == "predict"
        ]
    assert asked == 3 * ["sample_uint8"] + 3 * ["serving_default"] + 6 * ["sample"]


@PROTOCOLS
@pytest.mark.parametrize("format, left", [("png", ["000000.png", "000001.png"]), ("npz", [])])
def test_when_a_request_fails_for_good(protocol, format, left, server, address, tmp_path):
    """What was written stays, and the other requests are not waited for."""
    shut = threading.Event()
    server.gates.update({seed: shut for seed in range(2, 9)})
    real = serving_server.ServingServer.wait

    def wait(self, seeds, *args, **kwargs):
        if seeds[0] == 2:
            while len(os.listdir(tmp_path / "out")) < 2 and format == "png":
                time.sleep(0.01)
            raise serving_server.ServingError("INTERNAL", "out of memory")
        real(self, seeds, *args, **kwargs)

    (tmp_path / "out").mkdir()
    out = "out" if format == "png" else "out/samples.npz"
    server.wait = wait.__get__(server)
    try:
        with pytest.raises(UserError, match="refused the request: .*out of memory"):
            sample(
                server=address[protocol],
                num_samples=9,
                batch_size=1,
                format=format,
                out=out,
                deadline=30.0,
            )
    finally:
        del server.wait
        shut.set()
    assert sorted(os.listdir(tmp_path / "out")) == left


# Runs sample.py where importing TensorFlow is an ImportError.
WITHOUT_TENSORFLOW = """
import os, runpy, sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
del sys.argv[0]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_sample(*flags, cwd, before=(), **options):
    return subprocess.Popen(
        [sys.executable, *before, str(ROOT / "sample.py"), *flags],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@PROTOCOLS
def test_the_command(protocol, server, address, tmp_path):
    flags = [f"--server={address[protocol]}", "--num_samples=5", "--format=npz", "--seed=7"]
    before = ("-c", WITHOUT_TENSORFLOW) if protocol == "rest" else ()
    process = run_sample(*flags, cwd=tmp_path, before=before)
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert out == (f"Sampling from {address[protocol]}, version 2 of ncsn\nWrote samples.npz\n")
    with np.load("samples.npz") as arrays:
        expected = serving_server.stand_in_images(np.arange(7, 12))
        np.testing.assert_array_equal(arrays["images"], expected)


@pytest.mark.parametrize("protocol", ["rest"])
def test_ctrl_c_ends_the_command(protocol, server, address, tmp_path):
    server.gates = {seed: threading.Event() for seed in range(4)}
    flags = [f"--server={address[protocol]}", "--num_samples=4", "--batch_size=1", "--deadline=60"]
    # A test suite in the background ignores Ctrl-C, and so would its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = run_sample(*flags, cwd=tmp_path)
    signal.signal(signal.SIGINT, before)
    wait_for(lambda: server.most_at_once >= 4)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - start < 20
    for gate in server.gates.values():
        gate.set()
    assert (process.returncode, errors) == (130, "interrupted\n")
    assert os.listdir(tmp_path) == []


@PROTOCOLS
def test_ctrl_c_breaks_requests_off(protocol, server, address):
    """In this process: a gRPC client takes seconds to start."""
    server.gates = {seed: threading.Event() for seed in range(4)}

    def interrupt():
        wait_for(lambda: server.most_at_once >= 4)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            sample(server=address[protocol], num_samples=4, batch_size=1, deadline=60.0)
    finally:
        signal.signal(signal.SIGINT, before)
    if protocol == "grpc":  # an HTTP server learns of it when it answers
        wait_for(lambda: server.broken_off >= 4)  # those of the test before may be late
    for gate in server.gates.values():
        gate.set()
    assert os.listdir() == []


def test_a_server_that_is_down_is_one_line(server, tmp_path):
    process = run_sample(
        "--server=http://127.0.0.1:1", "--retries=1", "--backoff=0.01", cwd=tmp_path
    )
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    line = (
        "error: no server can be reached at http://127.0.0.1:1: Connection refused (tried 2 times)"
    )
    assert errors == f"{line}\n"
