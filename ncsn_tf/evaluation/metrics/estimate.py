"""A number with how sure it is, and what all metrics ask of their arrays."""

from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A figure that was estimated.

    Attributes:
        value: the figure.
        spread: its standard error, or the deviation over parts of the data: each function says.
    """

    value: float
    spread: float


def checked_features(features: np.ndarray, name: str, least: int) -> np.ndarray:
    """Features as float64 [N, D].

    Args:
        features: [N, D], finite.
        name: of the argument, for messages.
        least: the smallest N.

    Raises:
        ValueError: another shape, too few rows, or numbers that are not finite.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or not features.shape[1]:
        raise ValueError(f"{name} must be [N, D], not {list(features.shape)}")
    if len(features) < least:
        raise ValueError(f"{name} must have at least {least} rows, not {len(features)}")
    if not np.isfinite(features).all():
        raise ValueError(f"{name} must be finite numbers")
    return features
