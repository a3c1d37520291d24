"""The choices that settings offer are those that the library has."""

from ncsn_tf.backend import choices
from ncsn_tf.models.networks import STAGES
from ncsn_tf.sampling.samplers import SAMPLERS


def test_depths_are_those_of_the_networks():
    assert choices.DEPTHS.keys() == STAGES.keys()


def test_samplers_are_those_of_the_table():
    assert set(choices.SAMPLERS) == set(SAMPLERS)
