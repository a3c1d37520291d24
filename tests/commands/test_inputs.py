"""Files that a command is to read: one that is not there is said before TensorFlow starts."""

import dataclasses
import importlib
import json
from pathlib import Path

import pytest

from ncsn_tf.commands.console import COMMANDS, run_command
from ncsn_tf.settings.config import Config

# Paths that need not be there: what is written, folders that are made or looked for, and data,
# whose place depends on the data set.
OTHERS = {"out", "movie", "write", "painted", "workdir", "cache_dir", "data_dir"}
# What a flag needs beside it.
WITH = {
    ("sample", "mask"): ["--inpaint=here"],
    ("sample", "classifier"): ["--label=3"],
    ("export", "classifier"): ["--conditional"],
    **{
        ("evaluate", name): ["--metrics"]
        for name in ("saved_model", "samples", "features", "inception", "reference")
    },
}


def options_of(command):
    """The dataclass of a command's flags."""
    if command in ("train", "import"):
        return Config
    module = importlib.import_module(f"ncsn_tf.commands.{COMMANDS[command][0]}")
    names = [name for name in vars(module) if name.endswith("Options") and name != "ChainOptions"]
    own = [getattr(module, name) for name in names]
    return max(own, key=lambda kind: len(dataclasses.fields(kind)))


def inputs():
    for command in COMMANDS:
        for field in dataclasses.fields(options_of(command)):
            if command != "import" and field.metadata["reads"] is not None:
                yield command, field.name


