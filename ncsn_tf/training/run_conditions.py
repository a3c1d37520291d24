"""The conditional chains of a run: its settings, a `Config`, bound to `ncsn_tf.sampling`."""

from collections.abc import Callable

from ncsn_tf.errors import ConfigError
from ncsn_tf.models.noisy_classifier import NoisyClassifier
from ncsn_tf.sampling.between import BetweenStarts
from ncsn_tf.sampling.chain import Chain
from ncsn_tf.sampling.completion import (
    ConditionalPredictorCorrector,
    InterpolatingPredictorCorrector,
)
from ncsn_tf.sampling.conditional import ConditionalLangevin, InterpolatingLangevin, Measurement
from ncsn_tf.sampling.guidance import GuidedScore, classifier_at_times
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import show
from ncsn_tf.training.run_sampler import chain_of, chain_route, goes_by_equation, pc_settings

_SAMPLERS = ("ald", "pc")


def completion_chain(
    config: Config, measurement: Measurement, denoise: bool | None = None
) -> ConditionalLangevin | ConditionalPredictorCorrector:
    """The chain that completes images of which a measurement is known, as a run's network does it.

    Annealed Langevin dynamics of NCSN draws the noise of the known part once a level. That of
    later networks draws it for each step; NCSNv2's has no denoising step unless `denoise` asks for
    it. All as in the released codes. Predictor-corrector sampling draws it anew at each update.

    Args:
        config: the run's settings.
        measurement: what is known.
        denoise: whether to end with a denoising step; None is the run's setting, and no for
            annealed Langevin dynamics of NCSNv2.

    Raises:
        ConfigError: a sampler other than annealed Langevin and predictor-corrector, or settings
            with which it cannot work.
    """
    require_conditional(config)
    if config.sampler == "pc":
        denoise = config.denoise if denoise is None else denoise
        return ConditionalPredictorCorrector(
            chain_route(config), measurement, denoise, **pc_settings(config)
        )
    if denoise is None:
        denoise = config.denoise and config.model != "ncsnv2"
    is_first = config.model == "ncsn"
    return ConditionalLangevin(chain_route(config), measurement, not is_first, denoise)


def interpolation_chain(config: Config) -> InterpolatingLangevin | InterpolatingPredictorCorrector:
    """The chain from one seed's image to another's noise; errors as of `completion_chain`."""
    require_conditional(config)
    if config.sampler == "pc":
        return InterpolatingPredictorCorrector(
            chain_route(config), config.denoise, **pc_settings(config)
        )
    return InterpolatingLangevin(chain_route(config), config.denoise)


def seeds_chain(
    config: Config,
) -> InterpolatingLangevin | InterpolatingPredictorCorrector | BetweenStarts:
    """The chain that interpolates between two seeds, by any sampler that can.

    Of samplers of which only the start is random it begins between the two starts, and leads from
    the image of one seed to that of the other. Of annealed Langevin and of predictor-corrector
    sampling it is `interpolation_chain`.

    Raises:
        ConfigError: a sampler that draws noise at each step in another way.
    """
    if config.sampler in _SAMPLERS:
        return interpolation_chain(config)
    if not _only_start_is_random(config):
        raise ConfigError(
            "--interpolate needs --sampler=ald, pc, ode, dpm, or heun or euler without --churn, "
            f"not {show('sampler', config.sampler)}"
        )
    route = chain_route(config)
    return BetweenStarts(chain_of(config), getattr(getattr(route, "sde", None), "center", 0.5))


def _only_start_is_random(config):
    """Whether the run's sampler draws no noise after the start."""
    return (
        config.sampler == "ode"
        or (config.sampler == "dpm" and not config.first_level_steps)
        or (config.sampler in ("euler", "heun") and not config.churn)
    )


def guided_score(
    score_fn: Callable, config: Config, classifier: NoisyClassifier, scale: float
) -> GuidedScore:
    """The score of one class, for a run's chains.

    Args:
        score_fn: of the run's chain, see `run_sampler.chain_score`.
        config: the run's settings.
        classifier: of the run's noise levels.
        scale: weight of the classifier.
    """
    if goes_by_equation(config):
        timed = classifier_at_times(classifier, chain_route(config), classifier.sigmas)
        return GuidedScore(score_fn, timed, scale)
    return GuidedScore(score_fn, classifier, scale)


def require_conditional(config: Config) -> Chain:
    """The run's chain; a ConfigError unless its sampler can take a condition."""
    if config.sampler not in _SAMPLERS:
        raise ConfigError(
            f"a condition needs --sampler=ald or pc, not {show('sampler', config.sampler)}"
        )
    return chain_of(config)
