"""`auto`: what becomes of --precision and --jit_compile on a device, and later on another one."""

import dataclasses
import json
import re
from types import SimpleNamespace

import pytest
import tensorflow as tf
from training_helpers import TinyNetwork

from ncsn_tf.backend import devices, suited
from ncsn_tf.commands.console import run_command, run_named
from ncsn_tf.settings.config import Config
from ncsn_tf.training import arithmetic, checkpoints, loop
from ncsn_tf.training import state as state_module
from ncsn_tf.training.run_network import build_network

TRAIN = [
    *("--dataset=digits", "--workdir=run", "--features=2", "--num_levels=2", "--num_steps_each=1"),
    *("--batch_size=8", "--eval_every=0", "--sample_every=0", "--log_every=1000", "--noexport"),
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for module in (state_module, checkpoints):
        monkeypatch.setattr(module, "build_network", TinyNetwork)
    return tmp_path


@pytest.fixture
def compiled(monkeypatch):
    """The settings of each training step that was made; it computes nothing here."""
    seen = []

    class Step:
        def __init__(self, state, config, strategy):
            seen.append(config)
            self.run = lambda batch: state.step.assign_add(1)
            self.totals = SimpleNamespace(report=lambda: (1.0, 1.0, [1.0] * config.num_levels))

    monkeypatch.setattr(loop, "TrainingStep", Step)
    return seen


@pytest.fixture
def on(monkeypatch, compiled):
    """on(generation, error): the devices from here on are GPUs of it; None: they are CPUs again.

    What they compute is computed by the CPUs that there are.
    """

    def put(generation, error=""):
        details = {"device_name": "NVIDIA GPU", "compute_capability": generation}
        found = [details, details] if generation else []
        for module in (devices, suited, arithmetic):
            monkeypatch.setattr(module, "accelerators_of", lambda strategy: found)
        monkeypatch.setattr(arithmetic, "xla_error", lambda strategy: error)

    return put


@pytest.fixture
def ncsn(capsys):
    """ncsn(*args, code=0): the lines that a command says, on stdout and on stderr."""

    def run(*args, code=0):
        with pytest.raises(SystemExit) as end:
            run_command(run_named, ["ncsn", *args])
        said = capsys.readouterr()
        assert (end.value.code or 0) == code, said.err
        return said.out.splitlines(), said.err.splitlines()

    return run


def train(ncsn, num_steps, *flags):
    """The end of the first line, after the device; all lines of stdout."""
    lines, _ = ncsn("train", *TRAIN, f"--num_steps={num_steps}", *flags)
    return re.search(r"(NVIDIA GPU|cores\))(.*)", lines[0])[2], lines


def kept(here):
    settings = json.loads((here / "run" / "config.json").read_text())
    return settings["precision"], settings["jit_compile"]


def test_on_a_cpu_auto_is_what_was_done_before_there_was_a_choice(ncsn, compiled, here):
    said, lines = train(ncsn, 1)
    assert (said, len(lines)) == (", in float32", 2)  # the second one says what comes next
    assert kept(here) == ("float32", "auto")
    train(ncsn, 2, "--precision=float32", "--nojit_compile")
    automatic, chosen = compiled  # of the same settings, so that all numbers are the same
    assert dataclasses.replace(automatic, num_steps=2) == chosen
    settings = {"features": 2, "num_levels": 2, "image_size": 8, "channels": 1}
    assert build_network(Config(**settings)).dtype_policy.name == "float32"


def test_a_run_of_a_gpu_goes_on_elsewhere_in_its_arithmetic(ncsn, on, compiled, here):
    on((9, 0))
    assert train(ncsn, 2)[0] == ", in mixed_bfloat16, with XLA"
    assert kept(here) == ("mixed_bfloat16", "auto")
    on(None)
    assert train(ncsn, 4)[0] == ", in mixed_bfloat16 as it began"
    assert kept(here) == ("mixed_bfloat16", "auto")
    assert [config.jit_compile for config in compiled] == [True, False]

    line = "run was started with other settings (--precision: the run has mixed_bfloat16, the "
    _, errors = ncsn("train", *TRAIN, "--num_steps=6", "--precision=float32", code=2)
    assert errors[-1].startswith(f"error: {line}command says float32)")
    said, _ = ncsn("sample", "--workdir=run", "--num_samples=1", "--sampling_tile=1")
    assert said[0] == (
        "Sampling from run, averaged weights of step 4, in mixed_bfloat16 as it was trained"
    )


def test_a_run_of_a_cpu_goes_on_elsewhere_in_its_arithmetic(ncsn, on, here, monkeypatch):
    """Also one from before there was a choice, whose settings do not say it."""
    save = Config.to_json

    def to_json(config):
        values = json.loads(save(config))
        return json.dumps(
            {k: v for k, v in values.items() if k not in ("precision", "jit_compile")}
        )

    with monkeypatch.context() as before:
        before.setattr(Config, "to_json", to_json)
        train(ncsn, 2)
    assert "precision" not in json.loads((here / "run" / "config.json").read_text())
    on((9, 0))
    assert train(ncsn, 4)[0] == ", in float32 as it began, with XLA"
    assert kept(here) == ("float32", "auto")


def test_what_is_asked_for_is_done(ncsn, on, compiled):
    on((9, 0))
    assert train(ncsn, 2, "--precision=float32", "--nojit_compile")[0] == ", in float32"
    assert [config.jit_compile for config in compiled] == [False]


def test_an_installation_whose_xla_fails_trains_without_it(ncsn, on, compiled):
    on((7, 5), "libdevice not found")
    said, lines = train(ncsn, 2)
    assert (said, compiled[0].jit_compile) == (", in float32", False)
    assert (
        lines[1] == "--jit_compile is off: XLA cannot compile for this device: libdevice not found"
    )


class Strategy:
    """A strategy over devices that are not here."""

    def __init__(self, *names):
        self.extended = self
        self.worker_devices = names


@pytest.mark.parametrize(
    "generations, precision",
    [
        ([], "float32"),
        ([(7, 5)], "float32"),
        ([(8, 0)], "mixed_bfloat16"),
        ([(12, 0)], "mixed_bfloat16"),
        ([(9, 0), (7, 0)], "float32"),
        ([None], "float32"),  # of another maker
    ],
)
def test_which_devices_multiply_bfloat16(generations, precision, monkeypatch):
    names = [f"/physical_device:GPU:{index}" for index in range(len(generations))]
    gpus = [tf.config.PhysicalDevice(name, "GPU") for name in names]
    details = [{"compute_capability": g} if g else {} for g in generations]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda gpu: details[gpus.index(gpu)]
    )
    devices = [f"/device:GPU:{index}" for index in range(len(generations))] or ["/device:CPU:0"]
    assert suited.suited_precision(Strategy(*devices)) == precision


def test_what_xla_says_is_one_line(monkeypatch):
    def fail(*_, **__):
        def compiled(x):
            raise tf.errors.InternalError(None, None, "libdevice not found\nat ./libdevice.10.bc")

        return compiled

    assert suited.xla_error(Strategy("/device:CPU:0")) == ""
    monkeypatch.setattr(suited.tf, "function", fail)
    assert suited.xla_error(Strategy("/device:CPU:0")) == "libdevice not found"
