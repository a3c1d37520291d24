"""The energy distance between two sets of samples."""

import numpy as np


def energy_distance(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, unbiased, and its standard error to first order.

    0 if and only if both are drawn from the same distribution (Szekely & Rizzo 2013). The error
    is that of the linear part of the two-sample U-statistic; for samples of one distribution that
    part is 0, and the error says too little.

    Args:
        x, y: float [N, ...] and [M, ...], N and M at least 2.
    """
    x, y = (np.asarray(part, np.float64).reshape(len(part), -1) for part in (x, y))
    between, within_x, within_y = _distances(x, y), _distances(x, x), _distances(y, y)
    near_x, near_y = (
        part.sum(1) / (len(part) - 1) for part in (within_x, within_y)
    )  # each one's own distance is 0
    value = 2.0 * between.mean() - near_x.mean() - near_y.mean()
    linear_x, linear_y = between.mean(1) - near_x, between.mean(0) - near_y
    variance = 4.0 * (linear_x.var(ddof=1) / len(x) + linear_y.var(ddof=1) / len(y))
    return float(value), float(variance**0.5)


def _distances(x, y):
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2.0 * x @ y.T
    distances = np.sqrt(np.maximum(squares, 0.0))
    if x is y:
        np.fill_diagonal(distances, 0.0)
    return distances
