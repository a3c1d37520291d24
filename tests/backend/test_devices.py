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


@pytest.fixture
def nvidia(monkeypatch, tmp_path):
    """A machine with an NVIDIA device, as its driver shows it; none that TensorFlow can use."""
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(devices, "_NVIDIA", (str(tmp_path / "nvidia[0-9]*"),))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices.tf.config, "list_physical_devices", lambda kind=None: [])


@pytest.mark.parametrize(
    "has_cuda, cure", [(True, 'pip install "tensorflow[and-cuda]=='), (False, "without CUDA")]
)
def test_an_accelerator_that_cannot_be_used_is_said(has_cuda, cure, nvidia, monkeypatch, capsys):
    monkeypatch.setattr(devices.tf.test, "is_built_with_cuda", lambda: has_cuda)
    devices.start()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: TensorFlow cannot use the NVIDIA device of this machine and ")
    assert cure in line


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_an_accelerator_that_is_hidden_is_not(hidden, nvidia, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    devices.start()
    assert capsys.readouterr().err == ""


class Strategy:
    """A strategy over devices that are not here."""

    def __init__(self, *names):
        self.num_replicas_in_sync = len(names)
        self.extended = self
        self.worker_devices = names


def test_what_is_computed_on_is_named(monkeypatch):
    assert devices.describe(Strategy("/device:CPU:0")).startswith("1 device, CPU (")
    names = [f"/physical_device:GPU:{index}" for index in range(2)]
    gpus = [devices.tf.config.PhysicalDevice(name, "GPU") for name in names]
    monkeypatch.setattr(devices.tf.config, "list_physical_devices", lambda kind: gpus)
    details = {"device_name": "NVIDIA A100"}
    experimental = devices.tf.config.experimental
    monkeypatch.setattr(experimental, "get_device_details", lambda gpu: details)
    both = Strategy("/job:localhost/device:GPU:0", "/job:localhost/device:GPU:1")
    assert devices.describe(both) == "2 devices, NVIDIA A100"


def test_memory_of_accelerators_is_taken_as_it_is_needed(monkeypatch):
    gpu = devices.tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(devices.tf.config, "list_physical_devices", lambda kind=None: [gpu])
    grown = []
    experimental = devices.tf.config.experimental
    monkeypatch.setattr(experimental, "set_memory_growth", lambda *args: grown.append(args))
    devices.start(num_virtual_devices=0)
    assert grown == [(gpu, True)]
