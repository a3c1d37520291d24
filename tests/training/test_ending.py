"""What a run saves and says when its end is asked for and does not come by itself."""

import pytest
import tensorflow as tf

from ncsn_tf.backend.signals import Interrupted
from ncsn_tf.errors import UserError
from ncsn_tf.settings.config import Config
from ncsn_tf.training.ending import Ending
from ncsn_tf.training.workers import Workers

ALONE = Workers(tf.distribute.get_strategy())


class Checkpoints:
    def __init__(self):
        self.number = 0
        self.config = Config(workdir="run")

    def save(self):
        self.number += 1

    def save_averages(self):
        self.number += 10


@pytest.fixture
def checkpoints():
    return Checkpoints()


@pytest.fixture
def ending(checkpoints):
    return Ending(checkpoints, print, first_step=10, is_saved=True, workers=ALONE)


def test_a_step_that_takes_too_long_leaves_the_newest_checkpoint(ending, checkpoints):
    ending.save(20)
    with ending.making_step(25):
        line = ending._on_overdue("SIGTERM")
    assert checkpoints.number == 1
    assert (
        line.startswith("SIGTERM: the step at hand takes too long") and "step 20 is saved" in line
    )


@pytest.mark.parametrize("is_saved", [False, True])
def test_a_step_that_takes_too_long_before_the_first_checkpoint(is_saved, checkpoints):
    ending = Ending(checkpoints, print, first_step=0, is_saved=is_saved, workers=ALONE)
    with ending.making_step(1):
        line = ending._on_overdue("SIGTERM")
    kept = "step 0 is saved; the same command resumes"
    nothing = "no step is saved yet; the same command starts again"
    assert line.endswith(kept if is_saved else nothing)


def test_a_grid_that_takes_too_long_is_left_and_the_step_saved(ending, checkpoints):
    with ending.making_step(10):
        pass
    ending.step = 11
    with pytest.raises(Interrupted) as end:
        ending._on_overdue("SIGHUP")
    assert checkpoints.number == 1
    assert (end.value.line, end.value.code) == (
        "SIGHUP: saved step 11; the same command resumes",
        0,
    )


def test_a_checkpoint_that_is_being_written_is_awaited(ending, checkpoints):
    ending.step = 12
    checkpoints.save = lambda: seen.append(ending._on_overdue("SIGTERM"))
    seen = []
    ending.save(12)
    assert seen == [None]


def test_a_full_disk_is_said(ending, checkpoints):
    def save():
        raise UserError("the disk is full")

    checkpoints.save, ending.step = save, 12
    with pytest.raises(Interrupted) as end:
        ending._on_overdue("SIGTERM")
    assert (end.value.line, end.value.code) == ("error: the disk is full", 1)


@pytest.mark.parametrize("index, written", [(0, 11), (1, 0)])
def test_of_several_workers_the_chief_alone_writes(index, written, checkpoints):
    workers = Workers(tf.distribute.get_strategy())
    workers.count, workers.index = 2, index
    ending = Ending(checkpoints, print, first_step=0, is_saved=False, workers=workers)
    ending.save_averages(5)
    ending.save(5)
    assert checkpoints.number == written


def test_a_folder_that_has_gone_does_not_end_the_thread(checkpoints):
    """A worker leaves a note for worker 0; it cannot be left here, and is tried again."""
    workers = Workers(tf.distribute.get_strategy())
    workers.count, workers.index = 2, 1
    ending = Ending(checkpoints, print, first_step=0, is_saved=False, workers=workers)
    assert ending._on_overdue("SIGTERM") is None
