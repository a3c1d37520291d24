"""Samplers: images from a score function (x, levels) -> score, each image by its own seed.

    chain               `Chain`, what all samplers are; `Rows`, what each image brings; `draw`
    levels              ladders of noise levels, and the score between the levels of a network
    langevin            annealed Langevin dynamics
    consistent          consistent annealed sampling
    predictor_corrector predictor-corrector sampling
    ode                 a solver of ordinary differential equations
    probability_flow    sampling along the probability flow, by that solver
    conditional         completing images of which a measurement is known; interpolation
    guidance            images of one class, by a classifier
    samplers            the table of samplers by name
    sampler             `Sampler`, a compiled chain that draws in pieces

Of the package it imports backend and schedule; likelihood, training and all above may import it.
"""

from ncsn_tf.backend.tiles import in_tiles
from ncsn_tf.sampling.chain import Chain, Rows, draw, to_uint8
from ncsn_tf.sampling.conditional import (
    ConditionalLangevin,
    InterpolatingLangevin,
    Known,
    Measurement,
    Mixture,
)
from ncsn_tf.sampling.consistent import (
    ConsistentAnnealing,
    consistent_annealing,
    consistent_step_lr,
    consistent_step_range,
)
from ncsn_tf.sampling.guidance import GuidedChain, GuidedScore, OfClass
from ncsn_tf.sampling.langevin import AnnealedLangevin, annealed_langevin
from ncsn_tf.sampling.levels import at_sigma
from ncsn_tf.sampling.predictor_corrector import PredictorCorrector, predictor_corrector
from ncsn_tf.sampling.probability_flow import ProbabilityFlow, probability_flow
from ncsn_tf.sampling.sampler import Sampler
from ncsn_tf.sampling.samplers import SAMPLERS, make_chain, step_sizes

__all__ = [
    "SAMPLERS",
    "AnnealedLangevin",
    "Chain",
    "ConditionalLangevin",
    "ConsistentAnnealing",
    "GuidedChain",
    "GuidedScore",
    "InterpolatingLangevin",
    "Known",
    "Measurement",
    "Mixture",
    "OfClass",
    "PredictorCorrector",
    "ProbabilityFlow",
    "Rows",
    "Sampler",
    "annealed_langevin",
    "at_sigma",
    "consistent_annealing",
    "consistent_step_lr",
    "consistent_step_range",
    "draw",
    "in_tiles",
    "make_chain",
    "predictor_corrector",
    "probability_flow",
    "step_sizes",
    "to_uint8",
]
