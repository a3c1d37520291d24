"""Ctrl-C ends `ncsn app` in one line, as a process: while it listens, while it draws, while it asks
a server. Wishes are sent as the page sends them, without a browser."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import serving_server

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120

pytest.importorskip("gradio", reason="the extra `app` is not installed: make test-app")
pytestmark = pytest.mark.slow


@pytest.fixture
def app(tmp_path):
    """(its flags) -> (the process, the address on which it listens)."""
    started = []

    def app(*flags):
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [sys.executable, "-m", "ncsn_tf", "app", "--port=0", *flags],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        signal.signal(signal.SIGINT, before)
        started.append(process)
        for line in process.stdout:
            found = re.match(r"Listening on (\S+?)/? \(Ctrl-C ends it\)", line)
            if found:
                return process, found[1]
        raise AssertionError(process.stderr.read())

    yield app
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def served(tmp_path):
    serving_server.save_stand_in(tmp_path / "export" / "1")
    with serving_server.ServingServer(tmp_path / "export") as server:
        yield server


def asked(url, **values):
    """The answer to a request; with values, one that sends them as JSON."""
    data = json.dumps(values).encode() if values else None
    headers = {"Content-Type": "application/json"}
    return urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=SECONDS)


def draw(address, seed=7, count=1, sampler="", steps=0):
    """Press the button Draw, and wait until something is told; the messages that follow."""
    with asked(f"{address}/config") as answer:
        page = json.load(answer)
    ids = {part["props"].get("elem_id"): part["id"] for part in page["components"]}
    (number,) = (
        each["id"] for each in page["dependencies"] if [ids["go-draw"], "click"] in each["targets"]
    )
    wish = {"data": [seed, count, sampler, steps], "fn_index": number, "session_hash": "somebody"}
    asked(f"{address}/gradio_api/queue/join", **wish).close()
    messages = asked(f"{address}/gradio_api/queue/data?session_hash=somebody")
    return next(line for line in messages if b"Begins" in line or b"error" in line), messages


def end(process):
    """(exit code, stderr) after a Ctrl-C."""
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=SECONDS)
    assert time.monotonic() - start < 30
    return process.returncode, errors


def test_while_it_listens(app, served):
    process, _ = app(f"--server=http://127.0.0.1:{served.rest_port}")
    assert end(process) == (0, "closed\n")


def test_while_a_server_is_asked(app, served):
    served.gates[7] = threading.Event()
    process, address = app(f"--server=http://127.0.0.1:{served.rest_port}")
    begun, _ = draw(address)
    assert b"Begins" in begun
    while served.most_at_once < 1:
        time.sleep(0.05)
    assert end(process) == (0, "closed\n")


def test_while_it_draws(app):
    process, address = app("--pretrained=mnist")
    begun, messages = draw(address, sampler="ald")
    assert b"Begins" in begun
    assert next(line for line in messages if b"Draws" in line)
    assert end(process) == (0, "closed\n")
