"""A mixture of two normal densities whose score is known, and how far samples of it are off."""

from collections.abc import Callable

import numpy as np

# The largest noise level, the smallest, and how many.
SIGMAS = (2.0, 0.01, 10)
WEIGHT, DEVIATION, SIZE = 0.8, 0.05, 16


def density():
    """0.8 N(0.7, 0.05^2 I) + 0.2 N(0.3, 0.05^2 I) in 16 dimensions: the modes are 1.6 apart."""
    from ncsn_tf.toy.densities import GaussianMixture

    means = [[0.7] * SIZE, [0.3] * SIZE]
    return GaussianMixture([WEIGHT, 1.0 - WEIGHT], means, DEVIATION**2)


class MixtureScore:
    """Of a mixture, at any sigma."""

    def __init__(self, density):
        self.density = density

    def at_sigma(self, x, sigma):
        return self.density.score(x, sigma)

    def levels(self, sigmas: np.ndarray) -> Callable:
        """The same for chains that ask by level."""
        score_fn = self.density.score_fn(sigmas)
        score_fn.at_sigma = self.at_sigma
        return score_fn


def mode_errors(x: np.ndarray) -> tuple[float, float, float]:
    """How samples of the mixture under little noise differ from it.

    Args:
        x: float [N, 16].

    Returns:
        share of the first mode; the largest error of a mode's mean, averaged over the dimensions,
        in standard deviations; the mean standard deviation within modes over the true one. NaN
        where a mode has fewer than two samples.
    """
    x = np.asarray(x, np.float64)
    first = x.mean(1) > 0.5
    means, variances, counts = [], [], []
    for mode, place in ((x[first], 0.7), (x[~first], 0.3)):
        if len(mode) < 2:
            return float(first.mean()), float("nan"), float("nan")
        means.append(abs(mode.mean() - place) / true_deviation())
        variances.append(mode.var(0, ddof=1).mean())
        counts.append(len(mode))
    pooled = np.average(variances, weights=counts)
    return float(first.mean()), float(max(means)), float(pooled**0.5 / true_deviation())


def true_deviation() -> float:
    """Within a mode, at the smallest noise level."""
    return (DEVIATION**2 + SIGMAS[1] ** 2) ** 0.5