@pytest.mark.parametrize("command", COMMANDS)
def test_each_path_is_one_that_is_read_or_one_that_need_not_be_there(command):
    for field in dataclasses.fields(options_of(command)):
        if field.metadata["path"]:
            is_input = field.metadata["reads"] is not None
            assert is_input != (field.name in OTHERS), f"--{field.name} of ncsn {command}"


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """(command, its flags) -> (exit code, stderr) of a command that must not start TensorFlow."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()

    def said(command, *flags):
        module = importlib.import_module(f"ncsn_tf.commands.{COMMANDS[command][0]}")
        for start in ("start_tensorflow", "start_for_training", "start_for_sampling"):
            if hasattr(module, start):
                monkeypatch.setattr(
                    module, start, lambda *_, **__: pytest.fail("TensorFlow starts")
                )
        with pytest.raises(SystemExit) as end:
            run_command(module.main, [f"ncsn {command}", *flags])
        return end.value.code, capsys.readouterr().err

    return said


@pytest.mark.parametrize("command, name", list(inputs()))
def test_a_file_that_is_not_there_is_one_line(command, name, said):
    flags = [*WITH.get((command, name), []), f"--{name}=gone/none.png"]
    code, line = said(command, *flags)
    assert line.startswith(f"error: --{name}=gone/none.png is not a file or a folder")
    assert code == 1 and line.count("\n") == 1


@pytest.mark.parametrize(
    "command, flags, line",
    [
        (
            "sample",
            ["--inpaint=here", "--mask=none.png"],
            "--mask=none.png is not a file or a folder, nor one of left, right, top, bottom, ",
        ),
        ("evaluate", ["--metrics", "--features=a.keras"], "--features=a.keras is not a file or a"),
        ("import", ["none.pth", "out"], "none.pth is not a file"),
        ("train", ["--dataset=mnist", "--data_dir=none"], "--data_dir=none is not a folder"),
        *(
            (
                command,
                ["--dataset=image_folder", "--image_size=8", "--data_dir=none"],
                "--data_dir=none is not a folder, nor a .zip or a .tar",
            )
            for command in ("train", "schedule")
        ),
        (
            "classifier",
            ["--dataset=arrays", "--data_dir=none.npz"],
            "--data_dir=none.npz is not a .npy or an .npz",
        ),
    ],
)
def test_other_words_of_it(command, flags, line, said):
    code, told = said(command, *flags)
    assert code == 1 and told.startswith(f"error: {line}") and told.count("\n") == 1


@pytest.mark.parametrize(
    "command, flags",
    [
        ("sample", ["--inpaint=here", "--mask=top"]),
        ("sample", ["--saved_model"]),
        ("evaluate", ["--metrics", "--features=inception", "--samples=here"]),
        ("train", ["--data_dir=.", "--metric_features=train"]),
        ("train", ["--dataset=digits", "--data_dir=none"]),
        ("train", ["--data_dir=gs://none/data"]),
    ],
)
def test_what_is_there_or_is_a_name_is_taken(command, flags, said):
    with pytest.raises(pytest.fail.Exception, match="TensorFlow starts"):
        said(command, *flags)


@pytest.mark.parametrize("command", ["sample", "export", "report", "neighbors", "classifier"])
def test_a_run_that_is_not_there_is_one_line(command, said):
    line = "error: gone/run holds no checkpoint: train first, or name another --workdir\n"
    assert said(command, "--workdir=gone/run") == (1, line)


@pytest.mark.parametrize(
    "command, flags, is_read",
    [
        ("sample", ["--saved_model"], True),
        ("sample", ["--saved_model=here"], False),
        ("evaluate", ["--test_loss"], True),
        ("evaluate", ["--every_checkpoint"], True),
        ("evaluate", ["--metrics", "--saved_model"], True),
        ("evaluate", ["--metrics", "--samples=here"], True),
        # A folder for figures, which is made.
        ("evaluate", ["--metrics", "--saved_model=here"], False),
        ("evaluate", ["--metrics", "--samples=here", "--reference=here"], False),
    ],
)
def test_a_workdir_that_is_not_read_need_not_be_there(command, flags, is_read, said):
    if is_read:
        assert said(command, *flags, "--workdir=gone")[1].startswith("error: gone holds no check")
        return
    with pytest.raises(pytest.fail.Exception, match="TensorFlow starts"):
        said(command, *flags, "--workdir=gone")


OF_DATA = [["evaluate", "--test_loss"], ["report"], ["neighbors"], ["classifier"]]


@pytest.mark.parametrize("flags", [*OF_DATA, ["evaluate", "--pretrained=mnist", "--metrics"]])
def test_data_of_a_run_that_are_not_there_are_one_line(flags, said):
    """Of the newest run it is known which data sets the runs are of."""
    if "--pretrained=mnist" in flags:
        assert said(*flags, "--data_dir=gone")[1] == "error: --data_dir=gone is not a folder\n"
        return
    own = {"data_dir": "moved", "image_size": 8}
    Config(dataset="image_folder", **own).save(Path("runs/a/config.json"))
    line = "error: --data_dir=gone is not a folder, nor a .zip or a .tar\n"
    assert said(*flags, "--data_dir=gone", "--workdir=runs/a") == (1, line)
    assert said(*flags, "--data_dir=gone") == (1, line)
    Config(dataset="arrays", **own).save(Path("runs/b/config.json"))
    assert (
        said(*flags, "--data_dir=gone")[1] == "error: --data_dir=gone is not a file or a folder\n"
    )


@pytest.mark.parametrize("flags", OF_DATA)
@pytest.mark.parametrize(
    "dataset, place",
    [("digits", "--data_dir=gone"), ("mnist", "--data_dir=gs://gone/data"), ("mnist", "--seed=1")],
)
def test_data_of_a_run_that_need_not_be_there(dataset, place, flags, said):
    if flags == ["report"] and place == "--seed=1":
        place = "--chain"
    Config(dataset=dataset, image_size=8, channels=1, data_dir="gone").save(Path("a/config.json"))
    with pytest.raises(pytest.fail.Exception, match="TensorFlow starts"):
        said(*flags, place, "--workdir=a")


def test_data_of_a_run_that_is_not_known(said):
    Path("runs/other").mkdir(parents=True)
    Path("runs/other/config.json").write_text("{}}")
    with pytest.raises(pytest.fail.Exception, match="TensorFlow starts"):
        said("neighbors", "--data_dir=gone")


@pytest.mark.parametrize("flags", [[], ["--dataset=cifar10"], ["--flagfile=cifar10_ncsnv2"]])
def test_a_data_set_that_nobody_named_is_said(flags, said, capsys):
    with pytest.raises(pytest.fail.Exception, match="TensorFlow starts"):
        said("train", *flags)
    line = "Data set cifar10, for none was named; of others say --dataset=mnist, or --dataset="
    assert capsys.readouterr().out.startswith(line) == (not flags)


@pytest.mark.parametrize("flag", ["--data_dir=none", "--inception=none.pb"])
def test_a_worker_does_not_end_before_the_others_have_heard_of_it(flag, said, monkeypatch):
    """They would wait for it; a single process says at once what is missing."""
    flags = ["--dataset=mnist", "--metric_every=1", flag]
    assert said("train", *flags)[0] == 1
    cluster = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}
    task = {"type": "worker", "index": 1}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    with pytest.raises(pytest.fail.Exception, match="TensorFlow starts"):
        said("train", *flags)


def test_flags_that_contradict_each_other_are_said_first(said):
    code, line = said("sample", "--inpaint=none.png", "--colorize=none.png")
    assert (code, line[:40]) == (2, "error: --colorize=none.png cannot be use")
