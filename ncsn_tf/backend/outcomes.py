"""The last word of each worker, told to the others over the connections of their meeting.

TensorFlow tells only that another worker has gone. Whether it was killed, which calls for another
start of all, or ended on an error of its own, which would come again, is told here.
"""

import contextlib
import dataclasses
import json
import select
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ncsn_tf.backend import signals
from ncsn_tf.errors import RestartError, UserError

ASKED = "asked for by another worker"
NOTE = ".end-asked"  # in the run's folder while a worker was asked to end, and the chief is long
_CHIEF_WAITS = 5.0  # seconds for the last word of a worker that has gone
_OTHERS_WAIT = 15.0  # seconds for the chief, which must notice first
_KEEP_ALIVE = 60  # seconds of silence after which a connection is looked at
_LARGEST = 2**10  # bytes of a message


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a worker ended.

    Attributes:
        worker: its number.
        code: its exit code.
        is_asked: whether it was asked to end, by a signal.
    """

    worker: int
    code: int
    is_asked: bool = False

    @property
    def is_error(self) -> bool:
        """Whether it ended on an error of its own, which would come again."""
        return not self.is_asked and self.code not in (0, RestartError.code)


class _State:
    """Of this process, which is one worker. The chief has a connection to each of the others, who
    have one to it."""

    index = 0
    connections: dict[int, socket.socket] = {}
    heard: Outcome | None = None


def leave_note(path: Path) -> None:
    """Tell the chief that this worker was asked to end: it is tried again as long as it waits."""
    with contextlib.suppress(OSError):
        path.touch()


def keep(index: int, connections: Mapping[int, socket.socket]) -> None:
    """Keep the connections of a meeting, {number of a worker: connection}, of worker `index`."""
    for connection in connections.values():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE)
    _State.index, _State.connections, _State.heard = index, dict(connections), None


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Around the work of a process: how it ends is told to those whose connections are kept.

    The chief passes on what it has heard of another worker.
    """
    try:
        yield
    except BaseException as error:
        _tell(_State.heard or _outcome_of(error))
        raise
    finally:
        for connection in _State.connections.values():
            connection.close()
        _State.connections = {}


def of_others() -> Outcome | None:
    """What ended another worker, which TensorFlow has missed; None where it could not tell."""
    waiting = {connection: index for index, connection in _State.connections.items()}
    deadline = time.monotonic() + (_OTHERS_WAIT if _State.index else _CHIEF_WAITS)
    while waiting and _State.heard is None:
        left = deadline - time.monotonic()
        ready = select.select(list(waiting), [], [], max(left, 0.0))[0]
        said = [_read(connection) for connection in ready]
        _State.heard = next(filter(None, said), None)
        if ready or left <= 0:
            break
    return _State.heard


def _outcome_of(error):
    is_asked = isinstance(error, signals.Interrupted)
    code = error.code if is_asked or isinstance(error, UserError) else 1
    return Outcome(_State.index, code, is_asked)


def _tell(outcome):
    message = json.dumps(dataclasses.asdict(outcome)).encode() + b"\n"
    for connection in _State.connections.values():
        with contextlib.suppress(OSError):  # the other end has gone too
            connection.settimeout(1.0)
            connection.sendall(message)


def _read(connection):
    """The outcome that a connection tells; None where it has ended without a word."""
    try:
        connection.settimeout(1.0)
        return Outcome(**json.loads(connection.recv(_LARGEST)))
    except (OSError, ValueError, TypeError):
        return None
