"""The sampler of a run: its settings, a `Config`, bound to `ncsn_tf.sampling`."""

import dataclasses
import re
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ncsn_tf.errors import ConfigError
from ncsn_tf.sampling.chain import Chain
from ncsn_tf.sampling.routes import SdeRoute
from ncsn_tf.sampling.sampler import Sampler
from ncsn_tf.sampling.samplers import SAMPLERS, make_chain, step_sizes
from ncsn_tf.schedule.sde import score_fn_of
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import show
from ncsn_tf.training.run_equation import (
    equation_of,
    flow_is_continuous,
    is_third,
    ladder_of,
    score_on_ladder,
)

_FEW_STEPS = ("num_evaluations", "schedule", "rho", "first_level_steps")
_FEW_STEPS += ("churn", "churn_min", "churn_max", "churn_noise")
_NAMED = "|".join(("sampler", "num_steps_each", "predictor", *_FEW_STEPS))
_AS_FLAG = re.compile(rf"\b((?:{_NAMED})=|probability_flow\b)")


def make_sigmas(config: Config) -> tf.Tensor:
    """The noise levels of a run, float32 [L]."""
    return ladder_of(config)


def goes_by_equation(config: Config) -> bool:
    """Whether a run's chain goes down the time of its equation, and not down noise levels."""
    return is_third(config) and SAMPLERS[config.sampler].any_equation


def chain_route(config: Config) -> tf.Tensor | SdeRoute:
    """What the chain of a run goes down: its noise levels, float32 [L], or its equation."""
    if goes_by_equation(config):
        return SdeRoute(equation_of(config), centered=config.centered)
    return make_sigmas(config)


def chain_score(network: Callable, config: Config) -> Callable:
    """The score function of a run's chain, from its network.

    Returns:
        (x [B, H, W, C], levels int32 [B]) -> score, the network itself for the first two
        generations; (x, t float32 [B]) -> score for chains that go by an equation.
    """
    if not goes_by_equation(config):
        return score_on_ladder(network, config)
    is_flow = "rtol" in SAMPLERS[config.sampler].settings
    continuous = flow_is_continuous(config) if is_flow else config.continuous
    return score_fn_of(network, equation_of(config), continuous)


def chain_of(config: Config, most_evaluations: int = 0) -> Chain:
    """The chain that a run's settings describe; `chain_score` is what it draws with.

    Args:
        config: the run's settings.
        most_evaluations: of solvers of few steps, see `FewSteps`.

    Raises:
        ConfigError: settings with which its sampler cannot work.
    """
    if goes_by_equation(config) and config.sampler == "pc" and config.num_steps_each != 1:
        raise ConfigError(
            f"{show('num_steps_each', config.num_steps_each)} must be 1 with --sampler=pc: the "
            f"chain has as many steps as its equation, {show('num_levels', config.num_levels)}"
        )
    try:
        return make_chain(
            config.sampler,
            chain_route(config),
            denoise=config.denoise,
            num_steps_each=config.num_steps_each,
            step_lr=_step_lr(config),
            **pc_settings(config),
            rtol=config.ode_rtol or config.ode_tolerance,
            atol=config.ode_atol or config.ode_tolerance,
            jumps=score_jumps(config),
            **{name: getattr(config, name) for name in _FEW_STEPS},
            most_evaluations=most_evaluations,
        )
    except ValueError as error:
        # The library names its arguments; of a run they are flags.
        raise ConfigError(_AS_FLAG.sub(r"--\1", str(error))) from None


def pc_settings(config: Config) -> dict[str, object]:
    """The arguments of a predictor-corrector chain of a run's settings."""
    return {name: getattr(config, name) for name in SAMPLERS["pc"].settings}


def chain_settings(config: Config) -> dict[str, object]:
    """The settings of a run's chain, and how many evaluations of the network it takes.

    Example:
        >>> settings = chain_settings(Config(num_levels=10, num_steps_each=100))
        >>> settings["sampler"], settings["evaluations"]
        ('ald', 1000)
    """
    settings = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(Config)
        if field.metadata["group"] == "sampling" and field.name != "sampling_tile"
    }
    evaluations = chain_of(config).num_evaluations(config.num_steps_each)
    return settings if evaluations is None else {**settings, "evaluations": evaluations}


def step_sizes_of(
    config: Config, num_steps_each: int | np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`samplers.step_sizes` of a run: its step size, and the open interval of possible ones.

    Args:
        config: the run's settings.
        num_steps_each: n, at least 1; a number or an array [N].
    """
    return step_sizes(config.sampler, make_sigmas(config), num_steps_each, _step_lr(config))


def _step_lr(config):
    """The step size that the settings give the run's sampler; None leaves it to the sampler."""
    return config.cas_step_lr or None if config.sampler == "cas" else config.step_lr


def score_jumps(config: Config) -> bool:
    """Whether a run's score, read between its levels, jumps from one to the next."""
    return config.model == "ncsn"  # NCSNv2 sees its level in the division by sigma alone


def sampler_of(network: Callable, config: Config, chain: Chain | None = None) -> Sampler:
    """The `Sampler` of a run's network.

    Args:
        network: a score network, built inside the scope of the current distribution strategy; with
            a chain, its score function.
        config: the run's settings.
        chain: None is the one that the settings describe.

    Raises:
        ConfigError: settings with which the chain cannot work.
    """
    if chain is None:
        network, chain = chain_score(network, config), chain_of(config)
    return Sampler(
        network,
        chain,
        config.image_shape,
        step_lr=step_sizes_of(config, config.num_steps_each)[0],
        num_steps_each=config.num_steps_each,
        tile=config.sampling_tile,
    )
