"""Inception Score."""

import numpy as np
from scipy.special import entr

from ncsn_tf.evaluation.metrics.estimate import Estimate, checked_features


def inception_score(probabilities: np.ndarray, splits: int = 10) -> Estimate:
    """exp(E KL(p(y | x) || p(y))), of parts of the images: their mean and deviation.

    Salimans et al. 2016 (arXiv:1606.03498). p(y) is the mean of a part. The parts follow one
    another, and are as equal as can be. From 1 to the number of classes; it rises with the number
    of images in a part.

    Args:
        probabilities: p(y | x) of the images, [N, K], rows that add up to 1.
        splits: number of parts, at most N.

    Returns:
        the mean over the parts, with their standard deviation as `spread`.

    Raises:
        ValueError: other shapes, rows that are no probabilities, or more parts than images.

    Example:
        >>> inception_score(np.eye(4)[np.arange(40) % 4], splits=10)  # each sure, all classes
        Estimate(value=4.0, spread=0.0)
    """
    probabilities = checked_features(probabilities, "probabilities", least=1)
    sums = probabilities.sum(1)
    if probabilities.min() < 0 or not np.allclose(sums, 1.0, atol=1e-3):
        raise ValueError("probabilities must be at least 0, and each row must add up to 1")
    if not 1 <= splits <= len(probabilities):
        raise ValueError(f"splits must be from 1 to the {len(probabilities)} images, not {splits}")
    probabilities = probabilities / sums[:, None]
    # E KL = H(E p) - E H(p).
    scores = [
        np.exp(entr(part.mean(0)).sum() - entr(part).sum(1).mean())
        for part in np.array_split(probabilities, splits)
    ]
    return Estimate(float(np.mean(scores)), float(np.std(scores)))
