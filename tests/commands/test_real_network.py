"""A run of the real network from its start to its samples, by the commands: no stand-in anywhere.

Most other tests of commands have a network of a few weights; here its layers are built, compiled,
saved and read again, in the smallest sizes.
"""

import shlex

import numpy as np
import pytest

from ncsn_tf.commands.console import run_command, run_named
from ncsn_tf.training.checkpoints import open_run

RUN = "runs/my digits"
TRAIN = [
    *("--dataset=digits", "--features=2", "--num_levels=2", "--num_steps=2", "--num_steps_each=1"),
    *("--batch_size=4", "--sample_every=0", "--eval_every=0", "--noexport", f"--workdir={RUN}"),
]


@pytest.fixture
def ncsn(tmp_path, monkeypatch, capsys):
    """Runs a command in a folder of its own: lines of stdout."""
    monkeypatch.chdir(tmp_path)

    def run(*argv):
        with pytest.raises(SystemExit) as end:
            run_command(run_named, ["ncsn", *argv])
        out, err = capsys.readouterr()
        assert end.value.code == 0, err
        return out.splitlines()

    return run


@pytest.fixture
def trained(ncsn, graphs_as_written):
    """The lines of a training, in its folder."""
    return ncsn("train", *TRAIN)


def test_trained_and_read_again(trained):
    first, last = trained
    assert first.startswith(f"Starting {RUN} at step 0 of 2 on ")
    assert last == f"next: ncsn sample '--workdir={RUN}'"
    run = open_run(RUN)
    assert type(run.network).__name__ == "NCSN" and run.step == 2
    assert run.network.count_params() > 5_000
    images = np.random.default_rng(0).random([2, 8, 8, 1], np.float32)
    levels = np.array([0, 1], np.int32)
    score = run.network(images, levels).numpy()
    assert np.isfinite(score).all() and score.shape == images.shape
    assert np.abs(score).max() > 0.0


@pytest.mark.slow
def test_drawn_by_the_command_that_training_names(trained, ncsn):
    program, *argv = shlex.split(trained[-1].removeprefix("next: "))
    assert program == "ncsn"
    assert ncsn(*argv, "--num_samples=2", "--format=npz")[-1] == "Wrote samples.npz"
    with np.load("samples.npz") as content:
        images = content["images"]
    assert images.shape == (2, 8, 8, 1) and images.dtype == np.uint8
    assert len(np.unique(images)) > 8
