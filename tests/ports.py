"""Ports for servers that a test starts later: found free, and still free when they are used.

A port that the system chose is one that it may choose again, for any connection of any process,
between its choice and its use. These are below those that it chooses from, and each process of
tests has its own.
"""

import itertools
import os
import socket

_FIRST, _EACH, _PROCESSES = 20_000, 1_500, 8  # below 32768, where Linux begins to choose
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
# Two runs of all tests begin at different places.
_begin = os.getpid() * 97 % _EACH
_places = itertools.cycle([*range(_begin, _EACH), *range(_begin)])


def free_ports(count):
    """So many ports of this machine that nobody listens at; never the same soon again."""
    found = []
    for place in itertools.islice(_places, _EACH):
        port = _FIRST + _process * _EACH + place
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:  # another program's
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"fewer than {count} ports are free")
