"""Rules of a run's settings that are about more than one of them, or about the form of one."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from ncsn_tf.backend.choices import DEPTHS, LARGEST_EXACT
from ncsn_tf.backend.sizes import as_setting, sides
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.averages import check_kept
from ncsn_tf.settings.options import show
from ncsn_tf.settings.third_rules import (
    check_equation,
    check_generation,
    check_network,
    is_third,
)

if TYPE_CHECKING:
    from ncsn_tf.settings.config import Config

_LONGEST_DATASET = 200  # bytes
LARGEST_SIDE = 2**14 - 1  # of an image, in pixels


def check_dataset(name: str) -> None:
    """Raise a ConfigError for what cannot be the name of a data set.

    Example:
        >>> check_dataset("celeb_a:2.*.*")
        >>> check_dataset("../mnist")
        Traceback (most recent call last):
        ncsn_tf.errors.ConfigError: --dataset=../mnist must be the name of a dataset, such as mnist
    """
    # The run's folder and a flagfile are named after it.
    is_short = len(name.encode(errors="replace")) <= _LONGEST_DATASET
    if not is_short or not re.fullmatch(r"\w[\w.+-]*([/:][\w*][\w.*+-]*)*", name):
        rule = "the name of a dataset, such as mnist"
        raise ConfigError(f"{show('dataset', name)} must be {rule}")


def _check_kinds(config: Config) -> None:
    """Where the images are, and which network they are for."""
    if config.dataset == "image_folder" and not config.data_dir:
        raise ConfigError(
            "--data_dir= must name the folder, .zip or .tar of pictures that "
            "--dataset=image_folder reads"
        )
    if config.model != "ncsnv2" and config.depth != "base":
        raise ConfigError(f"{show('depth', config.depth)} is for --model=ncsnv2 only")


def _check_image_size(config: Config) -> None:
    """Both sides are multiples of what the network halves and doubles."""
    if is_third(config):
        return  # `check_network` knows
    multiple = DEPTHS[config.depth]
    most = LARGEST_SIDE // multiple

    def right(side):
        return min(max(-(-side // multiple), 2), most) * multiple

    height, width = sides(config.image_size)
    such = as_setting((right(height), right(width)))
    if config.image_size != such:
        each = "a multiple" if height == width else "multiples"
        rule = "even" if multiple == 2 else f"{each} of {multiple}"
        depth = "" if multiple == 2 else f" with {show('depth', config.depth)}"
        raise ConfigError(
            f"{show('image_size', config.image_size)} must be {rule}{depth}, such as {such}"
        )


def _check_levels(config: Config) -> None:
    """Noise levels go down."""
    end, begin = show("sigma_end", config.sigma_end), show("sigma_begin", config.sigma_begin)
    if config.num_levels == 1 and config.sigma_end != config.sigma_begin:
        raise ConfigError(f"{end} must be that of {begin} when there is one level")
    if config.num_levels > 1 and config.sigma_end >= config.sigma_begin:
        raise ConfigError(f"{end} must be below {begin}")


def _check_steps(config: Config) -> None:
    """Steps of a chain are counted in int32."""
    most = (2**31 - 1) // config.num_levels  # steps of a chain are counted in int32
    if config.num_steps_each > most:
        raise ConfigError(
            f"{show('num_steps_each', config.num_steps_each)} must be at most {most} with "
            f"{show('num_levels', config.num_levels)}"
        )


def _check_objective(config: Config) -> None:
    """What an objective needs."""
    if config.num_projections > 1 and config.objective not in ("ssm", "ssm_vr"):
        raise ConfigError(
            f"{show('num_projections', config.num_projections)} must be 1: "
            f"{show('objective', config.objective)} has no projections"
        )
    size = math.prod(config.image_shape)
    if config.objective == "sm" and size > LARGEST_EXACT:
        raise ConfigError(
            f"{show('objective', config.objective)} must be ssm_vr or dsm for images of {size} "
            f"numbers: sm takes as many backward passes a step, and is for {LARGEST_EXACT} "
            "at most"
        )


def _check_classes(config: Config) -> None:
    """Classes have names of their own, and are there for such as know classes."""
    names = config.class_names
    if not isinstance(names, tuple) or not all(type(name) is str and name for name in names):
        raise ConfigError(f"class_names must be a tuple of names, not {names!r}")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"class_names must differ from each other, and {twice!r} is there twice")
    if config.class_conditional:
        return
    if config.metric == "accuracy" and config.metric_every:
        raise ConfigError("--metric=accuracy needs --class_conditional: samples of a class")
    if names:
        raise ConfigError("class_names are for --class_conditional=true only")
    if config.label_dropout != type(config).__dataclass_fields__["label_dropout"].default:
        dropout = show("label_dropout", config.label_dropout)
        raise ConfigError(f"{dropout} is for --class_conditional=true only")


# Each raises a ConfigError where it is broken, in this order.
RULES = (
    lambda config: check_dataset(config.dataset),
    _check_kinds,
    check_generation,
    check_equation,
    check_network,
    _check_image_size,
    _check_levels,
    _check_steps,
    _check_objective,
    _check_classes,
    lambda config: check_kept(config.ema_power, config.ema_every),
)
