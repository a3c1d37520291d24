"""Averages of any length by the commands: train --ema_power, and --ema of the others."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands_in_process import tiny_commands

from ncsn_tf.commands.evaluate import EvaluateOptions
from ncsn_tf.commands.export import ExportOptions
from ncsn_tf.commands.sample import SampleOptions
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.evaluation.features import FeatureNetwork
from ncsn_tf.evaluation.features.networks import NETWORKS
from ncsn_tf.evaluation.quality import history
from ncsn_tf.evaluation.report.quality import quality_part
from ncsn_tf.serving.metadata import read_metadata
from ncsn_tf.training.averages import average_of

TINY = ["--dataset=digits", "--workdir=run", "--features=2", "--num_levels=2", "--batch_size=8"]
TINY += ["--num_steps=12", "--sample_every=0", "--eval_every=0", "--noexport", "--sampling_tile=2"]
TINY += ["--num_steps_each=1", "--step_lr=1e-4", "--learning_rate=0.03", "--checkpoint_every=6"]
AVERAGES = ["--ema_power=0.05,0.1", "--ema_every=2"]


def halves(inception, config, data_dir, cache_dir):
    """Means of the upper and of the lower half of images."""

    def compute(batch):
        parts = [part.mean((1, 2, 3)) for part in np.array_split(batch, 2, axis=1)]
        return np.stack(parts, 1).astype(np.float32), None

    about = {"checksum": "0" * 16, "resize": "none", "channels": 0}
    return FeatureNetwork(compute, name="Halves", dimension=2, **about)


@pytest.fixture(scope="module")
def ncsn(tmp_path_factory):
    """(command, its flags) -> exit code of `ncsn`, in a folder with a run of few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "halves", halves)
        run = tiny_commands(patch, ("train", "sample", "export", "evaluate", "info", "report"))
        patch.chdir(tmp_path_factory.mktemp("ema"))
        assert run("train", *TINY, *AVERAGES) == 0
        yield run


def images(*flags):
    with np.load(flags[-1]) as arrays:
        return arrays["images"]


def test_samples_of_an_average(ncsn, capsys):
    assert len(list(Path.cwd().glob("run/averages/step-*.npz"))) == 6
    flags = ["--workdir=run", "--num_samples=2", "--format=npz"]
    drawn = {}
    for ema in ("", "0.07"):
        given = [f"--ema={ema}"] if ema else []
        assert ncsn("sample", *flags, *given, f"--out=drawn{ema}.npz") == 0
        said = capsys.readouterr().out
        assert ("average of length " + ema if ema else "weights of step 12") in said
        drawn[ema] = images(f"drawn{ema}.npz")
    assert len(np.unique([each.tobytes() for each in drawn.values()])) == 2


@pytest.mark.slow
def test_test_losses_of_lengths(ncsn, capsys):
    flags = ["--workdir=run", "--test_loss", "--num_images=16"]
    assert ncsn("evaluate", *flags, "--ema=0.05,0.1,0.075") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Loss ") and lines[0].endswith("average of length 0.05 of step 12")
    assert lines[3].split() == ["length", "Loss-test"]
    assert [line.split()[0] for line in lines[4:]] == ["0.05", "0.1", "0.075"]
    recorded = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    about = [(each["metric"], each["length"], each["step"], each["weights"]) for each in recorded]
    assert about == [
        ("test_loss", length, 12, f"average of length {length}") for length in (0.05, 0.1, 0.075)
    ]
    assert len({each["value"] for each in recorded}) == 3
    part = quality_part("run")
    assert part["count"] == 3 and part["charts"] == []


@pytest.mark.slow
def test_figures_of_lengths(ncsn, capsys):
    flags = ["--metrics=fid", "--features=halves", "--num_samples=10", "--copies=never"]
    before = len(history.read("run"))
    assert ncsn("evaluate", "--workdir=run", *flags, "--ema=0.05,0.15", "--checkpoint=10") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].split() == ["length", "FD-Halves-10"]
    assert [line.split()[0] for line in lines[-2:]] == ["0.05", "0.15"]
    figures = history.read("run")[before:]
    assert [(figure.length, figure.step) for figure in figures] == [(0.05, 10), (0.15, 10)]
    assert len(list(Path.cwd().glob("run/evaluation/samples-*"))) == 2


@pytest.mark.slow
def test_an_average_is_exported(ncsn, capsys):
    assert ncsn("export", "--workdir=run", "--ema=0.1") == 0
    folder = Path(capsys.readouterr().out.split()[-1])
    about = read_metadata(folder)
    assert (about.training_step, about.weights) == (12, "average of length 0.1")


def told(ncsn, capsys, folder):
    """({fact: [what `info` says]}, the data of the report's page) of a run."""
    assert ncsn("info", f"--workdir={folder}") == 0
    about = {}
    for line in capsys.readouterr().out.splitlines():
        name, _, fact = line.partition(" ")
        about.setdefault(name, []).append(fact.strip())
    parts = ("--nochain", "--noneighbors", "--noscores")
    assert ncsn("report", f"--workdir={folder}", *parts, "--out=page.html") == 0
    capsys.readouterr()
    data = Path("page.html").read_text().partition('type="application/json">')[2]
    return about, json.loads(data.partition("</script>")[0])


def test_what_a_run_has_is_told(ncsn, capsys):
    about, page = told(ncsn, capsys, "run")
    assert about["run"] == ["run, a training of 12 steps"]
    kept, bounds = about["averages"]
    assert kept == "lengths 0.05, 0.1, snapshots of steps 2, 4, 6, 8, 10, 12, 0.0 MB"
    assert page["averages"]["about"] == [kept, bounds]
    rows = page["averages"]["rows"]
    assert rows == [[str(step), "0.05, 0.1", "0.0 MB"] for step in (2, 4, 6, 8, 10, 12)]
    # They are the lengths that can be had.
    assert ncsn("sample", "--workdir=run", "--ema=0.28") == 1
    said = capsys.readouterr().err.partition("must be from ")[2].partition(":")[0]
    assert bounds == f"--ema={said.replace(' to ', ' to --ema=')} at step 12"


