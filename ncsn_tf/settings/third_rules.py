"""Rules of the settings of the third generation, and of those that are not for it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ncsn_tf.backend.choices import THIRD_MODELS
from ncsn_tf.backend.sizes import as_setting, sides
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.options import show

if TYPE_CHECKING:
    from ncsn_tf.settings.config import Config

_OF_ALL = "the third generation"
_OBJECTIVES = ("objective", "anneal_power", "num_projections")  # of the first two
# What DDPM's network is, whatever is asked for.
_OF_DDPM = {
    "block": "ddpm",
    "fir": False,
    "progressive_input": "none",
    "progressive": "none",
    "skip_rescale": False,
}


def numbers(text: str) -> tuple[int, ...]:
    """The numbers of a setting such as multipliers.

    Example:
        >>> numbers("1,2,2"), numbers("none")
        ((1, 2, 2), ())
    """
    return () if text == "none" else tuple(map(int, text.split(",")))


def is_third(config: Config) -> bool:
    """Whether a run's network is one of the third generation.

    Example:
        >>> from ncsn_tf.settings.config import Config
        >>> is_third(Config()), is_third(Config(model="ncsnpp"))
        (False, True)
    """
    return config.model in THIRD_MODELS


def check_generation(config: Config) -> None:
    """Raise a ConfigError for a setting of another generation's."""
    for field in dataclasses.fields(config):
        is_of_third = field.metadata["group"].endswith(_OF_ALL)
        is_other = is_of_third != is_third(config) if is_of_third else is_third(config)
        if not is_other or not (is_of_third or field.name in _OBJECTIVES):
            continue
        value = getattr(config, field.name)
        if value != field.default:
            models = "ncsnpp, ddpmpp or ddpm" if is_of_third else "ncsn or ncsnv2"
            raise ConfigError(f"{show(field.name, value)} is for --model={models} only")


def check_equation(config: Config) -> None:
    """Raise a ConfigError unless the settings fit the equation, and each other."""
    if not is_third(config):
        return
    sde, model = show("sde", config.sde), show("model", config.model)
    is_ve = config.sde == "ve"
    for name in ("beta_min", "beta_max") if is_ve else ("sigma_begin", "sigma_end"):
        value, others = getattr(config, name), "vp or subvp" if is_ve else "ve"
        if value != type(config).__dataclass_fields__[name].default:
            raise ConfigError(f"{show(name, value)} is for --sde={others} only")
    if config.num_levels < 2:
        raise ConfigError(f"{show('num_levels', config.num_levels)} must be at least 2 with {sde}")
    if not config.beta_min < config.beta_max:
        least, most = show("beta_min", config.beta_min), show("beta_max", config.beta_max)
        raise ConfigError(f"{least} must be below {most}")
    if not config.continuous:
        if config.sde == "subvp":
            raise ConfigError(f"{sde} needs --continuous: it has no discrete steps to train on")
        if config.likelihood_weighting:
            raise ConfigError("--likelihood_weighting=true needs --continuous")
        if config.sde == "vp" and config.num_levels <= config.beta_max:
            raise ConfigError(
                f"{show('num_levels', config.num_levels)} must be above "
                f"{show('beta_max', config.beta_max)} without --continuous"
            )
    is_of_sigma = is_ve and config.continuous
    if is_of_sigma and config.model == "ddpm":
        raise ConfigError(f"{model} with {sde} has no --continuous: its embedding is of steps")
    embedding = "fourier" if is_of_sigma else "positional"
    if config.embedding != embedding:
        times = "--continuous" if config.continuous else "discrete steps"
        raise ConfigError(
            f"{show('embedding', config.embedding)} must be {embedding} with {sde} and {times}"
        )
    if config.scale_by_sigma and not is_ve:
        raise ConfigError(f"{show('scale_by_sigma', True)} is for --sde=ve only")


def check_network(config: Config) -> None:
    """Raise a ConfigError unless there is a network of those settings."""
    if not is_third(config):
        return
    if config.model == "ddpm":
        for name, value in _OF_DDPM.items():
            if getattr(config, name) != value:
                given = show(name, getattr(config, name))
                raise ConfigError(f"{given} is for --model=ncsnpp or ddpmpp only")
    if config.progressive_combine != "sum" and config.progressive_input != "input_skip":
        combine = show("progressive_combine", config.progressive_combine)
        raise ConfigError(f"{combine} is for --progressive_input=input_skip only")
    _check_sides(config)
    groups = 32 if config.model == "ddpm" else 0
    for channels in sorted(_normed_channels(config)):
        if channels % (groups or max(min(channels // 4, 32), 1)) or channels < 4:
            multiple = 32 if groups or channels > 128 else 4
            raise ConfigError(
                f"{show('features', config.features)} with "
                f"{show('multipliers', config.multipliers)} gives a layer of {channels} channels, "
                f"which must be a multiple of {multiple}"
            )


def _check_sides(config):
    """Both sides are halved without a rest."""
    levels = len(numbers(config.multipliers))
    multiple = 2 ** (levels - 1)
    height, width = sides(config.image_size)
    if height % multiple or width % multiple:
        such = as_setting((_next(height, multiple), _next(width, multiple)))
        each = "a multiple" if height == width else "multiples"
        raise ConfigError(
            f"{show('image_size', config.image_size)} must be {each} of {multiple} for the "
            f"{levels} levels of {show('multipliers', config.multipliers)}, such as {such}"
        )


def _next(side, multiple):
    return -(-side // multiple) * multiple


def _normed_channels(config):
    """Channels of all that is normalised: a level's, and those of two joined on the way up."""
    features = config.features
    level = [features * multiplier for multiplier in numbers(config.multipliers)]
    doubled = 2 if config.progressive_combine == "cat" else 1
    skips = [features, *(doubled * channels for channels in level)]  # with which a level begins
    joined = set()
    for index, channels in enumerate(level):
        below = level[min(index + 1, len(level) - 1)]
        joined |= {below + channels, channels + skips[index]}
        if config.num_res_blocks > 1:
            joined.add(2 * channels)
    return {*skips[:-1], *level, *joined}
