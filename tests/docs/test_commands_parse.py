"""Every command of every page is one that there is, with flags that it knows."""

import dataclasses
import importlib
import re
from types import SimpleNamespace

import pytest
from documented import PAGES, ROOT, commands

from benchmarks.run import OPTIONS
from ncsn_tf.commands.console import COMMANDS, run_named
from ncsn_tf.errors import UserError
from ncsn_tf.files import shipped
from ncsn_tf.settings import flags
from ncsn_tf.settings.config import Config

# Programs of others: nothing is known here of their flags.
OTHERS = {
    *("bash", "cp", "curl", "docker", "export", "gunzip", "kubectl", "pip", "pytest", "sbatch"),
    *("source", "tensorboard"),
}
SCRIPTS = ("scaling/launch.py", ".ci/requirements.py")  # with flags of train.py, or none

_STARTS = ("start_tensorflow", "start_for_training", "start_for_sampling", "start_gradio", "Server")


class Read(BaseException):
    """The flags were read; what follows is work."""


def _stop(*_, **__):
    raise Read


@pytest.fixture
def read(monkeypatch, tmp_path):
    """Reads the flags of a command of `ncsn`, checks them, and stops before the work."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    mine = tmp_path / "flags" / "mine.flags"  # which `ncsn schedule` writes
    mine.parent.mkdir()
    for module, _ in COMMANDS.values():
        module = importlib.import_module(f"ncsn_tf.commands.{module}")
        for start in _STARTS:
            if hasattr(module, start):
                monkeypatch.setattr(module, start, _stop)
        for check in (
            "check_inputs",
            "check_data_dir",
            "check_run",
        ):  # of files that the reader has
            if hasattr(module, check):
                monkeypatch.setattr(module, check, lambda *_: None)
    monkeypatch.setattr("ncsn_tf.commands.merge.check_places", _stop)
    monkeypatch.setattr("ncsn_tf.commands.info.Config", SimpleNamespace(load=_stop))

    def run(words):
        if words[0] == "train":
            mine.write_text("--dataset=digits\n--image_size=8\n")
        elif mine.exists():
            mine.unlink()
        if words[0] == "import":
            names = {word[2:].partition("=")[0] for word in words if word.startswith("--")}
            assert names <= {field.name for field in dataclasses.fields(Config)} | {"flagfile"}
            return  # the rest is known once the weights are read
        with pytest.raises(Read):
            run_named(["ncsn", *words])

    return run


def is_known(command):
    """Whether the program of a command is there, be it none of ours."""
    words = command.words
    if words[0] in OTHERS:
        return True
    if words[0] == "make":
        targets = re.findall(r"^([.\w/ -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        known = {name for line in targets for name in line.split()}
        return all(word in known for word in words[1:] if "=" not in word)
    if words[0] in ("python", ".venv/bin/python") and words[1] == "-m":
        module = words[2]
        return (
            module in ("build", "pytest")
            or (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()
        )
    return words[0] == "python" and words[1] in SCRIPTS


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_are_known_with_their_flags(page, read):
    for command in commands(page):
        if command.ncsn is None:
            assert is_known(command), command
        elif command.ncsn:
            try:
                read(command.ncsn)
            except UserError as error:
                raise AssertionError(f"{command}: {error}") from None


BENCHMARKS = [
    command
    for page in PAGES
    for command in commands(page)
    if command.words[:2] == ["python", "-m"] and command.words[2].startswith("benchmarks.")
]


@pytest.mark.parametrize("command", BENCHMARKS, ids=str)
def test_benchmarks_are_known_with_their_flags(command):
    name, *given = command.words[2:]
    if name == "benchmarks.run":
        flags.parse_options(given, OPTIONS[given[0]])
    elif hasattr(importlib.import_module(name), "BenchmarkOptions"):
        flags.parse_options([name, *given], importlib.import_module(name).BenchmarkOptions)


def test_a_misspelt_flag_is_found(read):
    with pytest.raises(UserError, match="fetures"):
        read(["train", "--dataset=digits", "--fetures=3"])
    with pytest.raises(UserError, match="not a command"):
        read(["trian"])


@pytest.mark.parametrize("page", PAGES)
def test_flagfiles_that_are_named_are_there(page):
    for command in commands(page):
        for word in command.words:
            name = word.removeprefix("--flagfile=")
            if name != word and "/" not in name:
                assert (shipped("flags") / f"{name}.flags").is_file(), command
