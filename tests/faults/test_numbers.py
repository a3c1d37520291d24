"""Numbers that stay finite, and files that come out the same twice."""

import numpy as np
import pytest
import runs
import tensorflow as tf
from training_helpers import numbers

REAL = [
    *("train.py", "--dataset=digits", "--features=2", "--num_levels=3", "--num_steps_each=1"),
    *("--batch_size=8", "--eval_every=0", "--ema_decay=0.9", "--seed=3", "--num_sample_images=4"),
]


@pytest.mark.slow
@pytest.mark.parametrize("precision, num_steps", [("float32", 100), ("mixed_bfloat16", 300)])
def test_training_stays_finite(precision, num_steps, command_server, tmp_path):
    """The real network: no step is skipped, every number is finite.

    `make demo` trains it for 1000 steps in float32.
    """
    flags = [f"--num_steps={num_steps}", f"--precision={precision}"]
    flags += ["--workdir=run", "--sample_every=0"]
    done = command_server.run([*REAL, *flags, "--noexport"], cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stderr
    found = numbers(tmp_path / "run")
    assert found["skipped_steps/.ATTRIBUTES/VARIABLE_VALUE"] == 0
    for name, value in found.items():
        assert np.all(np.isfinite(value)), name


@pytest.mark.slow
def test_deterministic_files_are_the_same_twice(command_server, tmp_path):
    """Byte for byte, but for what cannot be: see the two exceptions below.

    For weights of the real network see test_loop.py.
    """
    flags = ["--workdir=run", "--num_steps=6", "--sample_every=3", "--deterministic"]
    draw = ["sample", "--workdir=run", "--num_samples=3"]
    drawn = [
        [*draw, "--format=png", "--out=pictures", "--movie=chain.gif"],
        [*draw, "--format=npz"],
    ]
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        train = command_server.run([runs.NCSN, "train", *REAL[1:], *flags], cwd=folder)
        for done in (train, *runs.in_turn(command_server, drawn, folder)):
            assert done.returncode == 0, done.stderr
    first, second = tmp_path / "first", tmp_path / "second"
    assert runs.files(first) == runs.files(second)
    assert different_files(first, second) <= {
        "run/checkpoints/checkpoint",  # TensorFlow's list of checkpoints has the time of each
        "run/export/1/saved_model.pb",  # names of functions, a random number of each export
        "run/export/1/fingerprint.pb",  # a digest of it
    }
    arrays = [np.load(folder / "samples.npz") for folder in (first, second)]
    for name in arrays[0].files:
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])
    versions = [folder / "run" / "export" / "1" for folder in (first, second)]
    runs.assert_same_variables(*versions)
    seeds = tf.range(3, dtype=tf.int64)
    drawn = [
        tf.saved_model.load(str(version)).signatures["sample_uint8"](seed=seeds)["image"].numpy()
        for version in versions
    ]
    np.testing.assert_array_equal(*drawn)


def different_files(first, second):
    """Names of the files that are not the same bytes in two folders, but for the curves."""
    names = runs.files(first)
    return {
        name
        for name in names
        if (first / name).is_file() and (first / name).read_bytes() != (second / name).read_bytes()
    }


def test_different_files_are_seen(tmp_path):
    for name, text in (("first", "a"), ("second", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same").write_text("same")
        (tmp_path / name / "other").write_text(text)
    assert different_files(tmp_path / "first", tmp_path / "second") == {"other"}
