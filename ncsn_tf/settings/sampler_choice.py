"""`--sampler=auto`: the chain that suits a network, from its settings alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ncsn_tf.backend.choices import THIRD_MODELS
from ncsn_tf.backend.sizes import sides
from ncsn_tf.errors import ConfigError, inform
from ncsn_tf.settings.options import AUTO, show

if TYPE_CHECKING:
    from ncsn_tf.settings.config import Config

# Of the largest noise to the root of an image's numbers. Technique 1 of NCSNv2 has 0.5 to 0.9 on
# its data sets; what NCSN publishes has 0.13 on images of 8 x 8 and 0.02 on those of 32 x 32.
HIDING = 0.15


def largest_noise(config: Config) -> float:
    """sigma_1 of a run's ladder, in units of images from 0 to 1.

    Of vp and subvp it is std(1) / m(1), as in `training.run_equation.ladder_of`.

    Example:
        >>> from ncsn_tf.settings.config import Config
        >>> third = Config(model="ddpmpp", num_levels=1000)
        >>> largest_noise(Config()), round(largest_noise(third), 1)
        (1.0, 76.1)
    """
    unit = 2.0 if config.centered is True else 1.0
    if config.model not in THIRD_MODELS:
        return config.sigma_begin
    if config.sde == "ve":
        return config.sigma_begin / unit
    falls = 0.25 * (config.beta_min + config.beta_max)  # -log m(1)
    mean, variance = math.exp(-falls), -math.expm1(-2.0 * falls)
    if mean == 0.0:
        return math.inf  # of a beta that no network could be trained with
    return (variance if config.sde == "subvp" else math.sqrt(variance)) / mean / unit


def choose_sampler(config: Config) -> tuple[dict[str, Any], str]:
    """The sampler for a network, and why.

    Few steps forget the start only as far as the largest noise hides it: along a direction in which
    the data have variance v, the share v / (v + sigma_1^2) of what is wrong with the start is kept,
    by every solver. Where sigma_1 is of the width of the data, `dpm_sde` with a denoising step
    has been as good in 20 evaluations as the long chains; else the network keeps the chain that was
    published for its kind, with the run's settings.

    Args:
        config: the run's; which sampler it has does not matter.

    Returns:
        {setting: value} of a `Config`, and the reason, one line.

    Example:
        >>> from ncsn_tf.settings.config import Config
        >>> choose_sampler(Config())[0], choose_sampler(Config(model="ncsnv2", sigma_begin=50))[0]
        ({'sampler': 'ald'}, {'sampler': 'dpm_sde', 'denoise': True})
    """
    height, width = sides(config.image_size)
    sigma, size = largest_noise(config), height * width * config.channels
    least = HIDING * math.sqrt(size)
    about = f"sigma_1 = {sigma:.3g}, and {least:.3g} would hide where a chain of few steps starts"
    if config.num_levels > 1 and sigma >= least:
        return {"sampler": "dpm_sde", "denoise": True}, about
    long = "pc" if config.model in THIRD_MODELS else "ald"
    if config.num_levels == 1:
        return {"sampler": long}, "there is one noise level"
    return {"sampler": long}, about


def settle_sampler(config: Config) -> dict[str, Any]:
    """{setting: value} in place of `--sampler=auto`; nothing where another one was named."""
    return choose_sampler(config)[0] if config.sampler == AUTO else {}


def tell_choice(given: Mapping[str, Any], config: Config) -> None:
    """Say what `--sampler=auto` has become, in one line, if it is among the settings given.

    Args:
        given: the settings that a user gave; some may be None.
        config: that was made with them.
    """
    if given.get("sampler") != AUTO:
        return
    few = f", {config.num_evaluations} evaluations" if config.sampler == "dpm_sde" else ""
    inform(f"sampler auto: {config.sampler}{few} ({choose_sampler(config)[1]})")


def check_choice(given: Mapping[str, Any]) -> None:
    """Raise a ConfigError for a setting that goes with a sampler's name, but not with "auto"."""
    if given.get("sampler") == AUTO and given.get("denoise") is False:
        raise ConfigError(
            f"{show('denoise', False)} cannot be used with {show('sampler', AUTO)}, which decides "
            "it: name the sampler"
        )
