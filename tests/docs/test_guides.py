"""The commands of the guides, run in their order, with a network of a few weights.

A page's commands run in a folder of its own with pictures and arrays in it. A run that a command
wants and that no command before it has trained is there already. Flags that make the work small are
added at the end, where they win.
"""

import importlib
import json
import shutil
import subprocess

import guide_world
import numpy as np
import pytest
import tensorflow as tf
from documented import PAGES, commands

from ncsn_tf.backend.choices import THIRD_MODELS
from ncsn_tf.commands.console import COMMANDS, run_command, run_named
from ncsn_tf.evaluation.features import trained

GUIDES = [page for page in PAGES if page.startswith("docs/guides/")]
BENCHMARK = ["python", "-m", "benchmarks.fewsteps"]


def can_run(command):
    """Whether it is one of ours, or asks a server."""
    ours = command.ncsn or command.words[0] == "curl" or command.words[:3] == BENCHMARK
    return bool(ours) and not command.skipped


def is_of_a_trained_network(command):
    """Whether it wants a network of zoo/: of full size, so that it takes longer."""
    return any(word.startswith("--pretrained") for word in command.words)


RUN = {page: [one for one in commands(page) if can_run(one)] for page in GUIDES}
OF_TRAINED = [one for page in GUIDES for one in RUN[page] if is_of_a_trained_network(one)]
# Those that run at every change; the others take longer together.
CHEAP = {"sampling", "serving"}
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
OF_BENCHMARK = [
    *("--num_samples=4", "--evaluations=3", "--long=3", "--samplers=ald,dpm_sde"),
    "--schedules=karras",
]
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
        dataset = value(words, "dataset") or own or value(words, "model")
        flags = list(OF_TRAIN)
        if any(model in word for model in THIRD_MODELS for word in words):
            flags = [flag for flag in OF_TRAIN if "sigma" not in flag] + guide_world.THIRD
        if dataset not in HERE and "/" not in dataset:
            flags += ["--dataset=digits", "--channels=1"]
            if not value(words, "workdir"):
                flags.append(f"--workdir=runs/{dataset}")
        if value(words, "metric_every"):
            flags += ["--metric_every=2", "--metric_samples=10"]
        return [*words, *flags]
    if name == "import" and value(words, "sde"):  # the file in tests/golden is of another equation
        return [*words, "--sde=ve", "--image_size=16"]
    if name == "sample" and value(words, "interpolate"):
        return words
    if name == "sample" and value(words, "pretrained") == "mnist-ncsn":
        return [*words, "--num_samples=2", "--num_steps_each=1"]
    if name == "sample" and not value(words, "shard"):
        return [*words, "--num_samples=2"]
    if name == "evaluate" and value(words, "sweep"):
        setting = value(words, "sweep").partition("=")[0]
        words = [*words, f"--sweep={setting}={SWEPT[setting]}"]
    if name == "evaluate" and any("metrics" in word or "features" in word for word in words):
        return [*words, "--num_samples=8", "--num_images=16"]
    return [*words, *SMALL.get(name, [])]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    guide_world.use_guide_network(monkeypatch.setattr)
    for module, _ in COMMANDS.values():
        module = importlib.import_module(f"ncsn_tf.commands.{module}")
        for start in ("start_tensorflow", "start_for_training", "start_for_sampling"):
            if hasattr(module, start):
                cpu = lambda *_, **__: tf.distribute.OneDeviceStrategy("/cpu:0")  # noqa: E731
                monkeypatch.setattr(module, start, cpu)
    monkeypatch.setattr(trained, "FITTING", trained.FITTING._replace(num_steps=4, batch_size=16))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    guide_world.make_files(tmp_path, np.random.default_rng(0))
    return tmp_path


def marked(page):
    name = page.rpartition("/")[2].removesuffix(".md")
    return pytest.param(page, id=name, marks=[] if name in CHEAP else pytest.mark.slow)


def run(command, folder, capsys):
    """A command with small sizes, and with what it wants."""
    with guide_world.server_of(
        command.words if not command.ncsn else command.ncsn, folder
    ) as words:
        if words[0] == "curl":
            if not shutil.which("curl"):
                pytest.skip("curl is not installed")
            words = ["curl", "--noproxy", "*", *words[1:]]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
            assert len(json.loads(done.stdout)["predictions"]) == 3
            return
        if words[:3] == BENCHMARK:
            make_run_for(words, folder)
            importlib.import_module(words[2]).main([words[2], *words[3:], *OF_BENCHMARK])
            return
        words = small(words)
        if words[0] not in ("train", "schedule", "merge", "import") and not value(words, "server"):
            make_run_for(words, folder)
        with pytest.raises(SystemExit) as end:
            run_command(run_named, ["ncsn", *words])
        assert not end.value.code, f"{command}\nas {words}\n{capsys.readouterr().err}"


def make_run_for(words, folder):
    """The run that a command wants, where none before it has trained one."""
    newest = "runs" if (folder / "runs").exists() else "runs/cifar10"
    workdir = value(words, "workdir") or newest
    if not (folder / workdir).exists():
        guide_world.make_run(workdir)


@pytest.mark.parametrize("page", [marked(page) for page in GUIDES if RUN[page]])
def test_commands_of_a_guide_run(page, folder, capsys):
    if "ncsn import" in " ".join(" ".join(one.words[:2]) for one in RUN[page]):
        pytest.importorskip("torch")
    for command in RUN[page]:
        if not is_of_a_trained_network(command):
            run(command, folder, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("command", OF_TRAINED, ids=str)
def test_commands_of_a_trained_network_run(command, folder, capsys):
    run(command, folder, capsys)


def test_few_blocks_are_not_run():
    """What a test cannot run says why."""
    skipped = [one for page in GUIDES for one in commands(page) if one.skipped]
    assert all(len(one.skipped) >= len("as above") for one in skipped)
    assert sum(map(len, RUN.values())) > len([one for one in skipped if one.ncsn])
