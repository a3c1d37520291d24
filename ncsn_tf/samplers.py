"""The samplers by name, with the settings of a run."""

import numpy as np

from ncsn_tf.conditional import ConditionalLangevin
from ncsn_tf.errors import ConfigError
from ncsn_tf.flow import ProbabilityFlow
from ncsn_tf.langevin import AnnealedLangevin, ConsistentAnnealing, consistent_step_range
from ncsn_tf.options import show
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.sde import PredictorCorrector

CAS_STEP = 1.5  # default step size of cas, over the smallest that it can take


def make_chain(config):
    """The `sampling.Chain` that a run's settings describe.

    Args:
        config: the run's `Config`.

    Raises:
        ConfigError: settings with which its sampler cannot work.
    """
    sigmas = make_sigmas(config)
    if config.sampler == "ald":
        return AnnealedLangevin(sigmas, config.denoise)
    if config.num_levels < 2:
        raise ConfigError(f"{show('sampler', config.sampler)} needs at least two noise levels")
    if config.sampler == "cas":
        own, lowest, highest = step_sizes(config, config.num_steps_each)
        if not lowest < (config.cas_step_lr or own) < highest:
            raise ConfigError(
                f"the step size of --sampler=cas must be between {lowest:.3g} and {highest:.3g} "
                f"with {show('num_steps_each', config.num_steps_each)}, not {config.cas_step_lr:g}"
            )
        return ConsistentAnnealing(sigmas, config.denoise)
    if config.sampler == "pc":
        return PredictorCorrector(
            sigmas,
            config.denoise,
            config.snr,
            config.corrector_steps,
            config.predictor,
            config.corrector,
        )
    rtol, atol = (value or config.ode_tolerance for value in (config.ode_rtol, config.ode_atol))
    return ProbabilityFlow(sigmas, config.denoise, rtol, atol, score_jumps(config))


def score_jumps(config):
    """Whether a run's score, read between its levels, jumps from one to the next."""
    return config.model == "ncsn"  # NCSNv2 sees its level in the division by sigma alone


def step_sizes(config, num_steps_each):
    """The step size at the last level of a run's chain, and the open interval of possible ones.

    cas without a step size of its own, or with one that it cannot take with that many steps, has
    1.5 times the lowest: within 4 % the published 5.6e-6 and 1.1e-6 of CIFAR-10, n = 1 and 5. On
    ladders so coarse that this is above sigma_L^2, the middle of the interval, it has that. Chains
    that have no step size ignore it.

    Args:
        config: the run's `Config`.
        num_steps_each: n, at least 1; a number or an array [N].

    Returns:
        own, lowest, highest: float64 of that shape.
    """
    n = np.asarray(num_steps_each)
    if config.sampler != "cas":
        return np.full(n.shape, config.step_lr), np.zeros(n.shape), np.full(n.shape, np.inf)
    lowest, highest = consistent_step_range(make_sigmas(config).numpy(), n)
    is_possible = (lowest < config.cas_step_lr) & (config.cas_step_lr < highest)
    default = np.minimum(CAS_STEP * lowest, (lowest + highest) / 2)
    return np.where(is_possible, config.cas_step_lr, default), lowest, highest


def make_completion_chain(config, measurement, denoise=None):
    """The chain that completes images of which a measurement is known, as a run's network does it.

    NCSN's draws the noise of the known part once a level. NCSNv2's draws it for each step, and has
    no denoising step unless `denoise` asks for it, as in the released codes.

    Args:
        config: the run's `Config`.
        measurement: a `conditional.Measurement`.
        denoise: whether to end with a denoising step; None is NCSN's setting, and no for NCSNv2.

    Raises:
        ConfigError: a sampler other than annealed Langevin.
    """
    require_langevin(config)
    is_second = config.model == "ncsnv2"
    if denoise is None:
        denoise = config.denoise and not is_second
    return ConditionalLangevin(make_sigmas(config), measurement, is_second, denoise)


def require_langevin(config):
    """Raise a ConfigError unless the run's sampler is annealed Langevin dynamics."""
    if config.sampler != "ald":
        raise ConfigError(f"a condition needs --sampler=ald, not {show('sampler', config.sampler)}")


def make_sigmas(config):
    """The noise levels of a run, float32 [L]."""
    return geometric_sigmas(config.sigma_begin, config.sigma_end, config.num_levels)
