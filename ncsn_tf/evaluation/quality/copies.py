"""Whether samples lie closer to training images than test images do."""

import math
from typing import NamedTuple

import numpy as np

from ncsn_tf.data.batches import load_pixels
from ncsn_tf.data.source import Source
from ncsn_tf.evaluation.neighbors import Search
from ncsn_tf.evaluation.quality.figure import Figure
from ncsn_tf.evaluation.quality.names import figure_name
from ncsn_tf.settings.config import Config

MOST = 1_000  # samples, and as many test images, that are looked at
_CLOSEST = 0.01  # of the test images
_CHANCE = 3.0  # standard deviations that are called chance
LARGEST_WORK = 2e12  # products of two numbers: minutes on a few cores


class Copies(NamedTuple):
    """How near samples and test images lie to the training images.

    Attributes:
        samples, test: medians of the distances to the nearest training image.
        closer: the share of the samples that are nearer to one than the nearest test images.
        expected: that share, if samples were like test images.
        num_closest: how many test images are "the nearest": 1 in 100, at least one.
        num_samples, num_test, num_train: numbers of images.

    Example:
        >>> copies = compare(np.array([1.0, 4.0, 5.0, 6.0]), np.array([3.0, 5.0, 7.0]), 100)
        >>> copies.samples, copies.test, copies.closer, copies.expected
        (4.5, 5.0, 0.25, 0.25)
        >>> is_suspicious(copies)
        False
    """

    samples: float
    test: float
    closer: float
    expected: float
    num_closest: int
    num_samples: int
    num_test: int
    num_train: int


def compare(samples: np.ndarray, test: np.ndarray, num_train: int) -> Copies:
    """`Copies` from distances to the nearest training image.

    Args:
        samples, test: of the samples [n] and of the test images [m].
        num_train: how many training images there are.
    """
    closest = max(1, math.ceil(_CLOSEST * len(test)))
    threshold = np.sort(test)[closest - 1]
    return Copies(
        samples=float(np.median(samples)),
        test=float(np.median(test)),
        closer=float(np.mean(samples < threshold)),
        expected=closest / (len(test) + 1),
        num_closest=closest,
        num_samples=len(samples),
        num_test=len(test),
        num_train=num_train,
    )


def is_suspicious(copies: Copies) -> bool:
    """Whether more samples than chance explains lie closer than the nearest test images."""
    expected = copies.expected * copies.num_samples
    chance = math.sqrt(expected * (1 + copies.num_samples / copies.num_test))
    return copies.closer * copies.num_samples > expected + _CHANCE * chance


def sentence(copies: Copies) -> str:
    """What people are told."""
    lie = "lie" if copies.samples < copies.test else "do not lie"
    text = (
        f"Copies: samples {lie} nearer to training images than test images do: the median distance "
        f"to the nearest of {copies.num_train} is {copies.samples:.4g} of {copies.num_samples} "
        f"samples, {copies.test:.4g} of {copies.num_test} test images (pixel values from 0 to 1). "
        f"{copies.closer:.1%} of the samples are closer than all but the closest "
        f"{copies.num_closest} of the test images; {copies.expected:.1%} would be if they were "
        "like these"
    )
    if is_suspicious(copies):
        return (
            f"{text}: more than chance. They may be copies, or empty or blurred, which is near to "
            "everything: look at them with ncsn neighbors"
        )
    return f"{text}: no more than chance"


def work(config: Config, source: Source, num_samples: int, num_test: int) -> float:
    """How many products of two numbers `find_copies` takes."""
    return (
        (min(num_samples, MOST) + min(num_test, MOST))
        * math.prod(source.images.shape)
        * (1.0 + config.random_flip)
    )


def find_copies(config: Config, train: Source, test: Source, samples: np.ndarray) -> Copies:
    """Search the training images that are nearest to samples, and to test images, in pixels.

    Where the run mirrors its training images, so are these.

    Args:
        config: the run's `Config`.
        train, test: the sources of its images.
        samples: uint8 [N, H, W, C], of which the first 1,000 are looked at.
    """
    samples = samples[:MOST]
    held_out = load_pixels(test, min(MOST, test.num_examples))
    search = Search(train, config)
    distances = search(np.concatenate([samples, held_out]), 1).distances[:, 0]
    return compare(distances[: len(samples)], distances[len(samples) :], search.searched)


def as_figure(copies: Copies, **known: object) -> Figure:
    """Copies as a `Figure`, whose value is `closer`.

    Args:
        copies: what was found.
        known: other attributes of the figure.
    """
    return Figure(
        name=figure_name("copies", copies.num_samples),
        metric="copies",
        value=copies.closer,
        num_samples=copies.num_samples,
        num_reference=copies.num_train,
        details=copies._asdict(),
        **known,
    )


def of_figure(figure: Figure) -> Copies | None:
    """The copies that a figure of `as_figure` tells of; None where it does not."""
    values = [figure.details.get(name) for name in Copies._fields]
    is_whole = all(isinstance(value, int | float) for value in values)
    return Copies(*values) if is_whole and figure.metric == "copies" and values[-2] else None
