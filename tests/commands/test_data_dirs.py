"""Every command that reads a run's images reads them from archives and files of arrays too."""

import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import soak
import tensorflow as tf
from PIL import Image

from ncsn_tf.commands.console import COMMANDS, run_command

PIXELS = np.random.default_rng(0).integers(0, 256, [41, 8, 8], np.uint8)
LABELS = np.arange(41) % 2
FLAGS = ["--image_size=8", "--channels=1"]
TINY = ["--num_levels=2", "--num_steps_each=1", "--num_steps=2", "--batch_size=4", "--noexport"]
TINY += ["--sample_every=0", "--eval_every=0", "--sampling_tile=2", "--workdir=run"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ncsn():
    """(command, its flags) -> exit code of `ncsn`, in this process, by a network of few weights."""

    def start(*args, **kwargs):
        return tf.distribute.OneDeviceStrategy("/cpu:0")

    with pytest.MonkeyPatch.context() as patch:
        soak.use_tiny_network(patch.setattr)
        modules = {}
        for name, (module, *_) in COMMANDS.items():
            modules[name] = importlib.import_module(f"ncsn_tf.commands.{module}")
            for function in ("start_tensorflow", "start_for_training"):
                if hasattr(modules[name], function):
                    patch.setattr(modules[name], function, start)

        def run(command, *flags):
            with pytest.raises(SystemExit) as end:
                run_command(modules[command].main, [f"ncsn {command}", *flags])
            return end.value.code or 0

        yield run


@pytest.fixture(scope="module", params=["zip", "npz"])
def place(request, ncsn, tmp_path_factory):
    """A folder with a run of two steps, and the flags of its data."""
    top = tmp_path_factory.mktemp("commands")
    if request.param == "npz":
        np.savez(top / "a.npz", images=PIXELS, labels=LABELS)
        flags = ["--dataset=arrays", "--data_dir=a.npz"]
    else:
        for number, (image, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
            (top / "all" / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(top / "all" / str(label) / f"{number:02}.png")
        shutil.make_archive(top / "a", "zip", top, "all")
        shutil.rmtree(top / "all")
        flags = ["--dataset=image_folder", "--data_dir=a.zip"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top)
        assert ncsn("train", *flags, *FLAGS, *TINY) == 0
    return top, flags


@pytest.fixture
def run(place, ncsn, monkeypatch):
    monkeypatch.chdir(place[0])
    return ncsn


def test_schedule(run, place):
    assert run("schedule", *place[1], *FLAGS, "--write=mine.flags") == 0
    written = Path("mine.flags").read_text().splitlines()
    assert {*place[1], *FLAGS} <= set(written)


def test_neighbors(run):
    flags = ["--workdir=run", "--num_samples=2", "--num_neighbors=3"]
    assert run("neighbors", *flags) == 0
    with np.load("neighbors.npz") as arrays:
        assert arrays["samples"].shape == (2, 8, 8, 1)


def test_report(run):
    assert run("report", "--workdir=run", "--nochain", "--noscores") == 0
    assert Path("run/report.html").is_file()


@pytest.mark.parametrize("place", ["zip"], indirect=True)
def test_classifier(run, place, capsys):
    flags = ["--workdir=run", "--num_steps=2", "--features=2", "--batch_size=4"]
    assert run("classifier", *flags) == 0
    assert "Test images classified right" in capsys.readouterr().out


def test_evaluate_from_another_place(run, place, capsys):
    """The data of a run have moved; and a file that is none is one line."""
    ending = place[1][1][-4:]
    shutil.copy(f"a{ending}", f"moved{ending}")
    flags = ["--workdir=run", "--test_loss"]
    assert run("evaluate", *flags, f"--data_dir=moved{ending}") == 0
    assert "over 4 test images" in capsys.readouterr().out
    assert run("evaluate", *flags, "--data_dir=gone") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: --data_dir=gone is not a ") and said.count("\n") == 1