def test_files_that_cannot_be_used_are_a_line_each(ncsn, capsys):
    shutil.copytree("run", "spoilt")
    path = "spoilt/averages/step-{}.npz".format
    Path(path(2)).write_bytes(Path(path(4)).read_bytes()[:100])
    for step, wrong in [
        (4, {"lengths": np.array([np.nan, 0.0])}),
        (6, {"about": np.array([6, 0])}),
        (8, {"layout": np.array("0")}),
    ]:
        with np.load(path(step)) as arrays:
            np.savez(path(step), **{**arrays, **wrong})
    about, page = told(ncsn, capsys, "spoilt")
    what, removed = "is not a snapshot of averages", "; it must be removed before --ema is used"
    assert about["averages"][0].startswith("lengths 0.05, 0.1, snapshots of steps 10, 12, ")
    assert about["averages"][1].endswith(" at step 12")
    first, *others = about["averages"][2:]
    assert first.startswith(path(2)) and first.endswith(removed)
    said = [f"{path(step)} {what} of step {step}{removed}" for step in (4, 6)]
    other = f"{path(8)} is of another network than {{}}{removed}".format
    assert others == [*said, other("the newest snapshot")]
    assert page["averages"]["about"][3:] == [*said, other("the run's checkpoints")]
    with pytest.raises(UserError):
        average_of("spoilt", 0.07)
    for step in (2, 4, 6, 8):
        Path(path(step)).unlink()
    assert average_of("spoilt", 0.07).step == 12
    Path(path(10)).write_bytes(b"")
    Path(path(12)).write_bytes(b"")
    about, page = told(ncsn, capsys, "spoilt")
    assert len(about["averages"]) == 2 and page["averages"]["rows"] == []


def test_a_folder_without_a_run_is_one_line(ncsn, capsys):
    assert ncsn("info", "--workdir=elsewhere") == 1
    line = "error: elsewhere/config.json cannot be read: No such file or directory\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    "command, flags, message",
    [
        ("sample", ["--ema=0.1", "--checkpoint=7"], "has averages of steps 2, 4, 6, 8, 10, 12 ("),
        ("sample", ["--ema=0.28"], "--ema=0.28 must be from 0.0"),
        ("evaluate", ["--ema=0.1,0.28", "--test_loss"], "--ema=0.28 must be from 0.0"),
        ("export", ["--ema=0.001"], "up to step 12 give no shorter or longer average"),
    ],
)
def test_what_cannot_be_had_is_one_line(ncsn, capsys, command, flags, message):
    assert ncsn(command, "--workdir=run", *flags) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


@pytest.mark.slow
def test_runs_without_them(ncsn, capsys):
    assert ncsn("train", *TINY, "--workdir=plain", "--num_steps=1") == 0
    capsys.readouterr()
    assert ncsn("sample", "--workdir=plain", "--ema=0.1") == 1
    assert "plain has no averages" in capsys.readouterr().err
    shutil.copytree("run/averages", "plain/averages")  # another run's, which was in this folder
    about, page = told(ncsn, capsys, "plain")
    assert about["checkpoints"] == ["step 1"] and "averages" not in about
    assert page["averages"] is None
    shutil.rmtree("plain/averages")
    assert ncsn("train", *TINY, "--workdir=plain", "--num_steps=2", *AVERAGES) == 2
    assert "--ema_power: the run has , the command says 0.05,0.1" in capsys.readouterr().err


def test_by_python(ncsn):
    run = average_of("run", 0.06, 8)
    assert (run.step, run.length) == (8, 0.06)


@pytest.mark.parametrize(
    "kind, flags, message",
    [
        (SampleOptions, {"average": False}, "--average=false cannot be used with --ema=0.1"),
        (SampleOptions, {"saved_model": "a"}, "--ema=0.1 cannot be used with --saved_model: draw"),
        (SampleOptions, {"server": "a:1"}, "--ema=0.1 cannot be used with --server"),
        (SampleOptions, {"pretrained": "mnist"}, "--ema=0.1 cannot be used with --pretrained=mn"),
        (ExportOptions, {"average": False}, "--average=false cannot be used with --ema=0.1"),
        (ExportOptions, {"pretrained": "mnist"}, "--ema=0.1 cannot be used with --pretrained=mn"),
    ],
)
def test_flags_that_contradict_each_other(kind, flags, message):
    with pytest.raises(ConfigError) as error:
        kind(**flags, ema=0.1).validate()
    assert message in str(error.value)


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"metrics": "fid", "average": False}, "--average=false cannot be used with --ema=0.05"),
        ({"metrics": "fid", "samples": "a"}, "--ema=0.05,0.1 cannot be used with --samples=a"),
        ({"metrics": "fid", "saved_model": "a"}, "--ema=0.05,0.1 cannot be used with --saved_mo"),
        ({"sweep": "snr=0.1,0.2"}, "--ema=0.05,0.1 cannot be used with --sweep=snr"),
        ({"every_checkpoint": True}, "--ema=0.05,0.1 cannot be used with --every_checkpoint"),
        ({"bits_per_dim": True}, "--ema=0.05,0.1 must be one length with --bits_per_dim"),
    ],
)
def test_lists_of_lengths_that_contradict(flags, message):
    with pytest.raises(ConfigError) as error:
        EvaluateOptions(**flags, ema="0.05,0.1").validate()
    assert message in str(error.value)
