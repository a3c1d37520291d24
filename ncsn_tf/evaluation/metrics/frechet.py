"""Frechet distance of features, from sums that add up over shards."""

import numpy as np

from ncsn_tf.evaluation.metrics.estimate import checked_features


class FeatureSums:
    """The sums of features that their mean and covariance are made of, in float64.

    Sums of parts add up to those of the whole, so that images can be drawn and measured in shards.
    They are of f - c with c the first vector: a mean that is large beside the deviations would
    leave few digits of these.

    Args:
        dimension: D, numbers of one feature vector.

    Attributes:
        count: N, the number of vectors.
        shift: c, float64 [D]; 0 before the first vector.
        total: the sum of f - c, float64 [D].
        products: the sum of (f - c) (f - c)^T, float64 [D, D].

    Example:
        >>> features = np.random.RandomState(0).normal(size=(50, 3))
        >>> first, second = FeatureSums(3).add(features[:20]), FeatureSums(3).add(features[20:])
        >>> bool(np.allclose((first + second).covariance, np.cov(features.T)))
        True
    """

    def __init__(self, dimension: int):
        self.count = 0
        self.shift = np.zeros([dimension])
        self.total = np.zeros([dimension])
        self.products = np.zeros([dimension, dimension])

    def add(self, features: np.ndarray) -> "FeatureSums":
        """Take features [n, D]. Returns itself.

        Raises:
            ValueError: another shape, or numbers that are not finite; nothing is taken then.
        """
        features = checked_features(features, "features", least=0)
        self._require_same(features.shape[1])
        if not self.count and len(features):
            self.shift = features[0].copy()
        self.count += len(features)
        features = features - self.shift
        self.total += features.sum(0)
        self.products += features.T @ features
        return self

    def __add__(self, other: "FeatureSums") -> "FeatureSums":
        """The sums of both."""
        self._require_same(len(other.total))
        whole = FeatureSums(len(self.total))
        whole.count = self.count + other.count
        whole.shift = self.shift if self.count else other.shift
        for part in (self, other):
            by = part.shift - whole.shift if part.count else np.zeros_like(whole.shift)
            crossed = np.outer(part.total, by)
            whole.total = whole.total + part.total + part.count * by
            whole.products += part.products + crossed + crossed.T + part.count * np.outer(by, by)
        return whole

    @property
    def mean(self) -> np.ndarray:
        """float64 [D]; N is at least 1."""
        self._require(1)
        return self.shift + self.total / self.count

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased one, float64 [D, D]; N is at least 2."""
        self._require(2)
        mean = self.total / self.count
        return (self.products - self.count * np.outer(mean, mean)) / (self.count - 1)

    def _require_same(self, dimension):
        if dimension != len(self.total):
            raise ValueError(f"features must be [N, {len(self.total)}], not [N, {dimension}]")

    def _require(self, least):
        if self.count < least:
            raise ValueError(f"at least {least} feature vectors are needed, not {self.count}")


def frechet_distance(
    mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray
) -> float:
    """|mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), squared as the field quotes it.

    The distance of Frechet between Gaussians (Dowson & Landau 1982), which Heusel et al. 2017
    (arXiv:1706.08500) apply to features of the Inception network. The trace of the root is the sum
    of the singular values of L1^T L2 with S = L L^T. Singular covariances, as of fewer samples than
    dimensions, need no correction: directions without variance are left out of L. But of few
    samples the figure is biased upwards, by about the same for all models only at the same number.

    Args:
        mu1, mu2: means [D].
        sigma1, sigma2: covariances [D, D], symmetric, no eigenvalue below zero but for rounding.

    Returns:
        a number from 0 on; 0 for equal moments, but for rounding.

    Raises:
        ValueError: other shapes, numbers that are not finite, or no covariance.

    Example:
        >>> eye = np.eye(2)
        >>> round(frechet_distance([0, 0], eye, [3, 4], 4 * eye), 9)  # 25 + 2 (2 - 1)^2
        27.0
    """
    mu1, mu2 = (np.asarray(mu, np.float64) for mu in (mu1, mu2))
    if mu1.ndim != 1 or mu1.shape != mu2.shape:
        raise ValueError(f"means must be [D], not {list(mu1.shape)} and {list(mu2.shape)}")
    if not (np.isfinite(mu1).all() and np.isfinite(mu2).all()):
        raise ValueError("means must be finite numbers")
    root1, root2 = _root(sigma1, len(mu1)), _root(sigma2, len(mu1))
    common = (
        np.linalg.svd(root1.T @ root2, compute_uv=False).sum() if root1.size * root2.size else 0
    )
    spread = np.sum(root1**2) + np.sum(root2**2) - 2 * common
    return float(np.sum((mu1 - mu2) ** 2) + max(spread, 0.0))


def _root(sigma, dimension):
    """L [D, R] with L L^T = sigma, of its R eigenvalues that are above rounding."""
    sigma = np.asarray(sigma, np.float64)
    if sigma.shape != (dimension, dimension):
        raise ValueError(f"a covariance must be {[dimension] * 2}, not {list(sigma.shape)}")
    if not np.isfinite(sigma).all():
        raise ValueError("covariances must be finite numbers")
    size = np.abs(sigma).max(initial=0.0)
    if np.abs(sigma - sigma.T).max(initial=0.0) > 1e-6 * size:
        raise ValueError("a covariance must be symmetric")
    values, vectors = np.linalg.eigh((sigma + sigma.T) / 2)
    rounding = max(size, np.abs(values).max(initial=0.0)) * dimension * np.finfo(np.float64).eps
    # Sums over many features, or files of float32, leave more than a rounding below zero.
    if values.min(initial=0.0) < -1e-5 * size * dimension:
        raise ValueError(f"a covariance has no eigenvalue below zero, as {values.min():.3g}")
    kept = values > rounding
    return vectors[:, kept] * np.sqrt(values[kept])
