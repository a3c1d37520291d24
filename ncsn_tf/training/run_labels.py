"""The class labels of a run: the data decide the classes, and each image keeps its own."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream
from ncsn_tf.data.class_names import names_of
from ncsn_tf.data.source import Source
from ncsn_tf.errors import UserError
from ncsn_tf.settings.config import Config

# What is to be done where the images of a data set have no labels.
_NEEDS = {
    "image_folder": "put each picture into a folder named after its class, two folders at least, "
    "and none beside them",
    "arrays": "save labels with the images in the .npz, whole numbers from 0 or names, one an "
    "image; or give labels= to train()",
}


def with_classes(config: Config, source: Source) -> Config:
    """A class-conditional run's `Config` with the names of the classes of its training images.

    Raises:
        UserError: the images have no labels, or are all of one class.

    Example:
        >>> from ncsn_tf.data.source import from_arrays
        >>> source = from_arrays(np.zeros([3, 8, 8]), np.array([0, 1, 1]))
        >>> with_classes(Config(class_conditional=True), source).class_names
        ('0', '1')
    """
    if source.labels is None:
        needs = _NEEDS.get(config.dataset, "name a data set with a feature 'label'")
        raise UserError(f"--class_conditional=true: {source.name} has no labels: {needs}")
    names = names_of(source.labels, source.classes)
    if len(names) < 2:
        raise UserError(
            f"--class_conditional=true needs two classes at least: {source.name} has "
            f"{' and '.join(names) or 'none'} alone"
        )
    return dataclasses.replace(config, class_names=names)


def labelled(source: Source, config: Config) -> Source:
    """Images with the labels that a run's network takes: those of no class have the last row.

    Args:
        source: images of the run's data set, of any split, or of the same classes.
        config: the run's `Config`, with the names of its classes.

    Returns:
        the source, its labels int64 [N] in [0, K]; None where it has none, or the run no classes.

    Raises:
        UserError: it has other classes than the run.

    Example:
        >>> from ncsn_tf.data.source import from_arrays
        >>> config = Config(class_conditional=True, class_names=("cat", "dog"))
        >>> labelled(from_arrays(np.zeros([3, 8, 8]), np.array([0, 1, 1])), config).labels.tolist()
        [0, 1, 1]
    """
    count = config.num_classes
    if not count or source.labels is None:
        return dataclasses.replace(source, labels=None)
    names = names_of(source.labels, source.classes)
    if source.classes and names != config.class_names or len(names) > count:
        raise UserError(
            f"{source.name} has other classes than the run: {_shown(names)}, and not "
            f"{_shown(config.class_names)}"
        )
    return dataclasses.replace(source, labels=np.where(source.labels < 0, count, source.labels))


def dropped(
    labels: tf.Tensor, config: Config, seeds: tf.Tensor, counters: tuple[tf.Tensor, tf.Tensor]
) -> tf.Tensor:
    """Labels, of which each is "no label" with probability `label_dropout`.

    Args:
        labels: [B] in [0, K].
        config: the run's `Config`.
        seeds, counters: address of the draws, see `random`.

    Returns:
        int32 [B].

    Source: Ho & Salimans 2022 (arXiv:2207.12598), algorithm 1.

    Example:
        >>> config = Config(class_conditional=True, class_names=("a", "b"), label_dropout=0.5)
        >>> seeds = tf.fill([1000], tf.constant(7, tf.int64))
        >>> labels = dropped(tf.zeros([1000], tf.int64), config, seeds, (tf.range(1000), 0))
        >>> round(float(tf.reduce_mean(tf.cast(labels == 2, tf.float32))), 1)
        0.5
    """
    labels = tf.cast(labels, tf.int32)
    if not config.label_dropout:
        return labels
    drawn = random.uniform(seeds, (), Stream.LABEL_DROPOUT, counters)
    return tf.where(drawn < config.label_dropout, config.num_classes, labels)


def labelling(network: Callable, labels: tf.Tensor | None) -> Callable:
    """A network with labels bound to it: (x, condition) -> its answer; itself without labels.

    Example:
        >>> labelling(lambda x, condition, labels: labels, tf.constant([3]))(0, 0).numpy().tolist()
        [3]
    """
    if labels is None:
        return network

    def answer(x, condition, **kwargs):
        return network(x, condition, labels, **kwargs)

    return answer


def _shown(names):
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"
