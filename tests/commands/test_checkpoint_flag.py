"""`--checkpoint`, of every command that opens a run."""

import dataclasses
import importlib
import os

import pytest
import tensorflow as tf

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.evaluation.arrays import evaluate as evaluate_arrays
from ncsn_tf.generation.arrays import sample as sample_arrays
from ncsn_tf.training import checkpoint_files

COMMANDS = {
    "sample": ("sample",),
    "export": ("export",),
    "neighbors": ("neighbors",),
    "report": ("report",),
    "test loss": ("evaluate", "--test_loss"),
    "figures": ("evaluate", "--metrics=fid", "--num_samples=9"),
    "sweep": ("evaluate", "--sweep=step_lr=1,2"),
}


@pytest.fixture
def run(tiny_config, tmp_path, monkeypatch):
    """The folder of a run with checkpoints of steps 100 and 200, which hold no network."""
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(tiny_config(), workdir="run")
    for step in (100, 200):
        parts = {"config": tf.Variable(config.to_json()), "step": tf.Variable(step)}
        checkpoint_files.write(tf.train.Checkpoint(**parts), "run", step, keep=9)
    return "run"


def main(name, *flags):
    command, *own = COMMANDS[name]
    importlib.import_module(f"ncsn_tf.commands.{command}").main([command, *flags, *own])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_checkpoint_that_is_not_there(name, run):
    message = "^--checkpoint=7: run has no checkpoint of step 7; there are steps 100, 200$"
    with pytest.raises(UserError, match=message):
        main(name, f"--workdir={run}", "--checkpoint=7")
    with pytest.raises(UserError, match="run has no best checkpoint, which train.py keeps with"):
        main(name, f"--workdir={run}", "--checkpoint=best")
    message = "^checkpoint run/checkpoints/step-100 cannot be read .*there are steps 100, 200$"
    with pytest.raises(UserError, match=message):
        main(name, f"--workdir={run}", "--checkpoint=100")
    assert os.listdir(run) == ["checkpoints"]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("value", ["last", "-1", "1.5", "", "Best"])
def test_what_is_no_checkpoint(name, value):
    message = f"^--checkpoint={value} must be best, newest or a step$"
    with pytest.raises(ConfigError, match=message):
        main(name, f"--checkpoint={value}")


@pytest.mark.parametrize("origin", ["--saved_model", "--server=a:1"])
def test_exports_and_servers_have_their_own(origin):
    with pytest.raises(ConfigError, match="--checkpoint=best cannot be used with --s"):
        main("sample", origin, "--checkpoint=best")


def test_notebooks_name_one_too(run):
    images = tf.zeros([1, 8, 8, 1]).numpy()
    for call, arguments in ((sample_arrays, [run]), (evaluate_arrays, [images, run])):
        with pytest.raises(UserError, match="no checkpoint of step 7; there are steps 100, 200"):
            call(*arguments, checkpoint=7)
