"""Devices and the strategy over them, where TensorFlow runs already."""

import pytest

from ncsn_tf.backend import devices
from ncsn_tf.errors import UserError


@pytest.fixture(autouse=True)
def not_quiet(monkeypatch):
    """The loggers' levels stay as they are."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")


def test_the_strategy_is_over_all_cpus_without_an_accelerator():
    strategy = devices.start(parallel_parts=2)
    assert strategy.num_replicas_in_sync == 2  # the tests' two
    assert devices.is_cpu(strategy)


def test_a_cpu_in_use_cannot_be_split():
    devices.start()
    with pytest.raises(UserError, match="TensorFlow runs already: its CPU cannot be split"):
        devices.start(num_virtual_devices=3)
