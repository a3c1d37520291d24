"""No room, no permission, a quota: one line with the path, what was there stays, it goes on later.

The largest file that a command may write is limited, which fails in the middle of a file as a full
disk does; a real small disk is filled where one can be mounted.
"""

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


def writers():
    """The names of `WRITERS`, as parameters of tests."""
    others = [name for name in WRITERS if name not in IN_EVERY_RUN]
    return [*IN_EVERY_RUN, *(pytest.param(name, marks=pytest.mark.slow) for name in others)]


def assert_stopped(done, before, folder, place):
    """In one line that names the place, and nothing is there that was not there before."""
    assert place in runs.one_line(done)
    assert runs.contents(folder) == before


@pytest.mark.parametrize("writer", writers())
def test_a_full_disk(writer, command_server, run, tmp_path):
    argv, place = WRITERS[writer]
    before = runs.contents(tmp_path)
    done = command_server.run([runs.NCSN, *argv], cwd=tmp_path, fsize=100)
    assert_stopped(done, before, tmp_path, place)


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_when_there_is_room_again(writer, command_server, run, tmp_path):
    argv, place = WRITERS[writer]
    command_server.run([runs.NCSN, *argv], cwd=tmp_path, fsize=100)
    done = command_server.run([runs.NCSN, *argv], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert any(name.startswith(place) for name in runs.contents(tmp_path))


# In bytes: no file at all, the run's settings but no checkpoint, half a checkpoint.
@pytest.mark.parametrize(
    "fsize", [2000, *(pytest.param(size, marks=pytest.mark.slow) for size in (0, 200, 1000))]
)
def test_training_on_a_full_disk(fsize, command_server, undisturbed, tmp_path):
    done = command_server.run(runs.train("run", runs.NUM_STEPS), cwd=tmp_path, fsize=fsize)
    assert "run" in runs.one_line(done)
    done = command_server.run(runs.train("run", runs.NUM_STEPS), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs.assert_undisturbed(tmp_path / "run", undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("fsize", [0, 2000])
def test_training_on_from_a_full_disk(fsize, command_server, run, tmp_path):
    """The steps before are kept; with room, it goes on to what it would have been."""
    on = runs.train("run", runs.NUM_STEPS + 10)
    shutil.copytree(run, tmp_path / "other")
    before = {name: data for name, data in runs.contents(run).items() if "checkpoints/" in name}
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


@pytest.mark.parametrize("writer", writers())
def test_a_folder_without_permission(writer, command_server, run, tmp_path):
    argv, place = WRITERS[writer]
    before = runs.contents(tmp_path)
    folders = [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        done = command_server.run([runs.NCSN, *argv], cwd=tmp_path, unprivileged=True)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert_stopped(done, before, tmp_path, place)


@pytest.mark.slow
def test_training_into_a_folder_without_permission(command_server, run, tmp_path):
    argv = runs.train("run", runs.NUM_STEPS + 10)
    before = runs.contents(tmp_path)
    folders = [run, *(path for path in run.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        done = command_server.run(argv, cwd=tmp_path, unprivileged=True)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert_stopped(done, before, tmp_path, "run")


@pytest.mark.parametrize("kind", ["a file in its way", "a folder in its place", "/proc"])
@pytest.mark.slow
def test_places_that_no_file_can_have(kind, command_server, run, tmp_path):
    (tmp_path / "file").write_text("mine")
    for ending in (".png", ".json", ".npz", ".html"):
        (tmp_path / f"folder{ending}" / "inner").mkdir(parents=True)
    place = {"a file in its way": "file/a", "a folder in its place": "folder", "/proc": "/proc/a"}
    before = runs.contents(tmp_path)
    for argv in (
        ["sample", "--workdir=run", "--num_samples=1", f"--out={place[kind]}.png"],
        ["evaluate", "--workdir=run", "--bits_per_dim", f"--out={place[kind]}.json"],
        ["classifier", "--workdir=run", "--num_steps=1", f"--out={place[kind]}.npz"],
        ["report", "--workdir=run", f"--out={place[kind]}.html"],
        runs.train(f"{place[kind]}", 4)[1:],
    ):
        if kind == "a folder in its place" and argv[0] == "train":
            continue  # a run can be in an empty folder
        done = command_server.run([runs.NCSN, *argv], cwd=tmp_path)
        assert_stopped(done, before, tmp_path, place[kind])


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
