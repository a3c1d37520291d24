"""Samplers: images from a score function (x, levels) -> score, each image by its own seed.

    chain               `Chain`, what all samplers are; `Rows`, what each image brings; `draw`
    updates             one step of any predictor or corrector, as a function of x, score and noise
    routes              from noise to images, by a ladder of levels or by any equation
    levels              ladders of noise levels, and the score between the levels of a network
    langevin            annealed Langevin dynamics
    consistent          consistent annealed sampling
    predictor_corrector predictor-corrector sampling
    ode                 a solver of ordinary differential equations
    probability_flow    sampling along the probability flow, by that solver
    points              schedules of few noise levels
    few_steps           what the solvers of few steps share
    heun                Euler's and Heun's methods, with churn
    multistep           DPM-Solver++ 2M, its form with noise, ancestral steps
    conditional         completing images of which a measurement is known; interpolation
    between             interpolation by chains of which only the start is random
    completion          both by predictor-corrector sampling, of any equation
    labels              images of one class, by a network that knows classes
    guidance            images of one class, by a classifier
    samplers            the table of samplers by name
    sampler             `Sampler`, a compiled chain that draws in pieces

Of the package it imports backend and schedule; likelihood, training and all above may import it.
"""

from ncsn_tf.backend.tiles import in_tiles
from ncsn_tf.sampling.between import BetweenStarts
from ncsn_tf.sampling.chain import Chain, Rows, draw, to_uint8
from ncsn_tf.sampling.completion import (
    ConditionalPredictorCorrector,
    InterpolatingPredictorCorrector,
    set_known,
)
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
from ncsn_tf.sampling.few_steps import FewSteps
from ncsn_tf.sampling.guidance import GuidedChain, GuidedScore, OfClass, classifier_at_times
from ncsn_tf.sampling.heun import Euler, Heun, euler, heun
from ncsn_tf.sampling.labels import labelled
from ncsn_tf.sampling.langevin import AnnealedLangevin, annealed_langevin
from ncsn_tf.sampling.levels import at_sigma
from ncsn_tf.sampling.multistep import (
    DPMSolver,
    DPMSolverSDE,
    EulerAncestral,
    dpm_solver,
    dpm_solver_sde,
    euler_ancestral,
)
from ncsn_tf.sampling.points import schedule_points
from ncsn_tf.sampling.predictor_corrector import PredictorCorrector, predictor_corrector
from ncsn_tf.sampling.probability_flow import ProbabilityFlow, probability_flow
from ncsn_tf.sampling.routes import LadderRoute, SdeRoute, route_of
from ncsn_tf.sampling.sampler import Sampler
from ncsn_tf.sampling.samplers import SAMPLERS, make_chain, step_sizes
from ncsn_tf.sampling.updates import Update, corrector_update, fall_update, predictor_update

__all__ = [
    "SAMPLERS",
    "AnnealedLangevin",
    "BetweenStarts",
    "Chain",
    "ConditionalLangevin",
    "ConditionalPredictorCorrector",
    "ConsistentAnnealing",
    "DPMSolver",
    "DPMSolverSDE",
    "Euler",
    "EulerAncestral",
    "FewSteps",
    "GuidedChain",
    "GuidedScore",
    "Heun",
    "InterpolatingLangevin",
    "InterpolatingPredictorCorrector",
    "Known",
    "LadderRoute",
    "Measurement",
    "Mixture",
    "OfClass",
    "PredictorCorrector",
    "ProbabilityFlow",
    "Rows",
    "Sampler",
    "SdeRoute",
    "Update",
    "annealed_langevin",
    "at_sigma",
    "classifier_at_times",
    "consistent_annealing",
    "consistent_step_lr",
    "consistent_step_range",
    "corrector_update",
    "dpm_solver",
    "dpm_solver_sde",
    "draw",
    "euler",
    "euler_ancestral",
    "fall_update",
    "heun",
    "labelled",
    "in_tiles",
    "make_chain",
    "predictor_corrector",
    "predictor_update",
    "probability_flow",
    "route_of",
    "schedule_points",
    "set_known",
    "step_sizes",
    "to_uint8",
]
