"""No room, no permission, a quota: one line with the path, what was there stays, it goes on later.

The largest file that a command may write is limited, which fails in the middle of a file as a full
disk does; a real small disk is filled where one can be mounted.
"""

import contextlib
import errno
import os
import shutil
import subprocess

import pytest
import runs

from ncsn_tf import files
from ncsn_tf.errors import UserError

# What a command writes: its arguments, and the files below its folder that its line may name.
WRITERS = {
    "export": (["export", "--workdir=run"], "run/export"),
    "a grid": (["sample", "--workdir=run", "--num_samples=9", "--out=grid.png"], "grid.png"),
    "pictures": (["sample", "--workdir=run", "--num_samples=2", "--format=png"], "samples"),
    "arrays": (["sample", "--workdir=run", "--num_samples=9", "--format=npz"], "samples.npz"),
    "a movie": (["sample", "--workdir=run", "--num_samples=2", "--movie=m.gif"], "m.gif"),
    "a report": (["report", "--workdir=run"], "run/report.html"),
    "likelihoods": (
        ["evaluate", "--workdir=run", "--bits_per_dim", "--num_images=1", "--ode_tolerance=0.5"],
        "run/evaluation/bits_per_dim",
    ),
    "a flagfile": (["schedule", "--dataset=digits", "--write=new.flags"], "new.flags"),
    "a classifier": (
        ["classifier", "--workdir=run", "--num_steps=1", "--features=2"],
        "run/classifier.npz",
    ),
    "neighbours": (["neighbors", "--workdir=run", "--num_samples=1"], "neighbors."),
    "toy pictures": (["toy", "--num_steps=1", "--num_samples=2", "--out=toy"], "toy"),
}
IN_EVERY_RUN = ("a grid", "a flagfile")  # the others take longer
# Each in one process: what is tested is what a command does, and not its start.
WHICH = pytest.mark.parametrize(
    "names",
    [
        pytest.param(IN_EVERY_RUN, id="some"),
        pytest.param(
            [name for name in WRITERS if name not in IN_EVERY_RUN],
            id="others",
            marks=pytest.mark.slow,
        ),
    ],
)


