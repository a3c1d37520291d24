"""The choices that settings offer are those that the library has."""

from ncsn_tf.backend import choices
from ncsn_tf.models.ncsnpp import CHOICES
from ncsn_tf.models.refinenet import STAGES
from ncsn_tf.sampling.points import schedule_points
from ncsn_tf.sampling.samplers import SAMPLERS


def test_depths_are_those_of_the_networks():
    assert choices.DEPTHS.keys() == STAGES.keys()


def test_schedules_are_those_of_the_solvers():
    for schedule in choices.SCHEDULES:
        assert len(schedule_points([1.0, 0.1], 3, schedule)) == 3


def test_samplers_are_those_of_the_table():
    assert set(choices.SAMPLERS) == set(SAMPLERS)


def test_choices_of_the_third_generation_are_those_of_its_network():
    assert CHOICES["embedding"] == choices.EMBEDDINGS
    assert CHOICES["block"] == choices.BLOCKS
    assert CHOICES["progressive_input"] == choices.INPUT_PYRAMIDS
    assert CHOICES["progressive"] == choices.PYRAMIDS
    assert CHOICES["progressive_combine"] == choices.COMBINATIONS
