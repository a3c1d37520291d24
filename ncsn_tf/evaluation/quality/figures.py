"""From features to figures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ncsn_tf.backend.choices import QUALITY_METRICS
from ncsn_tf.errors import ConfigError
from ncsn_tf.evaluation.metrics import (
    classification_accuracy,
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)
from ncsn_tf.evaluation.quality.asked import unclassifiable
from ncsn_tf.evaluation.quality.names import OF_PROBABILITIES
from ncsn_tf.evaluation.quality.sets import FeatureSet

K = 3  # the neighbour of precision and recall
SPLITS = 10  # of the Inception Score
_LEAST = {"fid": 2, "kid": 2, "is": SPLITS, "precision": K + 1, "recall": K + 1}
_LEAST |= {"accuracy": 1}
PAIRED = ("kid", "precision", "recall")  # compare all pairs of images


class Result(NamedTuple):
    """A figure without the story around it.

    Attributes:
        value: the figure.
        spread: standard error of "kid" and "accuracy", deviation over the splits of "is"; else
            None.
        num_samples: how many generated images it is of.
        num_reference: how many real ones; None where that is not known, or there are none.
    """

    value: float
    spread: float | None
    num_samples: int
    num_reference: int | None


def figures_of(
    real: FeatureSet | None, generated: FeatureSet, metrics: Sequence[str]
) -> dict[str, Result]:
    """The figures of quality of generated images, by their features and those of real ones.

    Args:
        real: to compare with; None is enough for "is" and "accuracy".
        generated: of the images that are measured.
        metrics: of `QUALITY_METRICS`: "fid" is the Frechet distance of all features; "kid" the
            unbiased kernel distance of the vectors that are kept, with its standard error; "is" the
            Inception Score of ten splits, with their deviation; "precision" and "recall" of the
            vectors that are kept, with the third neighbour; "accuracy" the share of the images
            that are taken for the class that was asked for, with its standard error.

    Returns:
        {metric: `Result`}, in the order of `metrics`.

    Raises:
        ConfigError: a metric for which something is missing: see `impossible`.

    Example:
        >>> from ncsn_tf.evaluation.metrics import FeatureSums
        >>> draw = np.random.RandomState(0).normal
        >>> sets = [FeatureSet(FeatureSums(3).add(x), x) for x in draw(size=(2, 500, 3))]
        >>> figures_of(*sets, ["fid"])["fid"].value < 0.05
        True
    """
    for metric in metrics:
        why = impossible(metric, real, generated)
        if why:
            raise ConfigError(f"--metrics={metric} {why}")
    results = {}
    for metric in metrics:
        if metric == "fid":
            value = frechet_distance(
                real.sums.mean, real.sums.covariance, generated.sums.mean, generated.sums.covariance
            )
            results[metric] = Result(value, None, generated.count, real.count)
        elif metric == "is":
            value, spread = _score(generated.probabilities)
            results[metric] = Result(value, spread, generated.count, None)
        elif metric == "accuracy":
            found = classification_accuracy(generated.probabilities, generated.asked.labels)
            results[metric] = Result(*found, generated.count, None)
        else:
            numbers = len(generated.vectors), len(real.vectors)
            if metric == "kid":
                results[metric] = Result(
                    *kernel_distance(generated.vectors, real.vectors), *numbers
                )
            elif metric not in results:
                both = precision_recall(real.vectors, generated.vectors, K)
                results |= {
                    name: Result(value, None, *numbers) for name, value in both._asdict().items()
                }
    return {metric: results[metric] for metric in metrics}


def _score(probabilities):
    """The Inception Score and its deviation: a part at a time, for the memory."""
    parts = np.array_split(probabilities, SPLITS)
    scores = [inception_score(part, splits=1).value for part in parts]
    return float(np.mean(scores)), float(np.std(scores))


def impossible(metric: str, real: FeatureSet | None, generated: FeatureSet) -> str:
    """Why a metric cannot be had of these features, in words; "" where it can.

    Example:
        >>> from ncsn_tf.evaluation.metrics import FeatureSums
        >>> one = FeatureSet(FeatureSums(2).add(np.ones([1, 2])), np.ones([1, 2], np.float32))
        >>> impossible("fid", one, one)
        'needs at least 2 samples, not 1'
    """
    if metric not in QUALITY_METRICS:
        return f"must be of {', '.join(QUALITY_METRICS)}"
    if metric == "is" and generated.probabilities is None:
        return "needs a feature network with probabilities: a classifier"
    if metric == "accuracy":
        given = generated.probabilities
        num_classes = 0 if given is None else given.shape[1]
        why = unclassifiable(generated.asked, "the feature network", num_classes)
        if why:
            return why
    if metric in PAIRED and real is not None and real.vectors is None:
        return f"cannot be had of the mean and covariance in {real.label}: it needs images"
    if metric not in OF_PROBABILITIES and real is None:
        return "needs images to compare with"
    counts = [(generated.count, "samples")]
    if metric not in OF_PROBABILITIES:
        counts.append((real.count, "images to compare with"))
    return too_few(metric, counts)


def too_few(metric: str, counts: Sequence[tuple[int | None, str]]) -> str:
    """Why there are too few images for a metric, in words; "" where there are enough.

    Args:
        metric: of `QUALITY_METRICS`.
        counts: (how many, of what); None where that is not known.

    Example:
        >>> too_few("is", [(9, "samples")])
        'needs at least 10 samples, not 9'
    """
    for count, name in counts:
        if count is not None and count < _LEAST[metric]:
            return f"needs at least {_LEAST[metric]} {name}, not {count}"
    return ""


def remarks(real: FeatureSet | None, generated: FeatureSet, metrics: Sequence[str]) -> list[str]:
    """What is to be said of figures: few samples, features that do not vary, equal sets.

    Example:
        >>> from ncsn_tf.evaluation.metrics import FeatureSums
        >>> x = np.eye(4)[:2]
        >>> few = FeatureSet(FeatureSums(4).add(x), x)
        >>> [line[:30] for line in remarks(few, few, ["fid"])]
        ['2 samples are fewer than the 4', 'the samples have the very feat']
    """
    lines = []
    dimension = len(generated.sums.mean)
    if "fid" in metrics:
        for count, name in (
            (generated.count, "samples"),
            (real.count, "images to compare with"),
        ):
            if count is not None and count <= dimension:
                lines.append(
                    f"{count} {name} are fewer than the {dimension} features: the Frechet distance "
                    "is biased upwards, compare it with that of equally many only"
                )
                break
        varying = int(np.sum(np.diag(generated.sums.covariance) > 0))
        if not varying:
            lines.append("all samples have the same features: are they one image?")
    if real is not None and _are_equal(real, generated):
        lines.append(
            "the samples have the very features of the images that they are compared with: they "
            "are the same images"
        )
    return lines


def _are_equal(real, generated):
    if real.vectors is not None:
        return real.vectors.shape == generated.vectors.shape and np.array_equal(
            np.sort(real.vectors, 0), np.sort(generated.vectors, 0)
        )
    return np.allclose(real.sums.mean, generated.sums.mean, rtol=1e-9, atol=0)