@contextlib.contextmanager
def without_permission(top):
    """No folder in a folder can be written to, nor the folder itself."""
    folders = [top, *(path for path in top.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        yield
    finally:
        for folder in folders:
            folder.chmod(0o755)


def assert_all_stopped(names, ends, before, folder):
    """Each in one line that names its place, and nothing is there that was not there before."""
    for name, done in zip(names, ends, strict=True):
        assert WRITERS[name][1] in runs.one_line(done), name
    assert runs.contents(folder) == before


@WHICH
def test_a_full_disk(names, command_server, run, tmp_path):
    """And room again."""
    commands = [WRITERS[name][0] for name in names]
    before = runs.contents(tmp_path)
    ends = runs.in_turn(command_server, commands, tmp_path, fsize=100)
    assert_all_stopped(names, ends, before, tmp_path)
    if names is IN_EVERY_RUN:
        return
    # Room for the file that says who measures, and not for what is measured.
    ends = runs.in_turn(command_server, [WRITERS["likelihoods"][0]], tmp_path, fsize=400)
    assert_all_stopped(["likelihoods"], ends, before, tmp_path)
    for name, done in zip(names, runs.in_turn(command_server, commands, tmp_path), strict=True):
        assert done.returncode == 0, (name, done.stderr)
        assert any(file.startswith(WRITERS[name][1]) for file in runs.contents(tmp_path)), name


@WHICH
def test_a_folder_without_permission(names, command_server, run, tmp_path):
    commands = [WRITERS[name][0] for name in names]
    before = runs.contents(tmp_path)
    with without_permission(tmp_path):
        ends = runs.in_turn(command_server, commands, tmp_path, unprivileged=True)
    assert_all_stopped(names, ends, before, tmp_path)


# In bytes: no file at all, no settings of the run, no checkpoint.
@pytest.mark.parametrize(
    "sizes", [[2000], pytest.param([0, 1000], marks=pytest.mark.slow)], ids=str
)
def test_training_on_a_full_disk(sizes, command_server, undisturbed, tmp_path):
    for fsize in sizes:
        done = command_server.run(runs.train("run", runs.NUM_STEPS), cwd=tmp_path, fsize=fsize)
        assert "run" in runs.one_line(done)
    done = command_server.run(runs.train("run", runs.NUM_STEPS), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs.assert_undisturbed(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_training_on_from_a_full_disk(command_server, run, tmp_path):
    """The steps before are kept; with room, it goes on to what it would have been."""
    on = runs.train("run", runs.NUM_STEPS + 10)
    shutil.copytree(run, tmp_path / "other")
    before = {name: data for name, data in runs.contents(run).items() if "checkpoints/" in name}
    for fsize in (0, 2000):
        assert "run" in runs.one_line(command_server.run(on, cwd=tmp_path, fsize=fsize))
        assert {name: runs.contents(run)[name] for name in before} == before
    assert command_server.run(on, cwd=tmp_path).returncode == 0
    other = [flag.replace("--workdir=run", "--workdir=other") for flag in on]
    assert command_server.run(other, cwd=tmp_path).returncode == 0
    runs.assert_undisturbed(run, tmp_path / "other")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 300 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
    if os.getuid() or shutil.which("mount") is None or subprocess.run(mount).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_during_training(command_server, small_disk, undisturbed, tmp_path):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(200_000))
    argv = runs.train("disk/run", runs.NUM_STEPS, "--keep_checkpoints=50")
    done = command_server.run(argv, cwd=tmp_path)
    assert "disk/run" in runs.one_line(done)
    filler.unlink()
    for path in (small_disk / "run" / "tensorboard").iterdir():
        path.unlink()
    done = command_server.run(runs.train("disk/run", runs.NUM_STEPS), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs.assert_undisturbed(small_disk / "run", undisturbed)


@pytest.mark.slow
def test_training_into_a_folder_without_permission(command_server, run, tmp_path):
    before = runs.contents(tmp_path)
    with without_permission(run):
        argv = runs.train("run", runs.NUM_STEPS + 10)
        done = command_server.run(argv, cwd=tmp_path, unprivileged=True)
    assert "run" in runs.one_line(done)
    assert runs.contents(tmp_path) == before


@pytest.mark.slow
def test_places_that_no_file_can_have(command_server, run, tmp_path):
    """A file in its way, a folder in its place, a file system that takes none."""
    (tmp_path / "file").write_text("mine")
    for ending in (".png", ".json", ".npz", ".html"):
        (tmp_path / f"folder{ending}" / "inner").mkdir(parents=True)
    places, commands = [], []
    for place in ("file/a", "folder", "/proc/a"):
        here = [
            ["sample", "--workdir=run", "--num_samples=1", f"--out={place}.png"],
            ["evaluate", "--workdir=run", "--bits_per_dim", f"--out={place}.json"],
            ["classifier", "--workdir=run", "--num_steps=1", f"--out={place}.npz"],
            ["report", "--workdir=run", f"--out={place}.html"],
        ]
        if place != "folder":  # a run can be in an empty one
            here.append(runs.train(place, 4)[1:])
        commands += here
        places += [place] * len(here)
    before = runs.contents(tmp_path)
    ends = runs.in_turn(command_server, commands, tmp_path)
    for place, done in zip(places, ends, strict=True):
        assert place in runs.one_line(done), done.args
    assert runs.contents(tmp_path) == before


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", ["replace", "open"])
def test_a_quota(call, number, monkeypatch, tmp_path):
    """The line says which; the file that was there is whole, and nothing is beside it."""
    path = tmp_path / "a.npz"
    files.save_arrays(path, {"a": [1]})
    before = path.read_bytes()

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(*(("os.replace",) if call == "replace" else ("builtins.open",)), refuse)
        with pytest.raises(UserError) as error:
            files.save_arrays(path, {"a": [2]})
    assert str(error.value) == f"{path} cannot be written: {os.strerror(number)}"
    assert os.listdir(tmp_path) == ["a.npz"]
    assert path.read_bytes() == before
