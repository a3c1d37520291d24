"""Images of classes as files: grids of a row a class, arrays, shards; and flags that are wrong."""

import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from labelled_network import NAMES, LabelledNetwork
from PIL import Image

from ncsn_tf.commands import sample as sample_command
from ncsn_tf.commands.console import run_command
from ncsn_tf.generation import arrays
from ncsn_tf.generation.shards import merge
from ncsn_tf.settings.config import Config
from ncsn_tf.training import averages

KNOWN = {"class_conditional": True, "class_names": NAMES}


@pytest.fixture(scope="module")
def network():
    return LabelledNetwork()


@pytest.fixture
def ncsn(monkeypatch, tmp_path, network, capsys):
    """(flags, its data's classes) -> (exit code, what was printed, errors) of `ncsn sample`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sample_command, "start_for_sampling", lambda *_: tf.distribute.get_strategy()
    )

    def sample(*flags, **classes):
        config = Config(
            dataset="digits",
            image_size=8,
            channels=1,
            num_levels=3,
            step_lr=1e-3,
            num_steps_each=1,
            sampling_tile=2,
            **classes,
        )
        run = types.SimpleNamespace(
            config=config, network=network, run_dir="run", origin="step 2", step=2
        )
        for module in (averages, arrays):
            monkeypatch.setattr(module, "open_weights", lambda *_, **__: run)
        with pytest.raises(SystemExit) as end:
            run_command(sample_command.main, ["ncsn sample", *flags])
        printed = capsys.readouterr()
        return end.value.code or 0, printed.out, printed.err

    return sample


def npz(path="samples.npz"):
    with np.load(path) as content:
        return dict(content)


@pytest.mark.slow
def test_classes_by_name_and_number_alone_and_each(ncsn):
    flags = ["--format=npz", "--batch_size=6", "--seed=3"]
    code, out, _ = ncsn(*flags, "--label=each", "--num_samples=2", "--guidance=1.5", **KNOWN)
    assert code == 0
    assert "Drawing classes cat, dog, owl, guidance 1.5\n" in out
    assert "6 network evaluations an image" in out  # two for each of three levels
    each = npz()
    assert each["labels"].tolist() == [0, 1, 2, 0, 1, 2] and each["class_names"].tolist() == [
        *NAMES
    ]
    drawn = []
    for label in ("owl", "2"):  # seed 5 is an owl's in both
        one = ["--format=npz", "--batch_size=6", "--seed=5", "--num_samples=1"]
        assert ncsn(*one, f"--label={label}", "--guidance=1.5", **KNOWN)[0] == 0
        drawn.append(npz()["images"])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0][0], each["images"][2])
    code, out, _ = ncsn(*flags, "--num_samples=6", **KNOWN)
    assert "Drawing without a class: --label names one of 3, or each" in out
    assert "labels" not in npz() and not np.array_equal(npz()["images"], each["images"])
    # A row a class, of twice its width; enlarged by a whole factor.
    assert ncsn("--label=dog,cat", "--num_samples=3", "--batch_size=6", **KNOWN)[0] == 0
    width, height = Image.open("samples.png").size
    assert width / height == 26 / 17


@pytest.mark.slow
def test_shards_keep_their_classes(ncsn):
    shard = ["--num_samples=2", "--block=3", "--out=parts", "--batch_size=6"]
    assert ncsn(*shard, "--label=each", "--shard=0/2", **KNOWN)[0] == 0
    code, _, error = ncsn(*shard, "--label=each", "--guidance=2", "--shard=1/2", **KNOWN)
    assert code == 1 and "was drawn with labels" in error and error.count("\n") == 1
    assert ncsn(*shard, "--label=each", "--shard=1/2", **KNOWN)[0] == 0
    assert npz("parts/seeds-000003-000005.npz")["labels"].tolist() == [0, 1, 2]
    assert merge("parts", output="all.npz") == 6
    assert npz("all.npz")["labels"].tolist() == [0, 1, 2, 0, 1, 2]
    ncsn("--label=each", "--num_samples=2", "--format=npz", "--batch_size=6", **KNOWN)
    np.testing.assert_array_equal(npz("all.npz")["images"], npz()["images"])


@pytest.mark.parametrize(
    "flags, classes, line",
    [
        (
            ["--label=dgo"],
            KNOWN,
            "--label=dgo is no class of this run, which has 3: 0 cat, 1 dog, 2 owl; do you mean",
        ),
        (["--label=3"], KNOWN, "--label=3 is no class of this run, which has 3: 0 cat, 1 dog"),
        (["--label=cat,"], KNOWN, "--label= is no class of this run"),
        (["--label="], KNOWN, "--label= must name a class"),
        (["--label=3"], {}, "--label=3 needs a network that was trained with --class_conditional"),
        (["--guidance=2"], KNOWN, "--guidance=2.0 needs --label"),
        (["--guidance=-1", "--label=1"], KNOWN, "--guidance=-1.0 must be at least 0"),
        (["--interpolate=1,2", "--label=each"], KNOWN, "--label=each must be one class with"),
        (
            ["--classifier=a", "--label=cat"],
            KNOWN,
            "--label=cat must be a number with --classifier",
        ),
        (
            ["--classifier=a", "--label=1", "--guidance=2"],
            KNOWN,
            "--guidance=2.0 cannot be used with --classifier",
        ),
    ],
)
def test_what_is_wrong_is_one_line(flags, classes, line, ncsn):
    code, _, error = ncsn(*flags, **classes)
    assert code == 2 and error.startswith(f"error: {line}") and error.count("\n") == 1
    assert not list(Path().glob("*"))


def test_pictures_are_completed_as_each_class(ncsn):
    images = np.zeros([2, 8, 8, 1], np.uint8)
    np.savez("two.npz", images=images)
    flags = ["--inpaint=two.npz", "--label=each", "--format=npz", "--batch_size=6"]
    assert ncsn(*flags, **KNOWN)[0] == 0
    assert npz()["labels"].tolist() == [0, 0, 1, 1, 2, 2]
    assert not npz()["images"][:, :, :4].any()  # what is known


@pytest.mark.slow
def test_a_notebook_names_the_class_of_each_image(ncsn):
    ncsn("--label=cat,", **KNOWN)  # opens the run
    images = arrays.sample("run", 2, seed=7, labels=["owl", 0], guidance=1.5)
    for index, label in enumerate(("owl", "cat")):
        alone = arrays.sample("run", 1, seed=7 + index, labels=label, guidance=1.5)
        np.testing.assert_array_equal(images[index], alone[0])
    with pytest.raises(ValueError, match="labels has 1 classes for num_samples=2 images"):
        arrays.sample("run", 2, labels=["cat"])
