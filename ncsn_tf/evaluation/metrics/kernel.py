"""Kernel distance: the squared maximum mean discrepancy of features."""

import numpy as np

from ncsn_tf.evaluation.metrics.estimate import Estimate, checked_features

_TILE = 2048  # rows and columns of the kernel matrix at a time


def kernel_distance(
    x: np.ndarray,
    y: np.ndarray,
    subset_size: int | None = None,
    num_subsets: int = 100,
    seed: int = 0,
) -> Estimate:
    """The unbiased estimate of MMD^2 with the kernel (a . b / D + 1)^3: KID, with its error.

    Binkowski et al. 2018 (arXiv:1801.01401), section 4:

        sum_{i != j} k(x_i, x_j) / (n (n - 1)) + sum_{i != j} k(y_i, y_j) / (m (m - 1))
            - 2 sum_{i, j} k(x_i, y_j) / (n m)

    Its expectation is the squared distance of the distributions whatever n and m are, 0 for equal
    ones, so that estimates below zero are right. (One set against itself gives a negative
    figure, and not 0: its pairs of equals count among the crossed ones alone.) The figure that is
    quoted as KID is the mean over random subsets of 1,000; by default all features are used at
    once, which is sharper.

    Args:
        x, y: features [N, D] and [M, D], N and M at least 2.
        subset_size: features of each in a subset, at most N and M; None takes all of them once.
        num_subsets: number of subsets, where there are any.
        seed: of the choice of subsets.

    Returns:
        the estimate. Its `spread` is the standard error: of all features by the first terms of the
        Hoeffding decomposition, 4 (var h(x_i) / n + var h(y_j) / m) with h the mean difference of a
        point's kernels; of subsets the deviation of their mean, as if they were independent.

    Raises:
        ValueError: other shapes, or too few features.

    Example:
        >>> draw = np.random.RandomState(0).normal
        >>> kernel_distance(draw(size=(500, 4)), draw(size=(500, 4)) + 0.5).value > 0.1
        True
    """
    x, y = checked_features(x, "x", least=2), checked_features(y, "y", least=2)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must have the same features, not {x.shape[1]} and {y.shape[1]}")
    if subset_size is None:
        return _of_all(x, y)
    if not 2 <= subset_size <= min(len(x), len(y)):
        most = min(len(x), len(y))
        raise ValueError(f"subset_size must be from 2 to the {most} features, not {subset_size}")
    if num_subsets < 2:
        raise ValueError(f"num_subsets must be at least 2, not {num_subsets}")
    random = np.random.RandomState(seed)
    values = [
        _of_all(*(part[random.choice(len(part), subset_size, replace=False)] for part in (x, y)))[0]
        for _ in range(num_subsets)
    ]
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(num_subsets)))


def _of_all(x, y):
    """The estimate from all pairs."""
    within_x, across_x, across_y = _means(x, x, True), _means(x, y), _means(y, x)
    within_y = _means(y, y, True)
    value = within_x.mean() + within_y.mean() - 2 * across_x.mean()
    variances = [
        np.var(within - across, ddof=1) / len(within)
        for within, across in ((within_x, across_x), (within_y, across_y))
    ]
    return Estimate(float(value), float(2 * np.sqrt(sum(variances))))


def _means(rows, columns, is_same=False):
    """Mean kernel of each row with the columns, but for itself where they are the same: [N]."""
    means = []
    for start in range(0, len(rows), _TILE):
        part = rows[start : start + _TILE]
        sums = np.zeros(len(part))
        for first in range(0, len(columns), _TILE):
            sums += _kernel(part @ columns[first : first + _TILE].T, rows.shape[1]).sum(1)
        if is_same:
            sums -= _kernel(np.sum(part**2, 1), rows.shape[1])
        means.append(sums / (len(columns) - is_same))
    return np.concatenate(means)


def _kernel(products, dimension):
    p = products / dimension + 1
    return p * p * p
