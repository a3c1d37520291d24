"""Signals that ask for an end: the first is deferred, the second is not."""

import os
import signal

from ncsn_tf.training.signals import deferred_signals


def test_the_second_signal_is_not_deferred():
    requests = []
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with deferred_signals(requests.append):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        os.kill(os.getpid(), signal.SIGTERM)
        assert requests == ["SIGTERM"]
        for number in (signal.SIGINT, signal.SIGTERM):
            assert signal.getsignal(number) is signal.SIG_DFL
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
