"""Improved precision and recall."""

from typing import NamedTuple

import numpy as np
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors

from ncsn_tf.evaluation.metrics.estimate import checked_features

_SLACK = 32 * np.finfo(np.float64).eps  # of squared distances, by the squared norms


class PrecisionRecall(NamedTuple):
    """Shares, from 0 to 1.

    Attributes:
        precision: of the generated images that look like real ones.
        recall: of the real images that the generated ones cover.
    """

    precision: float
    recall: float


def precision_recall(real: np.ndarray, generated: np.ndarray, k: int = 3) -> PrecisionRecall:
    """How much of each set lies in the manifold of the other.

    Kynkaanniemi et al. 2019 (arXiv:1904.06991), equations 1 and 2. The manifold of a set is made of
    balls around its features, each as large as the distance to its k-th nearest neighbour in the
    set. Precision is the share of generated features within some ball of a real one; recall the
    share of real features within some ball of a generated one.

    Args:
        real: features [N, D], more than k of them.
        generated: features [M, D], more than k of them.
        k: which neighbour decides the radius; the paper's is 3.

    Returns:
        `PrecisionRecall`. Both depend on N and M: compare equal numbers only.

    Raises:
        ValueError: other shapes, or too few features.

    Example:
        >>> real = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> precision_recall(real, np.array([[0.5], [1.5], [9.0]]), k=1)
        PrecisionRecall(precision=0.6666666666666666, recall=1.0)
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    real = checked_features(real, "real", least=k + 1)
    generated = checked_features(generated, "generated", least=k + 1)
    if real.shape[1] != generated.shape[1]:
        sizes = f"{real.shape[1]} and {generated.shape[1]}"
        raise ValueError(f"real and generated must have the same features, not {sizes}")
    # Digits of distances are lost with the distance from the origin.
    origin = real.mean(0)
    real, generated = real - origin, generated - origin
    return PrecisionRecall(_share_within(generated, real, k), _share_within(real, generated, k))


def _share_within(points, centres, k):
    """The share of points within a ball around some centre."""
    neighbors = NearestNeighbors(n_neighbors=k, algorithm="brute", metric="sqeuclidean")
    distances, _ = neighbors.fit(centres).kneighbors()
    # Squared distances are differences of squared norms: equal ones come out so but for rounding.
    slack_of_points, slack_of_centres = (_SLACK * np.sum(each**2, 1) for each in (points, centres))
    radii = distances[:, -1] + slack_of_centres

    def is_inside(part, start):
        return (part - slack_of_points[start : start + len(part), None] <= radii).any(1)

    inside = pairwise_distances_chunked(
        points, centres, reduce_func=is_inside, metric="sqeuclidean"
    )
    return float(np.mean(np.concatenate(list(inside))))
