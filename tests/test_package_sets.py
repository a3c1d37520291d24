"""Each package set loads what the other one wrote, and draws the same images from it.

Weights and images of both sets are kept in tests/golden/package_sets (made by
make_package_set_run.py). Where OTHER_PYTHON names the Python of the other set, as in
`make test-addons`, runs of training are also exchanged live.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tqdm import tqdm

from ncsn_tf.backend.compat import KERAS_3
from ncsn_tf.backend.devices import mirrored_strategy
from ncsn_tf.generation.checkpoint_origin import Opened
from ncsn_tf.serving.export_origin import Export, newest_export
from ncsn_tf.training import checkpoint_choice, checkpoints
from ncsn_tf.training.averages import open_weights

ROOT = Path(__file__).resolve().parent.parent
SETS = ROOT / "tests" / "golden" / "package_sets"


def load(path):
    with np.load(path) as arrays:
        return dict(arrays)


def largest_difference(images, others):
    """In grey levels."""
    assert images.shape == others.shape
    assert images.dtype == others.dtype == np.uint8
    return np.abs(images.astype(int) - others.astype(int)).max()


def written_by(package_set):
    """A parameter: what the set that runs here wrote itself is read in the slow tests."""
    is_own = (package_set == "default") == KERAS_3
    return pytest.param(package_set, marks=pytest.mark.slow if is_own else ())


@pytest.fixture(params=[written_by("default"), written_by("addons")])
def kept(request, tmp_path):
    """(a copy of the run that a package set wrote, the images that it drew)."""
    run_dir = tmp_path / "run"
    shutil.copytree(SETS / request.param, run_dir)
    images = load(run_dir / "images.npz")
    assert len(np.unique(images["checkpoint"])) > 50
    assert largest_difference(images["saved_model"], images["checkpoint"]) <= 1
    return run_dir, images


# The export is made of the network of the checkpoint: who draws from it has read both.
@pytest.mark.parametrize(
    "kind", [pytest.param("checkpoint", marks=pytest.mark.slow), "saved_model"]
)
def test_weights_of_either_set_draw_its_images(kind, kept):
    """From the checkpoint, and from an export made here."""
    run_dir, images = kept
    if kind == "saved_model":
        origin = Export(newest_export(run_dir))
    else:
        with mirrored_strategy(["CPU:0"]).scope():
            origin = Opened(open_weights(run_dir)).origin()
    seeds = np.arange(len(images[kind]))
    ((_, drawn),) = origin.images(seeds, tqdm(disable=True))
    assert largest_difference(drawn, images[kind]) <= 1


def test_weights_of_either_set_are_those_stored(kept):
    """Every weight of the network is one of the file's, and the file has no other."""
    path = checkpoint_choice.latest(kept[0])
    network, config, step, is_average = checkpoints.load_network(path)
    assert (config.features, step, is_average) == (2, 200, False)
    reader = tf.train.load_checkpoint(path)
    stored = [
        reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith("network/")
    ]
    loaded = network.get_weights()
    assert len(loaded) == len(stored) == 173
    remaining = sorted(values.tobytes() for values in stored)
    assert sorted(values.tobytes() for values in loaded) == remaining


# --- live, where both sets are installed ---

OTHER_PYTHON = os.environ.get("OTHER_PYTHON", "")
needs_both = pytest.mark.skipif(
    not OTHER_PYTHON, reason="OTHER_PYTHON does not name the other package set's Python"
)
TRAIN = [
    *("--dataset=digits", "--features=2", "--num_levels=3", "--num_steps_each=2"),
    *("--batch_size=16", "--eval_every=0", "--sample_every=0", "--workdir=run"),
]
SAMPLE = ["sample", "--workdir=run", "--num_samples=4", "--format=npz"]


def in_turn(python, *commands, cwd):
    """[how it ended] of commands with the real network, in one process: see faults/in_turn.py."""
    folders = (".", "tests", "tests/training", "tests/faults")
    path = os.pathsep.join(str(ROOT / folder) for folder in folders)
    done = subprocess.run(
        [python, str(ROOT / "tests" / "faults" / "in_turn.py"), json.dumps(commands), "real"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_both
@pytest.mark.parametrize("from_other", [True, False], ids=["from the other", "to the other"])
def test_a_run_of_one_set_is_drawn_by_the_other(from_other, tmp_path):
    """The average in the run's checkpoint, and its export as it is."""
    writer, reader = sys.executable, OTHER_PYTHON
    if from_other:
        writer, reader = reader, writer
    ask = "from importlib.metadata import version; print(version('keras'))"
    versions = [
        subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout
        for python in (writer, reader)
    ]
    assert versions[0] != versions[1], "OTHER_PYTHON has this very package set"

    ends = in_turn(
        writer,
        ["train", *TRAIN, "--num_steps=5"],
        [*SAMPLE, "--out=expected.npz"],
        cwd=tmp_path,
    )
    # Only weights are exchanged: each set's optimizers keep other variables.
    *more, refused = in_turn(
        reader,
        [*SAMPLE, "--out=checkpoint.npz"],
        [*SAMPLE, "--saved_model", "--out=saved_model.npz"],
        ["train", *TRAIN, "--num_steps=6"],
        cwd=tmp_path,
    )
    for end in (*ends, *more):
        assert end["returncode"] == 0, end["stderr"]
    names = ("expected", "checkpoint", "saved_model")
    expected, checkpoint, saved_model = (load(tmp_path / f"{name}.npz")["images"] for name in names)
    assert len(np.unique(expected)) > 50
    assert largest_difference(checkpoint, expected) <= 1
    assert largest_difference(saved_model, expected) <= 1
    assert refused["returncode"] == 1
    (line,) = refused["stderr"].splitlines()
    assert "cannot be resumed here" in line
    assert checkpoint_choice.latest(tmp_path / "run").endswith("step-5")
