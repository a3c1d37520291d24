"""The samplers by name: one table.

A new sampler is a file with its `Chain`, and a line here: the class, which settings its constructor
takes beside `sigmas` and `denoise`, whether it needs two noise levels and, if it has a step size,
its default and the range of possible ones. `make_chain` and `step_sizes`, and by them
all that draws by name, then know it. (Its name stands in `backend.choices` too, from which --help
reads it without TensorFlow; a test holds the two together.)
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ncsn_tf.sampling.chain import Chain
from ncsn_tf.sampling.consistent import (
    ConsistentAnnealing,
    consistent_step_lr,
    consistent_step_range,
)
from ncsn_tf.sampling.heun import Euler, Heun
from ncsn_tf.sampling.langevin import AnnealedLangevin, langevin_step_lr
from ncsn_tf.sampling.multistep import DPMSolver, DPMSolverSDE, EulerAncestral
from ncsn_tf.sampling.predictor_corrector import PredictorCorrector
from ncsn_tf.sampling.probability_flow import ProbabilityFlow
from ncsn_tf.sampling.routes import Levels, SdeRoute
from ncsn_tf.schedule import static_sigmas
from ncsn_tf.schedule.sde import SDE


def _any_step(sigmas, num_steps_each):
    """The range of a step size that need only be positive."""
    shape = np.shape(num_steps_each)
    return np.zeros(shape), np.full(shape, np.inf)


class Kind(NamedTuple):
    """What there is to know of a sampler.

    Attributes:
        chain: the class, called with sigmas, denoise and the `settings`.
        settings: names of the arguments that it takes beside sigmas and denoise.
        needs_two_levels: whether a single noise level is too few.
        step_lr: (sigmas [L], num_steps_each) -> the default step size at the last level; None for
            a sampler that has no step size.
        step_range: (sigmas [L], num_steps_each) -> (lowest, highest), the open interval of possible
            step sizes.
        any_equation: whether it draws along any equation, and not only down a ladder of levels.
    """

    chain: type[Chain]
    settings: tuple[str, ...] = ()
    needs_two_levels: bool = False
    step_lr: Callable | None = None
    step_range: Callable = _any_step
    any_equation: bool = False


_FEW = ("num_evaluations", "schedule", "rho", "jumps", "most_evaluations")
_FROM_FIRST = (*_FEW, "first_level_steps")
_CHURN = ("churn", "churn_min", "churn_max", "churn_noise")

SAMPLERS = {
    "ald": Kind(AnnealedLangevin, step_lr=langevin_step_lr),
    "cas": Kind(ConsistentAnnealing, (), True, consistent_step_lr, consistent_step_range),
    "pc": Kind(
        PredictorCorrector,
        ("snr", "corrector_steps", "predictor", "corrector", "probability_flow"),
        needs_two_levels=True,
        any_equation=True,
    ),
    "ode": Kind(ProbabilityFlow, ("rtol", "atol", "jumps"), True, any_equation=True),
    "euler": Kind(Euler, (*_FEW, *_CHURN), True),
    "ancestral": Kind(EulerAncestral, _FROM_FIRST, True),
    "heun": Kind(Heun, (*_FEW, *_CHURN), True),
    "dpm": Kind(DPMSolver, _FROM_FIRST, True),
    "dpm_sde": Kind(DPMSolverSDE, _FROM_FIRST, True),
}


def make_chain(
    sampler: str,
    sigmas: Levels,
    *,
    denoise: bool = False,
    num_steps_each: int = 100,
    step_lr: float | None = None,
    **settings: Any,
) -> Chain:
    """The `Chain` of a sampler.

    Args:
        sampler: name of one in `SAMPLERS`.
        sigmas, denoise: see `Chain`; some samplers take an equation or a route as well.
        num_steps_each, step_lr: with which the chain shall draw; they are only checked here. None
            is the default of `step_sizes`, which is always possible.
        **settings: the arguments of the samplers' classes, by name: snr, corrector_steps,
            predictor, corrector, probability_flow, rtol, atol, jumps, num_evaluations, schedule,
            rho, most_evaluations, first_level_steps, churn, churn_min, churn_max, churn_noise. A
            sampler takes its own, so that one set of settings serves all of them.

    Raises:
        ValueError: an unknown sampler, too few levels, an impossible step size, or what the class
            refuses.
        TypeError: a setting that no sampler has.

    Example:
        >>> chain = make_chain("pc", [1.0, 0.3, 0.1], denoise=True, snr=0.2, rtol=1e-3)
        >>> type(chain).__name__, chain.snr, chain.denoise
        ('PredictorCorrector', 0.2, True)
    """
    kind = _kind(sampler)
    unknown = set(settings).difference(*(other.settings for other in SAMPLERS.values()))
    if unknown:
        raise TypeError(f"no sampler has a setting {min(unknown)}")
    own = {name: value for name, value in settings.items() if name in kind.settings}
    if isinstance(sigmas, SDE | SdeRoute):
        if not kind.any_equation:
            raise ValueError(f"sampler={sampler} is for noise levels, not for an equation")
        return kind.chain(sigmas, denoise, **own)
    sigmas = static_sigmas(sigmas)
    if kind.needs_two_levels and len(sigmas) < 2:
        raise ValueError(f"sampler={sampler} needs at least two noise levels")
    _, lowest, highest = step_sizes(sampler, sigmas, num_steps_each)
    if step_lr is not None and not lowest < step_lr < highest:
        raise ValueError(
            f"the step size of sampler={sampler} must be between {lowest:.3g} and {highest:.3g} "
            f"with num_steps_each={num_steps_each}, not {step_lr:g}"
        )
    return kind.chain(sigmas, denoise, **own)


def step_sizes(
    sampler: str,
    sigmas: Sequence[float] | np.ndarray | tf.Tensor,
    num_steps_each: int | np.ndarray,
    step_lr: float | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The step size at the last level with which a sampler draws, and those that are possible.

    Args:
        sampler: name of one in `SAMPLERS`.
        sigmas: [L].
        num_steps_each: n, at least 1; a number or an array [N].
        step_lr: the one that is wanted. Where it is None, or not possible with that many steps,
            the sampler's default is drawn with.

    Returns:
        own, lowest, highest: float64 of num_steps_each's shape; the step size, and the open
        interval in which it is. Samplers that have no step size ignore it: any is possible.

    Raises:
        ValueError: an unknown sampler.

    Example:
        >>> own, lowest, highest = step_sizes("cas", [1.0, 0.3, 0.1], np.array([1, 10]))
        >>> own.round(4).tolist(), lowest.round(4).tolist(), highest.round(4).tolist()
        ([0.01, 0.0016], [0.0068, 0.0011], [0.0132, 0.0189])
        >>> step_sizes("ald", [1.0, 0.3, 0.1], 10, 1e-3)[0].tolist()
        0.001
    """
    kind, sigmas = _kind(sampler), static_sigmas(sigmas)
    lowest, highest = kind.step_range(sigmas, num_steps_each)
    if kind.step_lr is not None:
        default = kind.step_lr(sigmas, num_steps_each)
    else:
        default = np.zeros(np.shape(num_steps_each))
    if step_lr is None:
        return default, lowest, highest
    is_possible = (lowest < step_lr) & (step_lr < highest)
    return np.where(is_possible, step_lr, default), lowest, highest


def _kind(sampler):
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, not {sampler}")
    return SAMPLERS[sampler]
