"""Exports need none of our code, and draw exactly the images of the checkpoint."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf import checkpoints, export
from ncsn_tf.config import Config
from ncsn_tf.errors import UserError
from ncsn_tf.state import TrainingState

ROOT = Path(__file__).resolve().parent.parent
CONFIG = Config(
    dataset="digits",
    image_size=8,
    channels=1,
    features=2,
    num_levels=3,
    step_lr=1e-4,
    num_steps_each=3,
    denoise=True,
    sampling_tile=2,
    ema_decay=0.5,
)
FIRST_SEED, NUM_SEEDS = 2**40, 5
SEEDS = FIRST_SEED + np.arange(NUM_SEEDS)

# Runs in a process of its own, in which neither our package nor Keras exists.
LOAD_ANYWHERE = """
import sys

for name in ("ncsn_tf", "keras", "tf_keras"):
    sys.modules[name] = None  # importing it is an ImportError
import numpy as np
import tensorflow as tf

folder, seeds, out = sys.argv[1:]
seeds = np.load(seeds)
draw = tf.saved_model.load(folder).signatures["serving_default"]
images = draw(seed=tf.constant(seeds))["images"].numpy()
alone = draw(seed=tf.constant(seeds[3:4]))["images"].numpy()
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    graph = tf.compat.v1.saved_model.load(session, ["serve"], folder)
    signature = graph.signature_def["serving_default"]
    in_session = session.run(
        signature.outputs["images"].name, {signature.inputs["seed"].name: seeds}
    )
np.savez(out, images=images, alone=alone, in_session=in_session)
"""


def run_python(*args, cwd):
    """A Python process that sees no folder of ours: it must end well."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, *map(str, args)]
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Settings of a run with a checkpoint whose average is not its weights."""
    config = dataclasses.replace(CONFIG, workdir=str(tmp_path_factory.mktemp("export") / "run"))
    state = TrainingState(config, tf.distribute.MirroredStrategy(["CPU:0"]))
    state.average.vector.assign(state.average.vector * 1.25)
    state.step.assign(11)
    checkpoints.RunCheckpoints(state, config).save()
    return config


@pytest.fixture(scope="module")
def exported(run):
    """Paths of two exports: of the average, and of the weights."""
    return export.export_run(run.run_dir), export.export_run(run.run_dir, use_average=False)


@pytest.fixture(scope="module")
def seeds_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("seeds") / "seeds.npy"
    np.save(path, SEEDS)
    return path


@pytest.fixture(scope="module")
def images(run, tmp_path_factory):
    """What sample.py draws from the checkpoint."""
    out = tmp_path_factory.mktemp("drawn") / "samples.npz"
    flags = [f"--workdir={run.run_dir}", f"--num_samples={NUM_SEEDS}", f"--seed={FIRST_SEED}"]
    done = run_python(ROOT / "sample.py", *flags, "--format=npz", f"--out={out}", cwd=out.parent)
    assert "averaged weights of step 11" in done.stdout
    with np.load(out) as arrays:
        np.testing.assert_array_equal(arrays["seeds"], SEEDS)
        images = arrays["images"]
    assert images.shape == (NUM_SEEDS, 8, 8, 1)
    assert images.dtype == np.uint8
    assert len(np.unique(images)) > 20
    return images


def test_versions_count_up_and_are_complete(run, exported):
    folder = run.run_dir / "export"
    assert exported == (folder / "1", folder / "2")
    assert sorted(os.listdir(folder)) == ["1", "2"]
    for path in exported:
        assert {"saved_model.pb", "variables", "metadata.json"} <= set(os.listdir(path))
    assert export.versions(folder) == [1, 2]


def test_metadata(run, exported):
    average, raw = (json.loads((path / "metadata.json").read_text()) for path in exported)
    assert Config.from_json(json.dumps(average["config"])) == run
    assert (average["training_step"], raw["training_step"]) == (11, 11)
    assert (average["weights"], raw["weights"]) == ("average", "raw")
    assert average["versions"]["tensorflow"] == tf.__version__


def test_signature(exported):
    signature = tf.saved_model.load(str(exported[0])).signatures["serving_default"]
    ((), inputs) = signature.structured_input_signature
    assert inputs == {"seed": tf.TensorSpec([None], tf.int64, name="seed")}
    (name,) = signature.structured_outputs
    output = signature.structured_outputs[name]
    assert (name, output.dtype, output.shape.as_list()) == ("images", tf.uint8, [None, 8, 8, 1])


def test_a_process_without_our_code_draws_the_images_of_the_checkpoint(
    exported, images, seeds_file, tmp_path
):
    """With TensorFlow 2's loader, and in a session of TensorFlow 1's."""
    out = tmp_path / "out.npz"
    run_python("-I", "-c", LOAD_ANYWHERE, exported[0], seeds_file, out, cwd=tmp_path)
    with np.load(out) as arrays:
        np.testing.assert_array_equal(arrays["images"], images)
        np.testing.assert_array_equal(arrays["alone"], images[3:4])
        np.testing.assert_array_equal(arrays["in_session"], images)


def test_saved_model_cli_draws_the_images_of_the_checkpoint(exported, images, seeds_file, tmp_path):
    command = ["-m", "tensorflow.python.tools.saved_model_cli", "run"]
    which = [f"--dir={exported[0]}", "--tag_set=serve", "--signature_def=serving_default"]
    files = [f"--inputs=seed={seeds_file}", f"--outdir={tmp_path}"]
    run_python(*command, *which, *files, cwd=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), images)


def test_raw_weights_draw_other_images(exported, images):
    signature = tf.saved_model.load(str(exported[1])).signatures["serving_default"]
    drawn = signature(seed=tf.constant(SEEDS))["images"].numpy()
    assert np.mean(drawn != images) > 0.1


def test_a_failed_export_leaves_nothing(run, exported, monkeypatch):
    def fail(module, path, signatures):
        Path(path).mkdir(parents=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(UserError, match="export.3 cannot be written: .*No space left"):
        export.export_run(run.run_dir)
    assert sorted(os.listdir(run.run_dir / "export")) == ["1", "2"]


def test_versions_are_numbers(tmp_path):
    for name in ("2", "10", ".11.345", "latest", "3.5"):
        (tmp_path / name).mkdir()
    assert export.versions(tmp_path) == [2, 10]
    assert export.versions(tmp_path / "absent") == []


def test_nothing_to_export(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"):
        export.export_run(tmp_path)
