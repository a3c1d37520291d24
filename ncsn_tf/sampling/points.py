"""Schedules: the noise levels at which a solver of few steps stands."""

import math
from collections.abc import Sequence

import numpy as np

from ncsn_tf.backend.choices import SCHEDULES


def schedule_points(
    sigmas: Sequence[float] | np.ndarray,
    count: int,
    schedule: str = "karras",
    rho: float = 7.0,
    jumps: bool = False,
) -> np.ndarray:
    """`count` noise levels that fall from sigma_1 to sigma_L, both of them included.

    With a = sigma_1, b = sigma_L and u_i = i / (count - 1) from 0 to 1,

        karras      (a^(1/rho) + u_i (b^(1/rho) - a^(1/rho)))^rho
        geometric   a (b / a)^u_i
        ladder      level 1 + u_i (L - 1) of the network's own; between two levels, their
                    geometric mean with weights

    Args:
        sigmas: [L], falling noise levels, at least two.
        count: at least two.
        schedule: "karras", "geometric" or "ladder".
        rho: of karras, at least 1, which is even steps of sigma. Large ones have more points among
            the small levels; in the limit it is geometric.
        jumps: whether each level has weights of its own, as in NCSN: then the points are levels,
            the nearest in log sigma of which none is taken twice, as far as there are enough.

    Returns:
        float64 [count].

    Raises:
        ValueError: another schedule, or a rho below 1.

    Source: Karras et al. 2022 (arXiv:2206.00364), equation 5.

    Example:
        >>> sigmas = [1.0, 0.5, 0.1, 0.01]
        >>> schedule_points(sigmas, 3, "karras").round(3).tolist()
        [1.0, 0.145, 0.01]
        >>> schedule_points(sigmas, 3, "geometric").round(3).tolist()
        [1.0, 0.1, 0.01]
        >>> schedule_points(sigmas, 3, "ladder").round(3).tolist()
        [1.0, 0.224, 0.01]
        >>> schedule_points(sigmas, 3, "karras", jumps=True).round(3).tolist()
        [1.0, 0.1, 0.01]
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, not {schedule}")
    if not rho >= 1:
        raise ValueError(f"rho={rho} must be at least 1")
    sigmas = np.asarray(sigmas, np.float64)
    first, last = float(sigmas[0]), float(sigmas[-1])
    share = np.arange(count) / (count - 1)
    places = np.arange(len(sigmas))
    if schedule == "karras":
        # The paper's formula in logarithms, which keep their digits whatever rho.
        fall = math.expm1(math.log(last / first) / rho)
        logs = math.log(first) + rho * np.log1p(share * fall)
    elif schedule == "geometric":
        logs = math.log(first) + share * math.log(last / first)
    else:
        logs = np.interp(share * places[-1], places, np.log(sigmas))
    if jumps and count <= len(sigmas):
        positions = np.interp(-logs, -np.log(sigmas), places)
        return sigmas[_apart(positions, len(sigmas))]
    points = np.exp(logs)
    points[0], points[-1] = first, last
    return points


def _apart(positions, length):
    """The rising whole numbers below `length`, no two alike, next to rising positions."""
    room = length - len(positions)
    # Of whole numbers that rise by one at least, less their rank: these rise by none at least.
    ranks = np.arange(len(positions))
    nearest = np.clip(np.rint(positions).astype(int) - ranks, 0, room)
    return np.maximum.accumulate(nearest) + ranks
