"""The version of a served model that images are drawn from, once a server has loaded it."""

import itertools
from collections.abc import Callable

from ncsn_tf.errors import UserError
from ncsn_tf.serving.retries import Retries
from ncsn_tf.serving.transport import Kind, RequestError, Transport

_SHORTEST_WAIT = 0.1  # seconds before a server that is loading is asked again


def wait_for_version(
    transport: Transport, retries: Retries, wanted: int, clock: Callable[[], float]
) -> int:
    """The version to draw from, once it is available.

    Args:
        transport: the way to the server.
        retries: asks again where that may help.
        wanted: a version; 0 is the newest that is available.
        clock: seconds, rising.

    Raises:
        UserError: the server has no such model or version, or does not serve it in time.
    """

    def problem(what):
        return UserError(f"{transport.address} {what}")

    start = clock()
    for attempt in itertools.count():
        states = _states(transport, retries)
        if wanted and wanted not in states:
            there = ", ".join(map(str, sorted(states))) or "none"
            raise problem(f"has no version {wanted} of the model, only {there}")
        candidates = [wanted] if wanted else sorted(states, reverse=True)
        for version in candidates:
            if states[version].state == "AVAILABLE":
                return version
        coming = [version for version in candidates if states[version].is_coming]
        if not coming:
            raise problem(_why_not_served(candidates, states))
        if clock() - start >= transport.deadline:
            raise problem(
                f"is still loading version {coming[0]} after "
                f"--deadline={transport.deadline:g} seconds"
            )
        retries.sleep(max(retries.pause(attempt), _SHORTEST_WAIT))


def _states(transport, retries):
    try:
        return retries.call(transport.status)
    except RequestError as error:
        if error.kind is Kind.NOT_FOUND:
            raise UserError(f"{error}; --model=NAME says which to draw from") from None
        raise


def _why_not_served(versions, states):
    if not versions:
        return "has no version of the model"
    newest = states[versions[0]]
    reason = f": {newest.error}" if newest.error else ""
    return f"does not serve version {versions[0]}, whose state is {newest.state}{reason}"
