"""The last word of a worker: who hears it, and what it is."""

import json
import socket
import threading

import pytest

from ncsn_tf.backend import outcomes
from ncsn_tf.backend.outcomes import Outcome
from ncsn_tf.backend.signals import Interrupted
from ncsn_tf.errors import ConfigError, RestartError, UserError


@pytest.fixture
def ends():
    """ends(index, numbers): this process is that worker; the far ends of its connections."""
    pairs = []

    def connect(index, numbers):
        pairs.extend(socket.socketpair() for _ in numbers)
        outcomes.keep(index, {n: near for n, (near, _) in zip(numbers, pairs, strict=True)})
        return [far for _, far in pairs]

    # They are no sockets of the Internet, which alone can be kept alive.
    before, outcomes._KEEP_ALIVE = outcomes.socket.TCP_KEEPIDLE, 60
    del outcomes.socket.TCP_KEEPIDLE
    yield connect
    outcomes.socket.TCP_KEEPIDLE = before
    outcomes.keep(0, {})
    for pair in pairs:
        for end in pair:
            end.close()


def words(end):
    return Outcome(**json.loads(end.recv(1000)))


@pytest.mark.parametrize(
    "error, expected",
    [
        (UserError("no room"), Outcome(0, 1)),
        (ConfigError("no such"), Outcome(0, 2)),
        (RestartError("lost"), Outcome(0, 75)),
        (ValueError("a mistake"), Outcome(0, 1)),
        (Interrupted("SIGTERM", 0), Outcome(0, 0, True)),
    ],
)
def test_all_are_told_how_one_ends(error, expected, ends):
    others = ends(0, [1, 2])
    with pytest.raises(type(error)), outcomes.told():
        raise error
    assert [words(end) for end in others] == [expected] * 2
    assert expected.is_error == (type(error) not in (RestartError, Interrupted))


def test_who_ends_well_says_nothing(ends):
    (other,) = ends(1, [0])
    with outcomes.told():
        pass
    assert other.recv(1000) == b""


def test_the_chief_passes_on_what_it_has_heard(ends):
    first, second = ends(0, [1, 2])
    second.sendall(b'{"worker": 2, "code": 1}\n')
    with pytest.raises(RestartError), outcomes.told():
        assert outcomes.of_others() == Outcome(2, 1)
        raise RestartError("lost")
    assert words(first) == Outcome(2, 1)


def test_a_worker_that_was_killed_said_nothing(ends):
    _, second = ends(0, [1, 2])
    second.close()
    assert outcomes.of_others() is None


def test_the_chief_is_waited_for(ends, monkeypatch):
    (chief,) = ends(1, [0])
    said = threading.Timer(0.2, chief.sendall, [b'{"worker": 0, "code": 1}\n'])
    said.start()
    assert outcomes.of_others() == Outcome(0, 1)
    said.join()
    ends_again = outcomes._State
    ends_again.heard = None
    monkeypatch.setattr(outcomes, "_OTHERS_WAIT", 0.2)
    assert outcomes.of_others() is None  # but not for ever


@pytest.mark.parametrize("words", [b"{}\n", b"[1]\n", b"GET / HTTP/1.1\n", b'{"worker": 0'])
def test_what_is_no_last_word_is_none(words, ends):
    (chief,) = ends(1, [0])
    chief.sendall(words)
    assert outcomes.of_others() is None


def test_a_process_that_is_alone_hears_nothing():
    assert outcomes.of_others() is None
