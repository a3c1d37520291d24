"""The samplers by name, with the settings of a run."""

from ncsn_tf.conditional import ConditionalLangevin
from ncsn_tf.errors import ConfigError
from ncsn_tf.flow import ProbabilityFlow
from ncsn_tf.langevin import AnnealedLangevin, ConsistentAnnealing, consistent_step_range
from ncsn_tf.options import show
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.sde import PredictorCorrector


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
    if config.sampler == "cas":
        lowest, highest = consistent_step_range(sigmas.numpy(), config.num_steps_each)
        if not lowest < config.step_lr < highest:
            raise ConfigError(
                f"{show('step_lr', config.step_lr)} must be between {lowest:.3g} and {highest:.3g} "
                f"for --sampler=cas with {show('num_steps_each', config.num_steps_each)}"
            )
        return ConsistentAnnealing(sigmas, config.denoise)
    if config.sampler == "pc":
        return PredictorCorrector(
            sigmas, config.denoise, config.snr, config.corrector_steps, config.predictor
        )
    if config.num_levels < 2:
        raise ConfigError("--sampler=ode needs at least two noise levels")
    return ProbabilityFlow(sigmas, config.denoise, config.ode_tolerance, config.ode_tolerance)


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
