"""What XLA cannot compile is one line; other errors keep their traceback."""

import pytest
import tensorflow as tf
from commands_in_process import tiny_commands
from training_helpers import FakeStep, TinyNetwork

from ncsn_tf.backend import compat
from ncsn_tf.errors import UserError, keeping
from ncsn_tf.training import loop, state
from ncsn_tf.training.first_call import compiled_by_xla

XLA = pytest.mark.skipif(not compat.XLA_ON_CPU, reason="this TensorFlow leaves XLA off on a CPU")
NODE = "[[{{node StatefulPartitionedCall}}]]"
FLAGS = ["--dataset=digits", "--features=2", "--num_levels=2", "--batch_size=4", "--num_steps=2"]
FLAGS += ["--workdir=run", "--sample_every=0", "--eval_every=0", "--noexport"]


class Beyond(TinyNetwork):
    """Has an operation that XLA lacks."""

    def call(self, x, levels):
        return super().call(x, levels) * tf.math.reduce_euclidean_norm(x)


@pytest.fixture
def ncsn(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tiny_commands(monkeypatch, ("train",))


@XLA
@pytest.mark.parametrize(
    "flag",
    [
        "--steps_per_execution=1",
        pytest.param("--steps_per_execution=2", marks=pytest.mark.slow),
    ],
)
def test_what_xla_lacks_is_one_line(flag, ncsn, monkeypatch, capsys):
    monkeypatch.setattr(state, "build_network", lambda config, recompute=False: Beyond(config))
    assert ncsn("train", *FLAGS, flag, "--jit_compile") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    said = "error: XLA cannot compile the training step: Detected unsupported operations when "
    assert line.startswith(said) and "EuclideanNorm" in line
    assert line.endswith("; --nojit_compile trains without XLA")


@XLA
@pytest.mark.parametrize("jit_compile, at", [("--nojit_compile", 0), ("--jit_compile", 1)])
def test_only_the_first_step_and_only_with_xla(jit_compile, at, ncsn, monkeypatch):
    class Failing(FakeStep):
        def run(self, batch):
            if int(self.state.step) == at:
                raise tf.errors.InternalError(None, None, f"XLA: {NODE}")
            super().run(batch)

    monkeypatch.setattr(loop, "TrainingStep", Failing)
    with pytest.raises(tf.errors.InternalError):
        ncsn("train", *FLAGS, jit_compile)


@pytest.mark.parametrize(
    "message, line",
    [
        (f"Failed to load libdevice.10.bc\n\t {NODE}", "Failed to load libdevice.10.bc"),
        (
            "Graph execution error:\n\nDetected at node a defined at (most recent call last):\n"
            '  File "a.py", line 3, in a\n\n2 root error(s) found.\n'
            f"  (0) INTERNAL:  ptxas exited\n\t {NODE}\n  (1) INTERNAL:  ptxas again",
            "ptxas exited",
        ),
        ("HLO opcode fft\nmore", "HLO opcode fft"),
        (f"\n\t {NODE}", "InternalError"),
    ],
)
def test_the_line_that_says_it(message, line):
    with pytest.raises(UserError) as error, compiled_by_xla():
        raise tf.errors.InternalError(None, None, message)
    assert str(error.value) == (
        f"XLA cannot compile the training step: {line}; --nojit_compile trains without XLA"
    )


def test_other_errors_stay_what_they_are():
    message = f"UserError: no such image\n{NODE}"

    @keeping
    def read():
        raise UserError("no such image")

    with pytest.raises(UserError):
        read()
    for error in (
        ValueError(f"XLA {NODE}"),
        tf.errors.ResourceExhaustedError(None, None, f"XLA {NODE}"),
        tf.errors.InternalError(None, None, "a mistake [[{{node add}}]]"),
        tf.errors.InternalError(None, None, f"Collective ops is aborted {NODE}"),
        tf.errors.InvalidArgumentError(None, None, f"[[{{{{node IteratorGetNext}}}}]] {NODE}"),
        tf.errors.InvalidArgumentError(None, None, message),
        tf.errors.InternalError(None, None, f"CUDA_ERROR_OUT_OF_MEMORY: out of memory {NODE}"),
        tf.errors.InternalError(None, None, f"CUDA_ERROR_ILLEGAL_ADDRESS {NODE}"),
    ):
        with pytest.raises(type(error)) as raised, compiled_by_xla():
            raise error
        assert raised.value is error
