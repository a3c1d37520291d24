"""SIGKILL at the worst moments: what was finished stays, and the next command goes on with it."""

import random
import signal
import time

import numpy as np
import pytest
import runs
import tensorflow as tf
from killer import (
    CHECKPOINT_MOMENTS,
    FILE_MOMENTS,
    Watch,
    kill_at,
    killed_at,
    train_through_kills,
)


def test_a_killed_run_resumes_to_the_same_bits(command_server, undisturbed, tmp_path):
    assert train_through_kills(command_server, tmp_path, 2, random.Random(0)) == 2
    runs.assert_undisturbed(tmp_path / "run", undisturbed)


def test_the_watch_sees_the_same_with_and_without_inotify(tmp_path):
    for poll in (False, True):
        folder = tmp_path / str(poll)
        folder.mkdir()
        (folder / "old").write_text("")
        with Watch(folder, poll) as watch:
            assert watch.events(0.01) == []
            (folder / "new").write_text("")
            assert watch.events(5) == [("new", "new")]
            (folder / "old").unlink()
            assert watch.events(5) == [("gone", "old")]


@pytest.mark.slow
def test_an_export_appears_whole_or_not_at_all(command_server, run, tmp_path):
    command = [runs.NCSN, "export", "--workdir=run"]
    for index, delay in enumerate((0, 0.01, 0.1, 0.3)):
        name = ("begun", "begun", "begun", "in place")[index]
        place = run / "export"
        ended = killed_at(command_server, command, tmp_path, place, FILE_MOMENTS[name], 1, delay)
        assert ended in (True, 0)
        for version in place.glob("[0-9]*"):
            assert "serving_default" in tf.saved_model.load(str(version)).signatures
    before = len(list((run / "export").glob("[0-9]*")))
    done = command_server.run(command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (run / "export").iterdir())
    assert names == [str(number) for number in range(1, before + 2)]
    other = command_server.run([*command[:2], "--workdir=run"], cwd=tmp_path)
    assert other.returncode == 0
    runs.assert_same_variables(run / "export" / names[-1], run / "export" / str(before + 2))


@pytest.mark.slow
def test_single_pictures_are_whole(command_server, run, tmp_path):
    command = [runs.NCSN, "sample", "--workdir=run", "--format=png", "--num_samples=40"]
    command += ["--batch_size=2", "--out=pictures"]
    done = command_server.run([*command[:-1], "--out=expected"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = {path.name: path.read_bytes() for path in (tmp_path / "expected").iterdir()}
    for name in ("begun", "in place", "in place"):
        place = tmp_path / "pictures"
        killed_at(command_server, command, tmp_path, place, FILE_MOMENTS[name], 3)
        for path in place.glob("[!.]*"):
            assert path.read_bytes() == expected[path.name]
    runs.a_minute_later(place)
    done = command_server.run(command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}
    assert found == expected


@pytest.mark.slow
def test_an_evaluation_goes_on_where_it_was_killed(command_server, run, tmp_path):
    command = [runs.NCSN, "evaluate", "--bits_per_dim", "--workdir=run", "--num_images=12"]
    command += ["--batch_size=2", "--ode_tolerance=0.1"]
    done = command_server.run([*command, "--out=expected.json"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    place = run / "evaluation"
    for name, count in (("begun", 2), ("in place", 3)):
        killed_at(command_server, command, tmp_path, place, FILE_MOMENTS[name], count)
    runs.a_minute_later(place)
    done = command_server.run(command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in place.iterdir()) == [
        "bits_per_dim.json",
        "bits_per_dim.npz",
    ]
    with np.load(tmp_path / "expected.npz") as one, np.load(place / "bits_per_dim.npz") as other:
        for key in one.files:
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.slow
def test_a_data_set_whose_preparation_was_killed_is_prepared_again(command_server, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    flags = ["--dataset=tiny_pictures", "--image_size=8", "--channels=1", f"--data_dir={data}"]
    command = runs.train("run", 4, *flags)
    for delay in (0.05, 0.2, 0.4):
        place = data / "tiny_pictures"
        assert killed_at(
            command_server, command, tmp_path, place, lambda what, name: True, 1, delay
        ) in (True, 0)
    done = command_server.run(command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (data / "tiny_pictures").iterdir()] == ["1.0.0"]


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_the_step(number, command_server, tmp_path):
    place = tmp_path / "run" / "checkpoints"
    place.mkdir(parents=True)
    argv = runs.train("run", 100_000)
    with Watch(place) as watch, command_server.popen(argv, cwd=tmp_path) as process:
        is_moment = CHECKPOINT_MOMENTS["state file in place"]
        kill_at(process, watch, is_moment, 2, 0.01, number)
        signalled = time.monotonic()
        _, stderr = process.communicate(60)
    assert process.returncode == 0, stderr
    assert time.monotonic() - signalled < 30
    assert f"{signal.Signals(number).name}: saved step " in stderr
