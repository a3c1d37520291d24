"""The data of a run: what its `Config` says of its images."""

import dataclasses

from ncsn_tf.data.source import Source
from ncsn_tf.data.sources import load_source
from ncsn_tf.settings.config import Config


def run_source(config: Config, split: str) -> Source:
    """The `Source` of a run's images: `sources.load_source` with the settings of its `Config`.

    Args:
        config: the run's `Config`.
        split: "train" or "test".

    Raises:
        UserError: what `load_source` raises.

    Example:
        >>> run_source(Config(dataset="digits", image_size=8, channels=1), "test").num_examples
        179
    """
    return load_source(
        config.dataset,
        split,
        data_dir=config.data_dir,
        image_size=config.image_size,
        channels=config.channels,
        crop_size=config.crop_size,
        cache_dir=config.cache_dir,
    )


def with_places(config: Config, data_dir: str = "", cache_dir: str = "") -> Config:
    """A run's `Config` with its data elsewhere; an empty place is the run's own.

    Example:
        >>> config = with_places(Config(data_dir="here", cache_dir="there"), data_dir="elsewhere")
        >>> config.data_dir, config.cache_dir
        ('elsewhere', 'there')
    """
    return dataclasses.replace(
        config, data_dir=data_dir or config.data_dir, cache_dir=cache_dir or config.cache_dir
    )
