"""Averages of weights whose profile is a power of time: their lengths, and how they are fitted.

Of weights w(1), ..., w(t) the average gives w(i) a share that grows as i^gamma: as time goes on,
its profile is stretched, and keeps its form. Its relative length sigma_rel is the deviation of that
profile as a share of t: of 0.1 the last fifth or quarter of the training so far counts the most.
Stored averages of two lengths at a number of times span the others: the profile of any length is
fitted by theirs, and the average is the same sum of the stored averages.

Source: Karras et al. 2023 (arXiv:2312.02696), section 3 and appendix C.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ncsn_tf.settings.averages import LONGEST, SHORTEST

LARGEST_ERROR = 0.1  # of a fitted profile, beside its own norm
_GRID = 400  # lengths that are tried, to find those that can be had
_SMALLEST = 1e-12  # singular value of the products of profiles, beside the largest


def length_of(gamma: float) -> float:
    """The relative length sigma_rel of the average whose profile is t^gamma; gamma >= 0.

    Example:
        >>> round(length_of(6.94), 4), round(length_of(0.0), 4)
        (0.1, 0.2887)
    """
    return float(np.sqrt((gamma + 1.0) / ((gamma + 2.0) ** 2 * (gamma + 3.0))))


def gamma_of(length: float) -> float:
    """The exponent of the average of a relative length: the inverse of `length_of`.

    Args:
        length: above 0, and at most 0.2886: from there on, early weights count the most.

    Example:
        >>> round(gamma_of(0.05), 2), round(gamma_of(0.1), 2)
        (16.97, 6.94)
    """
    ratio = float(length) ** -2
    # (gamma + 2)^2 (gamma + 3) = ratio (gamma + 1) has one root above -1 and below it two others.
    gamma = max(np.roots([1.0, 7.0, 16.0 - ratio, 12.0 - ratio]).real)
    for _ in range(2):  # Newton's method takes the last digits, which the roots lack
        value = (gamma + 2.0) ** 2 * (gamma + 3.0) - ratio * (gamma + 1.0)
        slope = (gamma + 2.0) * (3.0 * gamma + 8.0) - ratio
        gamma -= value / slope
    return float(gamma)


def decay(gamma: float, count: int) -> float:
    """What an average keeps of itself at its count-th update, count from 1: (1 - 1/t)^(gamma + 1).

    The rest of its next value are the weights; after n updates the weights of update i have the
    share (i^(gamma + 1) - (i - 1)^(gamma + 1)) / n^(gamma + 1).

    Example:
        >>> decay(1.0, 1), decay(1.0, 2)
        (0.0, 0.25)
    """
    return float((1.0 - 1.0 / count) ** (gamma + 1.0))


def products(
    first: Sequence[tuple[float, float]], second: Sequence[tuple[float, float]]
) -> np.ndarray:
    """The inner products of profiles, in closed form.

    Args:
        first: N of (t, gamma): p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1) up to t, then 0.
        second: M of them.

    Returns:
        float64 [N, M].

    Example:
        >>> products([(1.0, 0.0)], [(1.0, 0.0), (2.0, 1.0)]).tolist()
        [[1.0, 0.25]]
    """
    time, gamma = np.transpose(np.asarray(first, np.float64))[:, :, None]
    others = np.transpose(np.asarray(second, np.float64))[:, None, :]
    size = (gamma + 1.0) * (others[1] + 1.0) / (gamma + others[1] + 1.0)
    # Up to the earlier time, where both are; the later one's exponent tells how much it is there.
    exponent = np.where(time < others[0], others[1], gamma)
    earlier, later = np.minimum(time, others[0]), np.maximum(time, others[0])
    return size * (earlier / later) ** exponent / later


class Fit(NamedTuple):
    """Profiles as sums of others.

    Attributes:
        shares: [K, M] of the K others in M profiles.
        errors: [M], the norm of what is missing, as a share of the profile's norm. Of weights that
            are independent from step to step it is the error of the average, beside its deviation;
            those of a training change slowly, and the average is nearer.
    """

    shares: np.ndarray
    errors: np.ndarray


def fit(known: Sequence[tuple[float, float]], wished: Sequence[tuple[float, float]]) -> Fit:
    """The least-squares fits of profiles by others.

    Args:
        known: (t, gamma) of the K averages that are there.
        wished: (t, gamma) of the M that are wished.

    Example:
        >>> there = fit([(1.0, 4.0), (2.0, 4.0), (2.0, 1.0)], [(2.0, 4.0)])
        >>> abs(there.shares.round(6)).tolist(), bool(there.errors < 1e-6)
        ([[0.0], [1.0], [0.0]], True)
    """
    among, with_wished = products(known, known), products(known, wished)
    norms = np.sqrt(np.diag(among))
    sizes = np.sqrt(np.diag(products(wished, wished)))
    among = among / np.outer(norms, norms)
    with_wished = with_wished / np.outer(norms, sizes)
    shares = np.linalg.lstsq(among, with_wished, rcond=_SMALLEST)[0]
    missing = 1.0 + np.sum(shares * (among @ shares - 2.0 * with_wished), axis=0)
    return Fit(shares * sizes / norms[:, None], np.sqrt(np.maximum(missing, 0.0)))


def attainable(known: Sequence[tuple[float, float]], time: float) -> tuple[float, float]:
    """The shortest and the longest average at a time that the known ones give well enough.

    Well enough is an error of `LARGEST_ERROR` at most.

    Args:
        known: (t, gamma) of the averages that are there, some of them at that time.
        time: t of the wished one.

    Example:
        >>> there = [(t, gamma_of(length)) for t in range(1, 21) for length in (0.05, 0.1)]
        >>> shortest, longest = attainable(there, 20)
        >>> shortest < 0.05, longest > 0.15
        (True, True)
    """
    lengths = np.geomspace(SHORTEST, LONGEST, _GRID)
    errors = fit(known, [(time, gamma_of(length)) for length in lengths]).errors
    good = lengths[errors <= LARGEST_ERROR]
    of_known = [length_of(gamma) for t, gamma in known if t == time]
    return float(min([*good, *of_known])), float(max([*good, *of_known]))
