"""What a run saves and says when its end is asked for and does not come by itself."""

import pytest

from ncsn_tf.backend.signals import Interrupted
from ncsn_tf.errors import UserError
from ncsn_tf.training.ending import Ending


class Checkpoints:
    def __init__(self):
        self.number = 0

    def save(self):
        self.number += 1


@pytest.fixture
def checkpoints():
    return Checkpoints()


@pytest.fixture
def ending(checkpoints):
    return Ending(checkpoints, print, first_step=10)


def test_a_step_that_takes_too_long_leaves_the_newest_checkpoint(ending, checkpoints):
    ending.save(20)
    with ending.making_step(25):
        line = ending._on_overdue("SIGTERM")
    assert checkpoints.number == 1
    assert (
        line.startswith("SIGTERM: the step at hand takes too long") and "step 20 is saved" in line
    )


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
