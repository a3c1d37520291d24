"""What is damaged, denied, too large or makes no sense is one line, and exit 1 or 2."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.commands import export, report, sample, train
from ncsn_tf.commands.console import run_command
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.evaluation.record import Record
from ncsn_tf.settings.config import Config
from ncsn_tf.training import loop

TINY = [
    "--dataset=digits",
    "--features=2",
    "--image_size=8",
    "--batch_size=4",
    "--num_steps=2",
    "--num_levels=2",
    "--num_steps_each=1",
    "--sample_every=0",
    "--eval_every=0",
    "--noexport",
    "--workdir=run",
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def start(*args, **kwargs):
        return tf.distribute.OneDeviceStrategy("/cpu:0")

    monkeypatch.setattr(train, "start_for_training", start)
    monkeypatch.setattr(sample, "start_for_sampling", start)
    monkeypatch.setattr(report, "start_tensorflow", start)
    monkeypatch.setattr(export, "start_tensorflow", start)


@pytest.fixture
def line(capsys):
    """(main, its arguments) -> (exit code, the one line that starts with error:)."""

    def line(main, *args):
        with pytest.raises(SystemExit) as end:
            run_command(main, ["program", *args])
        said = capsys.readouterr().err.splitlines()
        assert "Traceback" not in "".join(said)
        (error,) = (text for text in said if text.startswith("error: "))
        assert said[-1] == error
        return end.value.code, error

    return line


@pytest.mark.parametrize("main, args, message", [
    (sample.main, ["--num_samples=10000000000000"], "--num_samples=10000000000000 must be below"),
    (sample.main, ["--out=" + "a" * 300], "must be a path whose names have 255 bytes at most"),
    (sample.main, ["--movie=~nosuchuser/x"], "--movie=~nosuchuser/x must be another path"),
    (export.main, ["--sampling_tile=9223372036854775807"], "must be below 4097"),
    (sample.main, ["--sampling_tile=1000000000"], "--sampling_tile=1000000000 must be below 4097"),
    (train.main, ["--dataset=" + "a" * 300], "must be the name of a dataset"),
    (train.main, ["--flagfile=" + "a" * 300], "must be a path whose names have 255 bytes at most"),
    (train.main, ["--flagfile=" + "a" * 251], "is not a file, nor one of flags/"),
    (train.main, ["--num_steps_each=2000000000"], "must be at most 214748364 with --num_levels=10"),
])  # fmt: skip
def test_a_flag_that_no_machine_can_do(main, args, message, line):
    code, error = line(main, *args)
    assert code == 2 and message in error


def test_a_name_with_no_room_for_what_is_written_beside_it(line):
    code, error = line(sample.main, f"--out={'a' * 250}.png")
    assert code == 1 and "cannot be written: File name too long" in error


def test_a_file_in_the_way_of_the_curves(line):
    Path("run").mkdir()
    Path("run/tensorboard").write_text("in the way")
    code, error = line(train.main, *TINY)
    assert error.startswith("error: the curves in run/tensorboard cannot be written: ")
    assert code == 1


class NoFiniteStep:
    """Counts steps that are not finite, as the compiled step does, and computes nothing."""

    def __init__(self, state, config, strategy):
        self.state = state
        self.totals = self

    def run(self, batch):
        self.state.step.assign_add(1)
        self.state.worst_bad_steps.assign_add(1)

    def report(self):
        return None, None, [None, None]


@pytest.mark.parametrize("is_real", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_training_without_a_finite_step(is_real, line, monkeypatch):
    """Also one of fewer steps than --max_bad_steps."""
    if not is_real:
        monkeypatch.setattr(loop, "TrainingStep", NoFiniteStep)
    code, error = line(train.main, *TINY, "--sigma_begin=1e30", "--sigma_end=1e-30")
    assert "not finite for 2 steps in a row (--max_bad_steps=10)" in error
    assert code == 1


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 700 + "1" + "}" * 700, "{", "\udcff"])
def test_a_damaged_evaluation_in_a_report(content, line):
    Path("run/evaluation").mkdir(parents=True)
    Config(dataset="digits", image_size=8, channels=1).save("run/config.json")
    Path("run/evaluation/a.json").write_text(content, errors="surrogateescape")
    flags = ("--workdir=run", "--nochain", "--noneighbors", "--noscores")
    code, error = line(report.main, *flags)
    assert code == 1 and "run/evaluation/a.json is n" in error
    assert not Path("run/report.html").exists()


SETTINGS = {"num_dequantizations": 1, "num_probes": 2}


@pytest.mark.parametrize("arrays", [
    {"bits_per_dim": np.zeros([3, 2, 1], "f4"), "evaluations": np.zeros([3, 1], "i4")},
    {"bits_per_dim": np.zeros([3, 1, 2], "f4"), "evaluations": np.zeros([4, 1], "i4")},
    {"bits_per_dim": np.zeros([3, 1, 2], "U3"), "evaluations": np.zeros([3, 1], "i4")},
    {"bits_per_dim": np.zeros([], "f4"), "evaluations": np.zeros([3, 1], "i4")},
    {"bits_per_dim": np.full([3, 1, 2], np.nan, "f4"), "evaluations": np.zeros([3, 1], "i4")},
    {"bits_per_dim": np.zeros([3, 1, 2], "f4"), "evaluations": np.zeros([3, 1], "f4")},
    {"settings": "[" * 100_000},
    {"settings": "3"},
    {"images": np.zeros(3)},
    None,
])  # fmt: skip
def test_a_foreign_record_of_likelihoods(arrays):
    if arrays is None:
        Path("bits.npz").write_bytes(b"")
    else:
        good = {"bits_per_dim": np.zeros([3, 1, 2], "f4"), "evaluations": np.zeros([3, 1], "i4")}
        good["settings"] = json.dumps(SETTINGS)
        np.savez("bits.npz", **(good | arrays if "images" not in arrays else arrays))
    with pytest.raises(UserError, match=r"bits\.npz (cannot be read|does not hold)"):
        Record(Path("bits.json"), SETTINGS)


@pytest.mark.parametrize("error, said", [
    (MemoryError(), "not enough memory: lower --batch_size, --num_samples or --sampling_tile"),
    (
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"),
        "not enough memory: lower --batch_size, --num_samples or --sampling_tile",
    ),
    (OSError(errno.EACCES, "Permission denied", "/locked/a"), "/locked/a: Permission denied"),
])  # fmt: skip
def test_what_the_machine_refuses(error, said, monkeypatch, line):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(sample, "start_for_sampling", refuse)
    assert line(sample.main) == (1, f"error: {said}")


def test_another_error_keeps_its_traceback(monkeypatch):
    def fail(*args, **kwargs):
        raise ValueError("a mistake of the program")

    monkeypatch.setattr(sample, "start_for_sampling", fail)
    with pytest.raises(ValueError, match="a mistake of the program"):
        run_command(sample.main, ["program"])


def test_too_large_a_number_for_a_float():
    with pytest.raises(ConfigError, match="must be a finite number"):
        Config(sigma_begin=10**400)
