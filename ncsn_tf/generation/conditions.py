"""Conditional sampling from a checkpoint: known parts of images, interpolation, one class.

A condition brings the chain that the sampler draws with, and for each image what that chain wants
to know of it.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ncsn_tf.data import pictures
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.generation import known_pictures
from ncsn_tf.models.noisy_classifier import NoisyClassifier
from ncsn_tf.sampling.chain import Chain
from ncsn_tf.sampling.conditional import Known, Mixture
from ncsn_tf.sampling.guidance import GuidedChain, GuidedScore, OfClass
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.labels import Labels
from ncsn_tf.settings.options import show
from ncsn_tf.training.classifier import load_classifier
from ncsn_tf.training.run_conditions import (
    completion_chain,
    guided_score,
    require_conditional,
    seeds_chain,
)
from ncsn_tf.training.run_sampler import chain_of

_GREY = 96  # where nothing is known


class Condition(Protocol):
    """What is known of the images that are drawn.

    Attributes:
        chain: the `sampling.Chain` to draw with.
        inputs: uint8 [M, H, W, C], what is known of each picture, grey where nothing is; None where
            no pictures are completed.
    """

    chain: Chain
    inputs: np.ndarray | None

    def score_fn(self, score_fn: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Callable:
        """The score function of the chain, from that of the run's own, `chain_score`."""

    def labels(self, labels: Labels) -> Labels:
        """The classes of its images, where the run's network knows classes."""

    def rows(self, seeds: np.ndarray) -> tuple[np.ndarray, Any]:
        """(seeds of the chains, what `Rows.condition` is for them), from the images' seeds [B]."""


def open_condition(
    config: Config,
    *,
    inpaint: str | os.PathLike | None = None,
    mask: str = "right",
    colorize: str | os.PathLike | None = None,
    super_resolve: str | os.PathLike | None = None,
    factor: int = 4,
    resize: bool = False,
    denoise: bool | None = None,
    first_seed: int = 0,
    interpolate: tuple[int, int] | None = None,
    count: int = 1,
    classifier: str | os.PathLike | None = None,
    label: int = 0,
    classifier_scale: float = 1.0,
) -> Condition | None:
    """The condition for images of a run's network; None where nothing is asked for.

    Args:
        config: the run's `Config` with the settings of the chain.
        inpaint: a picture, a folder or an .npz of them, of which a part is filled; one at most of
            this, `colorize`, `super_resolve` and `interpolate` is given.
        mask: the part to fill; see `masks.load_mask`.
        colorize: pictures that are given colour; their grey is (R + G + B) / 3.
        super_resolve: pictures that are enlarged, or whose blocks keep their means.
        factor: how much `super_resolve` enlarges.
        resize: whether pictures of another size are cropped and resized, as training images are.
        denoise: whether chains that complete pictures end with a denoising step; None is as in
            `run_conditions.completion_chain`.
        first_seed: seed of the first image, which completes the first picture.
        interpolate: (A, B): from the image of seed A to the noise of seed B, or to its image; see
            `run_conditions.seeds_chain`.
        count: how many images an interpolation has.
        classifier: file of a classifier, with which one class is drawn.
        label: the class.
        classifier_scale: weight of the classifier.

    Raises:
        ConfigError: what the run's network or sampler cannot do, a mask that fills nothing or all,
            or a class that the classifier does not know.
        UserError: a picture or classifier that cannot be used.
    """
    condition = None
    if interpolate is not None:
        condition = Interpolation(seeds_chain(config), *interpolate, count)
    elif any(path is not None for path in (inpaint, colorize, super_resolve)):
        require_conditional(config)
        try:
            if inpaint is not None:
                values, unknown, measurement = known_pictures.of_masked(
                    config, inpaint, mask, resize
                )
            elif colorize is not None:
                values, unknown, measurement = known_pictures.of_grey(config, colorize, resize)
            else:
                values, unknown, measurement = known_pictures.of_small(
                    config, super_resolve, factor, resize
                )
        except pictures.SizeError as error:
            raise UserError(f"{error}, or --resize") from None
        chain = completion_chain(config, measurement, denoise)
        condition = Completion(chain, values, unknown, first_seed)
    if not classifier:
        return condition
    network = load_classifier(classifier, config)
    if label >= network.num_classes:
        raise ConfigError(
            f"{show('label', label)} must be below the classifier's {network.num_classes} classes"
        )
    chain = chain_of(config) if condition is None else condition.chain
    return OneClass(chain, config, network, label, classifier_scale, condition)


