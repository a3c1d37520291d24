"""Workers meet before they train: whether all are there, want the same, and see the same folder.

TensorFlow waits for ever for a worker that does not come, and finds different settings out by a
hang. So the workers meet here first, at the address of the chief, which TensorFlow takes after
that. A message is a line of JSON.
"""

import contextlib
import errno
import json
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from ncsn_tf.backend import signals
from ncsn_tf.backend.cluster import VARIABLE, Cluster
from ncsn_tf.errors import UserError

_PROGRAM = "ncsn"
_NO_MESSAGE = (OSError, ValueError, TypeError, KeyError, RecursionError)
_LARGEST = 2**20  # bytes of a message
_SEE = 10.0  # seconds in which a file must be seen by all, on a slow file system too
_HEAR = 3.0  # seconds for a visitor to say who it is; others wait meanwhile
_FREE = 1.0  # seconds in which a port gets free: another worker may be looking at it right now
_POLL = 0.25  # seconds between two tries, or looks for signals


def meet(
    cluster: Cluster, facts: Mapping[str, object], folder: Path, timeout: float
) -> dict[int, socket.socket]:
    """Return when all workers of a cluster have met and agree.

    Args:
        cluster: the cluster.
        facts: {name: value}, as JSON can hold it; what must be the same for all.
        folder: a folder that all must see; it is there.
        timeout: seconds to wait for the others.

    Returns:
        {number of a worker: connection}: the chief's to all others, their one to the chief.

    Raises:
        UserError: a worker is missing, an address is taken, or they do not agree; one line, the
            same for all that could be reached.
    """
    facts = json.loads(json.dumps(facts))
    deadline = time.monotonic() + timeout
    part = _host if cluster.is_chief else _join
    return part(cluster, facts, folder, deadline, timeout)


def _host(cluster, facts, folder, deadline, timeout):
    """The chief's part: hear all, then tell all."""
    token = secrets.token_hex(8)
    proof = folder / f".meeting-{token}"
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(_listen(cluster.addresses[0]))
        except OSError as error:
            raise UserError(_taken(cluster, 0, error)) from None
        try:
            proof.touch()
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror}") from None
        stack.callback(proof.unlink, missing_ok=True)
        guests, wrong = {}, None
        while len(guests) < len(cluster.addresses) - 1 and wrong is None:
            connection = _until(deadline, lambda: _accept(server))
            if connection is None:
                wrong = _missing(cluster, guests, timeout)
                break
            stack.enter_context(connection)
            guest = _guest(connection, min(deadline, time.monotonic() + _HEAR))
            if guest is None:  # a stranger
                connection.close()
                continue
            index, wants = guest
            if index in guests and _has_ended(guests[index]):
                guests.pop(index).close()  # it was started again
            wrong = _difference(facts, index, wants, guests)
            guests.setdefault(index, connection)
        for connection in guests.values():
            with contextlib.suppress(OSError):
                _send(connection, {"proof": proof.name, "error": wrong})
        if wrong is None:
            wrong = _told(guests, time.monotonic() + 2 * _SEE, folder)
            for connection in guests.values():
                with contextlib.suppress(OSError):
                    _send(connection, {"error": wrong})
        if wrong is not None:
            raise UserError(wrong)
        return {index: connection.dup() for index, connection in guests.items()}


def _guest(connection, deadline):
    """(index, facts) of a worker that has come; None where it is another program."""
    try:
        said = _receive(connection, deadline)
    except _NO_MESSAGE:
        return None
    index, wants = said.get("index"), said.get("facts")
    is_guest = said.get("program") == _PROGRAM and type(index) is int and isinstance(wants, dict)
    return (index, wants) if is_guest else None


def _has_ended(connection):
    """Whether the other end of a connection is closed. (What it sent is read already.)"""
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _told(guests, deadline, folder):
    """What is wrong with the folder that workers see; None where nothing is."""
    for index, connection in sorted(guests.items()):
        try:
            if not _receive(connection, deadline)["sees"]:
                return (
                    f"worker {index} does not see the files that worker 0 writes in {folder}: "
                    "--workdir must be on a file system that all workers share"
                )
        except _NO_MESSAGE:
            return f"worker {index} has gone while the workers met"
    return None


