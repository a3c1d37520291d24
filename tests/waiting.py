"""Waiting in tests for what another thread, process or server does."""

import time

MOST = 60  # seconds: no test is to fail because a machine is busy


def wait_for(condition, seconds=MOST):
    """Until condition() is true; the test fails where it is not for so long."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"what was waited for did not happen for {seconds} s")
        time.sleep(0.01)
