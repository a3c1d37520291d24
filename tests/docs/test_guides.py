"""The commands of the guides, run in their order, with a network of a few weights.

A page's commands run in a folder of its own with pictures and arrays in it. A run that a command
wants and that no command before it has trained is there already. Flags that make the work small are
added at the end, where they win.
"""

import importlib
import zipfile

import numpy as np
import pytest
import soak
import tensorflow as tf
from documented import PAGES, commands
from PIL import Image
from training_helpers import TinyNetwork

from ncsn_tf.commands.console import COMMANDS, run_command, run_named
from ncsn_tf.evaluation.features import trained
from ncsn_tf.settings.config import Config
from ncsn_tf.training import checkpoints

GUIDES = [page for page in PAGES if page.startswith("docs/guides/")]
RUN = {page: [one for one in commands(page) if one.ncsn and not one.skipped] for page in GUIDES}
# Those that run at every change; the others take longer together.
CHEAP = {"sampling"}
OF_TRAIN = [
    *("--features=2", "--num_levels=3", "--sigma_begin=1", "--batch_size=4", "--num_steps=2"),
    *("--num_steps_each=1", "--sample_every=0", "--eval_every=0", "--image_size=8", "--noexport"),
]
SMALL = {
    "sample": ["--num_samples=4", "--block=2"],
    "evaluate": ["--num_images=8"],
    "neighbors": ["--num_samples=2"],
    "classifier": ["--num_steps=2", "--features=2"],
    "schedule": ["--image_size=8", "--num_images=16"],
}
SWEPT = {"step_lr": "1e-5,1e-4", "num_evaluations": "4,5"}
HERE = ("digits", "image_folder", "arrays")  # data sets that need no download


def value(words, flag):
    """What a flag is given in a command, or None."""
    found = [word.partition("=")[2] for word in words if word.startswith(f"--{flag}=")]
    return found[-1] if found else None


def small(words):
    """A command with flags that make it small."""
    name = words[0]
    if name == "train":
        own = value(words, "flagfile")
        dataset = value(words, "dataset") or own
        flags = list(OF_TRAIN)
        if dataset not in HERE and "/" not in dataset:
            flags += ["--dataset=digits", "--channels=1"]
            if not value(words, "workdir"):
                flags.append(f"--workdir=runs/{dataset}")
        if value(words, "metric_every"):
            flags += ["--metric_every=2", "--metric_samples=10"]
        return [*words, *flags]
    if name == "sample" and value(words, "interpolate"):
        return words
    if name == "sample" and not value(words, "shard"):
        return [*words, "--num_samples=2"]
    if name == "evaluate" and value(words, "sweep"):
        setting = value(words, "sweep").partition("=")[0]
        words = [*words, f"--sweep={setting}={SWEPT[setting]}"]
    if name == "evaluate" and any("metrics" in word or "features" in word for word in words):
        return [*words, "--num_samples=8", "--num_images=16"]
    return [*words, *SMALL.get(name, [])]


def make_files(folder, rng):
    """Pictures, an archive and arrays."""
    pictures = folder / "pictures"
    pictures.mkdir()
    with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
        for index in range(24):
            path = pictures / f"{index}.png"
            Image.fromarray(rng.integers(0, 255, [12, 16, 3], np.uint8)).save(path)
            archive.write(path, path.name)
    np.savez(folder / "images.npz", images=rng.integers(0, 255, [24, 8, 8], np.uint8))
    for name, side in (("digit", 8), ("grey", 8), ("small", 2)):
        shape = [side, side] if name != "small" else [side, side, 3]
        Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(folder / f"{name}.png")
    (folder / "flags").mkdir()


def make_run(workdir):
    """A run that was trained before, in colour where it is one of CIFAR-10."""
    config = Config(
        dataset="digits",
        image_size=8,
        channels=3 if "cifar" in workdir else 1,
        workdir=workdir,
        **{"features": 2, "num_levels": 3, "num_steps_each": 1, "step_lr": 1e-4},
    )
    checkpoints.save_network(TinyNetwork(config), config, step=200)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    soak.use_tiny_network(monkeypatch.setattr)
    for module, _ in COMMANDS.values():
        module = importlib.import_module(f"ncsn_tf.commands.{module}")
        for start in ("start_tensorflow", "start_for_training", "start_for_sampling"):
            if hasattr(module, start):
                cpu = lambda *_, **__: tf.distribute.OneDeviceStrategy("/cpu:0")  # noqa: E731
                monkeypatch.setattr(module, start, cpu)
    monkeypatch.setattr(trained, "FITTING", trained.FITTING._replace(num_steps=4, batch_size=16))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    make_files(tmp_path, np.random.default_rng(0))
    return tmp_path


def marked(page):
    name = page.rpartition("/")[2].removesuffix(".md")
    return pytest.param(page, id=name, marks=[] if name in CHEAP else pytest.mark.slow)


@pytest.mark.parametrize("page", [marked(page) for page in GUIDES if RUN[page]])
def test_commands_of_a_guide_run(page, folder, capsys):
    for command in RUN[page]:
        words = small(command.ncsn)
        if words[0] not in ("train", "schedule", "merge", "import"):
            newest = "runs" if (folder / "runs").exists() else "runs/cifar10"
            workdir = value(words, "workdir") or newest
            if not (folder / workdir).exists():
                make_run(workdir)
        with pytest.raises(SystemExit) as end:
            run_command(run_named, ["ncsn", *words])
        assert not end.value.code, f"{command}\nas {words}\n{capsys.readouterr().err}"


def test_few_blocks_are_not_run():
    """What a test cannot run says why."""
    skipped = [one for page in GUIDES for one in commands(page) if one.skipped]
    assert all(len(one.skipped) >= len("as above") for one in skipped)
    assert sum(map(len, RUN.values())) > len([one for one in skipped if one.ncsn])
