"""A run as what `ncsn app` draws from."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ncsn_tf.commands.app_sources import Source
from ncsn_tf.errors import ConfigError
from ncsn_tf.generation.checkpoint_origin import Opened
from ncsn_tf.sampling.chain import Chain
from ncsn_tf.sampling.conditional import Measurement
from ncsn_tf.sampling.samplers import SAMPLERS
from ncsn_tf.settings.config import Config
from ncsn_tf.training.averages import open_weights
from ncsn_tf.training.run_conditions import completion_chain, seeds_chain
from ncsn_tf.training.run_equation import is_third
from ncsn_tf.training.run_sampler import chain_of

if TYPE_CHECKING:
    import tensorflow as tf

_CHAINS = {
    "draw": chain_of,
    "complete": lambda config: completion_chain(config, Measurement()),
    "between": seeds_chain,
}


class RunSource(Source):
    """A run's checkpoint.

    Args:
        flags: those of `ncsn sample` that name it.
        workdir, checkpoint: see `averages.open_weights`.
        strategy: what it draws under.

    Raises:
        UserError: no run, or no checkpoint.
    """

    def __init__(
        self,
        flags: list[str],
        workdir: str | os.PathLike,
        checkpoint: str | int,
        strategy: tf.distribute.Strategy,
    ) -> None:
        with strategy.scope():
            opened = Opened(open_weights(workdir, True, checkpoint))
        config = opened.run.config
        self.flags = flags
        self.name = f"{' '.join(flags)}: {opened.run.origin}"
        self.class_names = list(config.class_names)
        self.image_shape = config.image_shape
        self.crop_size = config.crop_size
        self.samplers = {work: possible_samplers(config, chain) for work, chain in _CHAINS.items()}
        self._own = config.sampler
        self._is_third = is_third(config)
        self._opened = opened
        self._strategy = strategy

    def steps_flag(self, sampler: str) -> str | None:
        sampler = sampler or self._own
        if "num_evaluations" in SAMPLERS[sampler].settings:
            return "num_evaluations"
        if sampler == "ode" or (sampler == "pc" and self._is_third):
            return None
        return "num_steps_each"

    def _origin(self, options):
        with self._strategy.scope():
            return self._opened.origin(**options.of_chains(), keep_frames=True)


def possible_samplers(config: Config, chain: Callable[[Config], Chain]) -> list[str]:
    """The names of the samplers of which a run's settings make a chain; "" is the run's own.

    Args:
        config: the run's settings.
        chain: makes one of the settings; a ConfigError says that it cannot be.
    """

    def can(name):
        try:
            chain(dataclasses.replace(config, sampler=name or config.sampler))
        except ConfigError:
            return False
        return True

    # The first is what the page begins with: with its own, or with few steps.
    return [
        name for name in ("", "dpm", *(name for name in SAMPLERS if name != "dpm")) if can(name)
    ]