class Completion:
    """Images of which part is known: inpainting, colourisation, super-resolution.

    Image i of N completes picture i modulo the number of pictures.

    Args:
        chain: see `Condition`; one of `run_conditions.completion_chain`.
        values: float [M, H, W, C], the pictures, 0 to 255.
        unknown: bool [H, W], the places where nothing is known.
        first_seed: the seed of image 0.
    """

    def __init__(self, chain: Chain, values: np.ndarray, unknown: np.ndarray, first_seed: int = 0):
        self.chain = chain
        self.inputs = np.where(unknown[:, :, None], _GREY, np.round(values)).astype(np.uint8)
        self._first_seed = first_seed
        self._known = Known(
            (values / 255).astype(np.float32),
            np.broadcast_to(~unknown[None, :, :, None], (*values.shape[:3], 1)).astype(np.float32),
        )

    def score_fn(self, score_fn: Callable) -> Callable:
        """See `Condition`."""
        return score_fn

    def labels(self, labels: Labels) -> Labels:
        """See `Condition`: each picture is completed as one class, then each as the next."""
        return dataclasses.replace(labels, first=self._first_seed, run=len(self.inputs))

    def rows(self, seeds: np.ndarray) -> tuple[np.ndarray, Known]:
        """See `Condition`."""
        # Python integers: the difference of two int64 may not fit one.
        index = [(int(seed) - self._first_seed) % len(self.inputs) for seed in seeds]
        return seeds, Known(*(array[index] for array in self._known))


class Interpolation:
    """Images between that of one seed and the noise of another.

    Image i of N, whose seed is i, has the angle i / (N - 1) of a quarter turn, whatever the batch.

    Args:
        chain: see `Condition`; one of `run_conditions.seeds_chain`.
        own_seed, other_seed: the two.
        count: N.
    """

    inputs = None

    def __init__(self, chain: Chain, own_seed: int, other_seed: int, count: int):
        self.chain = chain
        self._own_seed = own_seed
        self._other_seed = other_seed
        self._count = count

    def score_fn(self, score_fn: Callable) -> Callable:
        """See `Condition`."""
        return score_fn

    def labels(self, labels: Labels) -> Labels:
        """See `Condition`."""
        return labels

    def rows(self, seeds: np.ndarray) -> tuple[np.ndarray, Mixture]:
        """See `Condition`."""
        angles = seeds / max(self._count - 1, 1) * (np.pi / 2)
        # Rounded so that a quarter turn's cosine is 0.
        own, other = (np.round(fn(angles), 12).astype(np.float32) for fn in (np.cos, np.sin))
        others = np.full(len(seeds), self._other_seed, np.int64)
        return np.full(len(seeds), self._own_seed, np.int64), Mixture(others, own, other)


class OneClass:
    """Images of one class, by a classifier; under another condition too, if there is one.

    Args:
        chain: the chain that is guided; that of the other condition, if there is one.
        config: the run's settings.
        classifier: a `NoisyClassifier` for the network's images and noise levels.
        label: the class.
        scale: weight of the classifier.
        condition: the other condition.
    """

    def __init__(
        self,
        chain: Chain,
        config: Config,
        classifier: NoisyClassifier,
        label: int,
        scale: float = 1.0,
        condition: Condition | None = None,
    ):
        self.chain = GuidedChain(chain)
        self.inputs = None if condition is None else condition.inputs
        self._config = config
        self._classifier = classifier
        self._label = label
        self._scale = scale
        self._condition = condition

    def score_fn(self, score_fn: Callable) -> GuidedScore:
        """See `Condition`."""
        return guided_score(score_fn, self._config, self._classifier, self._scale)

    def labels(self, labels: Labels) -> Labels:
        """See `Condition`; the class is the classifier's."""
        raise ConfigError("a classifier draws its own class")

    def rows(self, seeds: np.ndarray) -> tuple[np.ndarray, OfClass]:
        """See `Condition`."""
        classes, condition = np.full(len(seeds), self._label, np.int32), ()
        if self._condition is not None:
            seeds, condition = self._condition.rows(seeds)
        return seeds, OfClass(classes, condition)
