"""The sampler of a run: its settings, a `Config`, bound to `ncsn_tf.sampling`."""

import dataclasses
import re
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ncsn_tf.errors import ConfigError
from ncsn_tf.sampling.chain import Chain
from ncsn_tf.sampling.conditional import ConditionalLangevin, Measurement
from ncsn_tf.sampling.sampler import Sampler
from ncsn_tf.sampling.samplers import make_chain, step_sizes
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import show


def make_sigmas(config: Config) -> tf.Tensor:
    """The noise levels of a run, float32 [L]."""
    return geometric_sigmas(config.sigma_begin, config.sigma_end, config.num_levels)


def chain_of(config: Config) -> Chain:
    """The chain that a run's settings describe.

    Raises:
        ConfigError: settings with which its sampler cannot work.
    """
    try:
        return make_chain(
            config.sampler,
            make_sigmas(config),
            denoise=config.denoise,
            num_steps_each=config.num_steps_each,
            step_lr=_step_lr(config),
            snr=config.snr,
            corrector_steps=config.corrector_steps,
            predictor=config.predictor,
            corrector=config.corrector,
            rtol=config.ode_rtol or config.ode_tolerance,
            atol=config.ode_atol or config.ode_tolerance,
            jumps=score_jumps(config),
        )
    except ValueError as error:
        # The library names its arguments; of a run they are flags.
        raise ConfigError(re.sub(r"\b(sampler|num_steps_each)=", r"--\1=", str(error))) from None


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


def completion_chain(
    config: Config, measurement: Measurement, denoise: bool | None = None
) -> ConditionalLangevin:
    """The chain that completes images of which a measurement is known, as a run's network does it.

    NCSN's draws the noise of the known part once a level. NCSNv2's draws it for each step, and has
    no denoising step unless `denoise` asks for it, as in the released codes.

    Args:
        config: the run's settings.
        measurement: what is known.
        denoise: whether to end with a denoising step; None is NCSN's setting, and no for NCSNv2.

    Raises:
        ConfigError: a sampler other than annealed Langevin.
    """
    require_langevin(config)
    is_second = config.model == "ncsnv2"
    if denoise is None:
        denoise = config.denoise and not is_second
    return ConditionalLangevin(make_sigmas(config), measurement, is_second, denoise)


def require_langevin(config: Config) -> None:
    """Raise a ConfigError unless the run's sampler is annealed Langevin dynamics."""
    if config.sampler != "ald":
        raise ConfigError(f"a condition needs --sampler=ald, not {show('sampler', config.sampler)}")


def score_jumps(config: Config) -> bool:
    """Whether a run's score, read between its levels, jumps from one to the next."""
    return config.model == "ncsn"  # NCSNv2 sees its level in the division by sigma alone


def sampler_of(network: Callable, config: Config, chain: Chain | None = None) -> Sampler:
    """The `Sampler` of a run's network.

    Args:
        network: a score network, built inside the scope of the current distribution strategy.
        config: the run's settings.
        chain: None is the one that the settings describe.

    Raises:
        ConfigError: settings with which the chain cannot work.
    """
    return Sampler(
        network,
        chain_of(config) if chain is None else chain,
        config.image_shape,
        step_lr=step_sizes_of(config, config.num_steps_each)[0],
        num_steps_each=config.num_steps_each,
        tile=config.sampling_tile,
    )
