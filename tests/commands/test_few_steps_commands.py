"""Solvers of few steps by the commands: sample grids of training, samples, shards, exports."""

from pathlib import Path

import numpy as np
import pytest
from commands_in_process import tiny_commands

TINY = ["--dataset=digits", "--workdir=run", "--features=2", "--num_levels=3", "--batch_size=4"]
TINY += ["--num_steps=2", "--sample_every=2", "--num_sample_images=2", "--eval_every=0"]
TINY += ["--noexport", "--model=ncsnv2", "--denoise", "--sampling_tile=2", "--num_evaluations=4"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ncsn(tmp_path_factory):
    """(command, its flags) -> exit code of `ncsn`, in a folder with a run of few steps."""
    with pytest.MonkeyPatch.context() as patch:
        run = tiny_commands(patch, ("train", "sample", "export"))
        patch.chdir(tmp_path_factory.mktemp("few"))
        assert run("train", *TINY, "--sampler=dpm_sde") == 0
        yield run


def images(path):
    with np.load(path) as arrays:
        return arrays["images"]


def test_grids_samples_shards_and_exports_are_alike(ncsn, capsys):
    assert len(list(Path.cwd().glob("run/samples/*.png"))) == 1
    flags = ["--workdir=run", "--num_samples=5", "--format=npz"]
    assert ncsn("sample", *flags, "--out=all.npz") == 0
    assert "4 network evaluations an image" in capsys.readouterr().out
    drawn = images("all.npz")
    assert len(np.unique(drawn.reshape(5, -1), axis=0)) == 5
    for part in ("0/2", "1/2"):
        shard = [f"--shard={part}", "--block=2", "--num_samples=5", "--out=parts"]
        assert ncsn("sample", "--workdir=run", *shard) == 0
    blocks = sorted(Path.cwd().glob("parts/*.npz"))
    np.testing.assert_array_equal(np.concatenate([images(path) for path in blocks]), drawn)
    assert ncsn("export", "--workdir=run") == 0
    assert ncsn("sample", "--saved_model=run/export", "--num_samples=5", *flags[2:]) == 0
    np.testing.assert_array_equal(images("samples.npz"), drawn)
    for source, out in (("--saved_model=run/export", "a.npz"), ("--workdir=run", "b.npz")):
        assert ncsn("sample", source, "--num_evaluations=3", *flags[1:], f"--out={out}") == 0
        assert "3 network evaluations an image" in capsys.readouterr().out
    np.testing.assert_array_equal(images("a.npz"), images("b.npz"))
    auto = ["--sampler=auto", "--num_steps_each=1", "--num_samples=1", "--out=auto.png"]
    assert ncsn("sample", "--workdir=run", *auto) == 0
    said = "sampler auto: ald (sigma_1 = 1, and 1.2 would hide where a chain of few steps starts)"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("sampler", ["dpm", "heun", "ode"])
def test_two_seeds_are_interpolated_from_image_to_image(sampler, ncsn):
    few = [] if sampler == "ode" else ["--num_evaluations=5"]
    flags = ["--workdir=run", f"--sampler={sampler}", *few, "--ode_tolerance=0.1", "--format=npz"]
    seeds = ["--interpolate=4,6", "--num_samples=5", "--batch_size=2", "--out=between.npz"]
    assert ncsn("sample", *flags, *seeds) == 0
    assert ncsn("sample", *flags, "--seed=4", "--num_samples=3", "--out=ends.npz") == 0
    between, ends = images("between.npz"), images("ends.npz")
    np.testing.assert_array_equal(between[[0, -1]], ends[[0, -1]])
    assert len(np.unique(between.reshape(5, -1), axis=0)) == 5


@pytest.mark.parametrize(
    "flags, line",
    [
        (["--sampler=heun", "--num_evaluations=2"], "--num_evaluations=2 must be at least 3, the"),
        (["--schedule=linear"], "--schedule=linear must be karras or geometric or ladder"),
        (["--rho=0.5"], "--rho=0.5 must be at least 1"),
        (["--num_evaluations=0"], "--num_evaluations=0 must be at least 1"),
        (
            ["--interpolate=1,2"],
            "--interpolate needs --sampler=ald, pc, ode, dpm, or heun or euler",
        ),
        (["--sampler=dpm++"], "--sampler=dpm++ must be ald or cas or "),
    ],
)
def test_what_is_wrong_is_one_line(flags, line, ncsn, capsys):
    capsys.readouterr()
    assert ncsn("sample", "--workdir=run", *flags) == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith(f"error: {line}") and "\n" not in printed
