"""Classification accuracy: how many images a classifier takes for their class."""

import math

import numpy as np

from ncsn_tf.evaluation.metrics.estimate import Estimate, checked_features


def classification_accuracy(probabilities: np.ndarray, labels: np.ndarray) -> Estimate:
    """The share of the images that a classifier takes for the class that was asked for.

        a = 1/N sum_i [argmax_k p(k | x_i) = y_i],    standard error sqrt(a (1 - a) / N)

    It says nothing of how good or how varied the images are: the same one of each class may have
    the highest of all.

    Args:
        probabilities: p(k | x) of the images, [N, K]; of equals the first class counts.
        labels: y, the class of each image, whole numbers [N] in [0, K).

    Returns:
        the share, from 0 to 1, with its standard error, that of a binomial share, as `spread`.

    Source: GAN-test of Shmelkov et al. 2018 (arXiv:1807.09499).

    Raises:
        ValueError: other shapes, no images, or labels that are no classes.

    Example:
        >>> classification_accuracy([[0.9, 0.1], [0.8, 0.2]], [0, 1])
        Estimate(value=0.5, spread=0.3535533905932738)
    """
    probabilities = checked_features(probabilities, "probabilities", least=1)
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"labels must be whole numbers [{len(probabilities)}], one an image, not "
            f"{labels.dtype} {list(labels.shape)}"
        )
    classes = probabilities.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be from 0 to {classes - 1}, the classes of probabilities")
    share = float(np.mean(np.argmax(probabilities, axis=1) == labels))
    return Estimate(share, math.sqrt(share * (1 - share) / len(labels)))
