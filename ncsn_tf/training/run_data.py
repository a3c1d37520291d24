"""The data of a run: what its `Config` says of its images."""

import dataclasses

import numpy as np

from ncsn_tf.data.source import Source
from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import UserError
from ncsn_tf.files import digest
from ncsn_tf.settings.config import Config
from ncsn_tf.training.workers import Workers

_COMPARED = 1024  # images of which workers compare the pixels


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


def check_same_data(source: Source, workers: Workers) -> None:
    """Raise a UserError, the same for all workers, unless all of them read the same data.

    Compared are the number of images, all labels, and the pixels of 1,024 images that are spread
    evenly over the data, and the names of the classes.
    """
    if workers.count == 1:
        return
    labels = [] if source.labels is None else [source.labels.tobytes()]
    labels += [name.encode(errors="surrogateescape") for name in source.classes]
    places = np.linspace(0, source.num_examples - 1, _COMPARED).astype(np.int64)
    pixels = source.images.pixels(source.images.standing_in(np.unique(places)))
    facts = {
        "images": source.num_examples,
        "other labels": _as_number(labels),
        "other pixels": _as_number([pixels.tobytes()]),
    }
    for name, own in facts.items():
        first, *others = workers.of_each(own)
        for index, value in enumerate(others, 1):
            if value != first:
                what = f"{value} {name} and not {first}" if name == "images" else name
                raise UserError(
                    f"worker {index} reads other data than worker 0, {what}: --data_dir must hold "
                    "the same on all machines"
                )


def _as_number(parts):
    """A digest that can be added up."""
    return int(digest(parts)[:12], 16)


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
