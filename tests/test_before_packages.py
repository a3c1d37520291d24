"""A run and an export from before the move into packages still work, and give the same images.

They are kept in tests/golden/before_packages: the run of TRAIN, the images of the seeds 0 to 3 that
sample.py then drew from its checkpoint, from its export, and from the run resumed to step 24.
"""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ncsn_tf.backend.compat import KERAS_3
from ncsn_tf.commands import sample as sample_command

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "tests" / "golden" / "before_packages"
TRAIN = [
    *("--dataset=digits", "--features=2", "--num_levels=3", "--num_steps_each=2"),
    *("--batch_size=16", "--step_lr=1e-4", "--ema_decay=0.9", "--eval_every=20"),
    *("--sample_every=0", "--log_every=10", "--sampling_tile=2", "--workdir=run"),
    *("--checkpoint_every=20", "--keep_checkpoints=1"),
]


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch):
    """A copy of the run, as the folder `run` of the current one."""
    shutil.copytree(KEPT, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def kept(name):
    with np.load(KEPT / f"{name}.npz") as arrays:
        return arrays["images"]


def drawn(*flags):
    """What sample.py draws for the seeds 0 to 3."""
    flags = [*flags, "--num_samples=4", "--format=npz", "--out=drawn.npz"]
    sample_command.main(["sample.py", *flags])
    with np.load("drawn.npz") as arrays:
        np.testing.assert_array_equal(arrays["seeds"], range(4))
        return arrays["images"]


def assert_same_images(images, expected):
    """At most one grey level apart."""
    assert images.shape == expected.shape == (4, 8, 8, 1)
    assert images.dtype == expected.dtype == np.uint8
    assert np.abs(images.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.slow
def test_its_checkpoint_draws_its_images():
    assert len(np.unique(kept("images"))) > 50
    assert_same_images(drawn("--workdir=run"), kept("images"))


def test_its_export_draws_its_images(run):
    with tarfile.open(KEPT / "export.tar.xz") as archive:
        archive.extractall(run, filter="data")
    assert_same_images(drawn("--saved_model", "--workdir=run"), kept("export_images"))


@pytest.mark.slow
@pytest.mark.skipif(not KERAS_3, reason="the other package set's optimizers keep other variables")
def test_it_is_resumed_as_before(command_server, tmp_path):
    argv = ["train.py", *TRAIN, "--num_steps=24", "--noexport"]
    done = command_server.run(argv, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Resuming run at step 20 of 24 on 1 device, CPU (")
    assert done.stdout.count("\n") == 2  # and what comes next
    expected = kept("resumed_images")
    assert np.abs(expected.astype(int) - kept("images").astype(int)).max() > 1
    assert_same_images(drawn("--workdir=run"), expected)