def _join(cluster, facts, folder, deadline, timeout):
    """A worker's part: say what it is and wants, then hear whether all is well."""
    chief = cluster.addresses[0]
    own = cluster.addresses[cluster.index]
    try:
        _listen_soon(own, min(deadline, time.monotonic() + _FREE)).close()  # TensorFlow will
    except OSError as error:
        raise UserError(_taken(cluster, cluster.index, error)) from None
    connection = _until(deadline, lambda: _connect(chief))
    if connection is None:
        raise UserError(f"worker 0 did not answer at {chief} for {timeout:.0f} s: is it started?")
    with connection:
        try:
            _send(connection, {"program": _PROGRAM, "index": cluster.index, "facts": facts})
            # The chief may have been started later, and waits for the others by its own limit.
            answer = _receive(connection, time.monotonic() + timeout + 2 * _SEE)
            if answer["error"] is None:
                sees = _until(time.monotonic() + _SEE, lambda: (folder / answer["proof"]).exists())
                _send(connection, {"sees": bool(sees)})
                answer = _receive(connection, time.monotonic() + timeout + 2 * _SEE)
        except _NO_MESSAGE:
            raise UserError(f"worker 0 at {chief} has gone while the workers met") from None
        if answer["error"] is not None:
            raise UserError(answer["error"])
        return {0: connection.dup()}


def _difference(facts, index, other, guests):
    """What is wrong with a worker that has come; None where nothing is."""
    if index in guests or index == 0:
        return f"two processes are worker {index}: {VARIABLE} must tell each its own task"
    names = [name for name in {**facts, **other} if facts.get(name) != other.get(name)]
    if not names:
        return None
    pairs = [f"{name} is {other.get(name)} there and {facts.get(name)} here" for name in names]
    return f"worker {index} wants something else than worker 0: {'; '.join(pairs)}"


def _missing(cluster, guests, timeout):
    absent = [i for i in range(1, len(cluster.addresses)) if i not in guests]
    listed = ", ".join(f"{i} ({cluster.addresses[i]})" for i in absent)
    return f"worker{'s'[: len(absent) > 1]} {listed} did not come for {timeout:.0f} s: start all"


def _taken(cluster, index, error):
    cause = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        cause = "another process has this port"
    return f"worker {index} cannot use its address {cluster.addresses[index]}: {cause}"


def _listen(address):
    """A socket that listens where TensorFlow will, on all of the machine's interfaces."""
    _, _, port = address.rpartition(":")
    server = socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if server.family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("", int(port)))
        server.listen(128)
        server.settimeout(_POLL)
    except BaseException:
        server.close()
        raise
    return server


def _listen_soon(address, deadline):
    """The same, once the port is free; the OSError of the last try where it stays taken."""
    while True:
        try:
            return _listen(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise
        signals.check()
        time.sleep(_POLL)


def _accept(server):
    try:
        return server.accept()[0]
    except TimeoutError:
        return None


def _connect(address):
    host, _, port = address.rpartition(":")
    try:
        return socket.create_connection((host.strip("[]"), int(port)), timeout=_POLL)
    except (OSError, UnicodeError):  # no name of a host can be like that, or a label is too long
        time.sleep(_POLL)
        return None


def _until(deadline, attempt):
    """The first true result of attempts until a time; None where there is none."""
    while True:
        result = attempt()
        if result:
            return result
        signals.check()
        if time.monotonic() >= deadline:
            return None


def _send(connection, message):
    connection.settimeout(10)
    connection.sendall(json.dumps(message).encode() + b"\n")


def _receive(connection, deadline):
    """The next message, a dict. An OSError when it does not come, a ValueError if it is none."""
    text = b""
    while not text.endswith(b"\n"):
        signals.check()
        connection.settimeout(_POLL)
        try:
            part = connection.recv(2**16, socket.MSG_PEEK)
            part = connection.recv(part.find(b"\n") + 1 or len(part))  # not what follows
        except TimeoutError:
            if time.monotonic() >= deadline:
                raise
            continue
        if not part or len(text) > _LARGEST:
            raise ConnectionResetError
        text += part
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError("not a message")
    return message
