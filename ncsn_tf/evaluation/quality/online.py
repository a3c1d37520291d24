"""Figures of a network, drawn and measured in memory: for training, and to tune a chain."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from ncsn_tf.data.images import to_uint8
from ncsn_tf.errors import UserError
from ncsn_tf.evaluation.features import FeatureNetwork, is_inception
from ncsn_tf.evaluation.quality.asked import Asked, of_seeds
from ncsn_tf.evaluation.quality.figure import Figure
from ncsn_tf.evaluation.quality.figures import Result, figures_of
from ncsn_tf.evaluation.quality.names import OF_PROBABILITIES, figure_name
from ncsn_tf.evaluation.quality.sets import FeatureSet, feature_set
from ncsn_tf.sampling.sampler import Sampler, in_batches
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.labels import Labels, each_class, labelled_settings
from ncsn_tf.training.run_sampler import chain_settings, sampler_of


class DivergedError(UserError):
    """Chains whose images are not finite."""


def draw_and_measure(
    network: Callable,
    config: Config,
    features: FeatureNetwork,
    reference: FeatureSet,
    metrics: Sequence[str],
    num_samples: int,
    seed: int,
    batch_size: int = 64,
    sampler: Sampler | None = None,
    labels: Labels | None = None,
) -> dict[str, Figure]:
    """Draw samples of a network and measure them; nothing is written.

    Those of a network that knows classes are of all of them in turn, if no others are given.

    Args:
        network: score network, built inside the scope of the current distribution strategy.
        config: its run's `Config`, with the chain's settings.
        features: the feature network.
        reference: the features of the images to compare with, see `reference_of`.
        metrics: such as ["fid", "kid"], see `figures_of`.
        num_samples: how many to draw.
        seed: of the first sample; sample i has seed + i.
        batch_size: images at a time; changes none.
        sampler: of that network and those settings, where it has been made already: a new one
            compiles its chain.
        labels: the classes that are drawn, of a network that knows classes.

    Returns:
        {metric: `Figure`}; `step` and `weights` are for the caller to set, by
        `dataclasses.replace`.

    Raises:
        ConfigError: a metric for which something is missing.
        DivergedError: chains diverged, so that there is nothing to measure.
    """
    sampler = sampler or sampler_of(network, config)
    seeds = seed + np.arange(num_samples, dtype=np.int64)
    labels = labels or each_class(config.class_names)

    def draw_batch(batch, advance):
        classes = {} if labels is None else labels.rows(batch)
        samples = sampler.draw(batch, lambda state: advance(), **classes)
        if not np.isfinite(samples).all():
            raise DivergedError("the chains diverged: try a smaller --step_lr, another --sampler")
        return to_uint8(samples)

    batches = -(-num_samples // min(batch_size, num_samples))
    with tqdm(total=batches * len(sampler.pieces), unit="piece", disable=None, leave=False) as bar:
        pixels = np.concatenate(
            [images for _, images in in_batches(draw_batch, seeds, batch_size, bar)]
        )
    needed = any(metric in OF_PROBABILITIES for metric in metrics)
    generated = feature_set(pixels, features, with_probabilities=needed)
    if labels is not None:
        generated.asked = of_seeds(labels, seeds)
    results = figures_of(reference, generated, metrics)
    known = {
        "sampler": labelled_settings(chain_settings(config), labels),
        "seeds": (seed, num_samples),
    }
    return as_figures(results, features, reference, known, generated.asked)


def as_figures(
    results: dict[str, Result],
    features: FeatureNetwork,
    reference: FeatureSet | None,
    known: dict[str, Any],
    asked: Asked | None = None,
) -> dict[str, Figure]:
    """Results with their names and with what is known besides.

    Args:
        results: of `figures_of`.
        features: the feature network.
        reference: what was compared with.
        known: other attributes of each `Figure`.
        asked: the classes that the images were asked to be of, if there are any.
    """
    against = "" if reference is None else reference.against
    label = "" if reference is None else reference.label
    return {
        metric: Figure(
            name=figure_name(
                metric,
                result.num_samples,
                network=features.name,
                is_inception=is_inception(features),
                against=asked.some if metric == "accuracy" else against,
            ),
            metric=metric,
            **result._asdict(),
            reference="" if metric in OF_PROBABILITIES else label,
            features=features.name,
            checksum=features.checksum,
            resize=features.resize,
            **known,
        )
        for metric, result in results.items()
    }
