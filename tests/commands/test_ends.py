"""How commands end whose work does not come to its end: memory that is short, a signal."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from training_helpers import TinyNetwork

from ncsn_tf.commands.console import run_command, run_named
from ncsn_tf.evaluation.features import NETWORKS, FeatureNetwork
from ncsn_tf.sampling.sampler import Sampler
from ncsn_tf.training import checkpoints, hooks, loop
from ncsn_tf.training import state as state_module

TRAIN = [
    *("train", "--dataset=digits", "--workdir=run", "--features=2", "--num_levels=2"),
    *("--num_steps_each=1", "--batch_size=8", "--eval_every=0", "--sample_every=0", "--noexport"),
]
SHORT = [
    tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
    tf.errors.InternalError(None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
]


class Step:
    """Computes nothing."""

    def __init__(self, state, config, strategy):
        self.state = state
        self.totals = SimpleNamespace(report=lambda: (1.0, 1.0, [1.0] * config.num_levels))

    def run(self, batch):
        self.state.step.assign_add(1)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for module in (state_module, checkpoints):
        monkeypatch.setattr(module, "build_network", TinyNetwork)
    monkeypatch.setattr(loop, "TrainingStep", Step)


@pytest.fixture
def ncsn(capsys):
    """ncsn(*args): (exit code, the last line on stderr)."""

    def run(*args):
        with pytest.raises(SystemExit) as end:
            run_command(run_named, ["ncsn", *args])
        return end.value.code or 0, (capsys.readouterr().err.splitlines() or [""])[-1]

    return run


def raising(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.parametrize("error", SHORT, ids=lambda error: type(error).__name__)
def test_too_little_memory_is_a_line_that_names_the_flags(error, ncsn, monkeypatch):
    assert ncsn(*TRAIN, "--num_steps=1")[0] == 0
    monkeypatch.setattr(Step, "run", raising(error))
    code, line = ncsn(*TRAIN, "--num_steps=2")
    assert code == 1 and line.startswith("error: not enough memory: lower --batch_size, ")
    assert "--training_tile" in line and line.endswith(", or give --recompute")
    monkeypatch.setattr(Sampler, "draw", raising(error))
    monkeypatch.setattr(hooks.TestLoss, "compute", raising(error))
    assert ncsn("sample", "--workdir=run") == (
        1,
        "error: not enough memory: lower --batch_size, --num_samples or --sampling_tile",
    )
    assert ncsn("evaluate", "--workdir=run", "--test_loss") == (
        1,
        "error: not enough memory: lower --batch_size, --num_images, --num_probes or --pairs",
    )


@pytest.mark.parametrize("flags, code", [([], 0), (["--stopped_code=9"], 9)])
def test_the_code_of_a_run_that_a_signal_ends(flags, code, ncsn, monkeypatch):
    """Once all steps are done it is 0 in any case."""

    def run(step, batch):
        step.state.step.assign_add(1)
        if int(step.state.step) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as asked:
        asked.setattr(Step, "run", run)
        line = "SIGTERM: saved step 2; the same command resumes"
        assert ncsn(*TRAIN, "--num_steps=4", *flags) == (code, line)
    assert ncsn(*TRAIN, "--num_steps=4", *flags)[0] == 0


def halves(inception, config, data_dir, cache_dir):
    """Features of images: the means of their upper and lower halves."""

    def compute(batch):
        parts = [part.mean((1, 2, 3)) for part in np.array_split(batch, 2, axis=1)]
        return np.stack(parts, 1).astype(np.float32), None

    about = {"checksum": "0" * 16, "resize": "none", "dimension": 2}
    return FeatureNetwork(compute, name="Halves", **about)


def test_a_signal_while_training_measures_saves_the_step(ncsn, monkeypatch, tmp_path):
    """The figure is left out, and the same command goes on."""
    monkeypatch.setitem(NETWORKS, "halves", halves)
    flags = ["--num_steps=4", "--metric_every=2", "--metric_features=halves", "--metric_samples=10"]
    flags += ["--checkpoint_every=100", f"--cache_dir={tmp_path}/cache"]
    draw, drawn = Sampler.draw, []

    def signalled(sampler, *args, **kwargs):
        images = draw(sampler, *args, **kwargs)
        drawn.append(len(images))
        os.kill(os.getpid(), signal.SIGTERM)
        return images

    with monkeypatch.context() as asked:
        asked.setattr(Sampler, "draw", signalled)
        line = "SIGTERM: saved step 2; the same command resumes"
        assert ncsn(*TRAIN, *flags) == (0, line)
    assert drawn == [10] and not os.path.exists("run/checkpoints/best")
    assert os.path.exists("run/checkpoints/step-2.index")
    assert ncsn(*TRAIN, *flags)[0] == 0
    assert os.path.exists("run/checkpoints/best/step-4.index")
