"""What samples are compared with: a split of a data set, a file of mean and covariance, images."""

import os
from pathlib import Path

import numpy as np

from ncsn_tf.data.cache import cache_folder
from ncsn_tf.data.source import Source
from ncsn_tf.evaluation import features as networks
from ncsn_tf.evaluation.features import FeatureNetwork
from ncsn_tf.evaluation.quality.image_sets import Images
from ncsn_tf.evaluation.quality.names import short_number
from ncsn_tf.evaluation.quality.sets import PAIRS, FeatureSet, Moments, feature_set
from ncsn_tf.files import array_headers, is_array, user_path
from ncsn_tf.settings.config import Config
from ncsn_tf.training.run_data import run_source

_FOLDER = "quality"  # of the cache, for features of images that users name
_SEED = 0  # of the choice of vectors


def reference_of(
    config: Config,
    features: FeatureNetwork,
    *,
    split: str = "train",
    num_images: int = 0,
    keep: int = PAIRS,
    source: Source | None = None,
) -> FeatureSet:
    """The features of a run's images; they are computed once and kept in the run's cache.

    Args:
        config: the run's `Config`: its data set and `cache_dir`.
        features: the feature network.
        split: "train" or "test".
        num_images: the first of a fixed shuffled order; 0 is all of them.
        keep: vectors that are kept, for figures of pairs: of more images a random choice, always
            the same.
        source: that split's, where it is open already.

    Raises:
        UserError: the data cannot be read, or the cache cannot be written.
    """
    source = source or run_source(config, split)
    whole = networks.reference_of(
        features, source, split=split, num_images=num_images, cache_dir=config.cache_dir
    )
    is_part = 0 < num_images < source.num_examples
    label = f"{split}-{short_number(whole.number)}" if is_part else split
    return FeatureSet(
        Moments(whole.mu, whole.sigma, whole.number),
        _some(whole.vectors, keep),
        against="" if label == "train" else label,
        label=label,
    )


def _some(vectors, keep):
    if len(vectors) <= keep:
        return np.array(vectors)
    chosen = np.random.RandomState(_SEED).choice(len(vectors), keep, replace=False)
    return np.array(vectors[np.sort(chosen)])


def is_moments(path: str | os.PathLike) -> bool:
    """Whether a file holds a mean and a covariance: an .npz with `mu` and `sigma`."""
    place = user_path(path)
    if not os.path.isfile(place) or is_array(place):
        return False
    headers = array_headers(place)
    return "mu" in headers and "sigma" in headers


def read_moments(path: str | os.PathLike, features: FeatureNetwork) -> FeatureSet:
    """The mean and covariance that the field's programs write: `mu` [D], `sigma` [D, D].

    Raises:
        UserError: the file cannot be read, is of another network, or has no covariance; one line.
    """
    found = networks.read_reference(user_path(path), features)
    moments = Moments(found.mu, found.sigma, found.number or None)
    return FeatureSet(moments, against=Path(path).stem, label=str(path))


def of_images(images: Images, features: FeatureNetwork, keep: int, cache_dir: str) -> FeatureSet:
    """The features of images that a user names to compare with; kept in the cache."""
    found = feature_set(
        images,
        features,
        keep=keep,
        with_probabilities=False,
        cache=cache_folder(cache_dir) / _FOLDER,
    )
    found.label, found.against = images.name, Path(images.name).stem
    return found
