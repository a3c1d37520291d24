"""Noise levels: ladders of standard deviations, and how to choose one for given data.

The choice is that of Song & Ermon 2020 (arXiv:2006.09011): sigma_1 is the largest distance between
two images (technique 1, see `distances`), the number of levels follows from the dimension
(technique 2), the step size from the number of steps a level (technique 4).

    python -m ncsn_tf.schedule --dataset=image_folder --data_dir=DIR --image_size=64

prints the flags for a data set (see `schedule_command`).
"""

# TensorFlow is imported where it is used: `python -m ncsn_tf.schedule --help` must not wait for it.

import math


def geometric_sigmas(sigma_begin, sigma_end, num_levels):
    """Geometric ladder of noise levels, sigma_1 > ... > sigma_L.

    sigma_i = sigma_begin * (sigma_end / sigma_begin) ** ((i - 1) / (L - 1))

    Args:
        sigma_begin: largest standard deviation, in units of the images' [0, 1] range.
        sigma_end: smallest standard deviation, 0 < sigma_end < sigma_begin.
        num_levels: L, at least 1; a ladder of one level is [sigma_begin].

    Returns:
        float32 [L], computed in double precision and rounded once; both ends are exact.

    Raises:
        ValueError: on an empty ladder, a level that is not positive, or levels that do not fall.

    Source: Song & Ermon 2019 (arXiv:1907.05600), section 4.1.
    """
    return _ladder(
        sigma_begin,
        sigma_end,
        num_levels,
        lambda share: sigma_begin * (sigma_end / sigma_begin) ** share,
    )


def uniform_sigmas(sigma_begin, sigma_end, num_levels):
    """Ladder of evenly spaced noise levels, sigma_1 > ... > sigma_L.

    sigma_i = sigma_begin + (sigma_end - sigma_begin) * (i - 1) / (L - 1)

    Arguments, result and errors are those of `geometric_sigmas`.

    Source: the released code of Song & Ermon 2020, `sigma_dist: uniform`.
    """
    return _ladder(
        sigma_begin,
        sigma_end,
        num_levels,
        lambda share: sigma_begin + (sigma_end - sigma_begin) * share,
    )


def _ladder(sigma_begin, sigma_end, num_levels, at):
    """Levels at(0) = sigma_begin to at(1) = sigma_end, checked."""
    import tensorflow as tf

    if num_levels < 1:
        raise ValueError(f"num_levels must be at least 1, not {num_levels}")
    if not (0 < sigma_begin < math.inf and sigma_end > 0):
        raise ValueError(f"noise levels must be positive, not {sigma_begin} to {sigma_end}")
    if num_levels == 1:
        return tf.constant([sigma_begin], tf.float32)
    if sigma_end >= sigma_begin:
        raise ValueError(f"sigma_end ({sigma_end}) must be below sigma_begin ({sigma_begin})")
    inner = [at(i / (num_levels - 1)) for i in range(1, num_levels - 1)]
    return tf.constant([sigma_begin, *inner, sigma_end], tf.float32)


def static_sigmas(sigmas):
    """The values of noise levels: float32 numpy array, also while a graph is being made.

    Args:
        sigmas: [L], numbers or a tensor.

    Raises:
        ValueError: on a tensor whose values only the finished graph will compute.
    """
    import numpy as np
    import tensorflow as tf

    # Not converted first: inside a tf.function that would be a captured tensor, of which TensorFlow
    # knows the values of small ones only.
    if isinstance(sigmas, tf.Variable):
        sigmas = sigmas.read_value()
    values = tf.get_static_value(sigmas) if tf.is_tensor(sigmas) else sigmas
    if values is None:
        raise ValueError("sigmas must be known when the graph is made")
    return np.asarray(values, np.float32)


def level_ratio(dimension):
    """Ratio gamma > 1 of neighbouring noise levels by technique 2.

    The root of

        Phi(sqrt(2 D) (gamma - 1) + 3 gamma) - Phi(sqrt(2 D) (gamma - 1) - 3 gamma) = 1/2

    with Phi the distribution function of N(0, 1): half of the radii that noise of one level has
    are within three standard deviations of those that noise of the next level has.

    Args:
        dimension: D, numbers in an image, at least 5 (below, no gamma is the root).

    Raises:
        ValueError: on a smaller dimension.

    Source: Song & Ermon 2020 (arXiv:2006.09011), technique 2.
    """
    if dimension < 5:
        raise ValueError(f"dimension must be at least 5, not {dimension}")
    root = math.sqrt(2.0 * dimension)

    def excess(ratio):
        middle = root * (ratio - 1.0)
        return _normal_cdf(middle + 3.0 * ratio) - _normal_cdf(middle - 3.0 * ratio) - 0.5

    # At the upper end the second argument is 0, and the difference below 1/2.
    return _bisect(excess, 1.0, root / (root - 3.0))


def choose_num_levels(sigma_begin, sigma_end, dimension):
    """Number of levels L whose ratio is nearest to that of technique 2.

        L = 1 + log(sigma_begin / sigma_end) / log(gamma), rounded; at least 2

    Args:
        sigma_begin, sigma_end: the ends of the ladder.
        dimension: D, see `level_ratio`.

    Raises:
        ValueError: the ends are not positive, or do not fall; the dimension is too small.
    """
    if not 0 < sigma_end < sigma_begin < math.inf:
        raise ValueError(
            f"noise levels must be positive and fall, not {sigma_begin} to {sigma_end}"
        )
    steps = math.log(sigma_begin / sigma_end) / math.log(level_ratio(dimension))
    return 1 + max(1, round(steps))


def variance_ratio(step_lr, sigma_end, ratio, num_steps_each):
    """Variance of the chain at the end of a level over sigma_i^2, when it entered the level with
    the last one's.

        q^{2T} (gamma^2 - c) + c,   q = 1 - e / sigma_L^2,   c = 2 e / (sigma_L^2 (1 - q^2))

    with e = step_lr, T = num_steps_each; it is the same at every level. It should be near 1, and
    is always above: c > 1 is the variance that very many steps would end with.

    Args:
        step_lr: Langevin step size at the last level, 0 < step_lr < 2 sigma_end^2.
        sigma_end: sigma_L.
        ratio: gamma, of neighbouring levels.
        num_steps_each: T.

    Raises:
        ValueError: on a step size with which the chain diverges.

    Source: Song & Ermon 2020 (arXiv:2006.09011), technique 4.
    """
    share = step_lr / sigma_end**2
    if not 0.0 < share < 2.0:
        raise ValueError(
            f"step_lr must be between 0 and 2 sigma_end^2 = {2 * sigma_end**2:g}, not {step_lr:g}"
        )
    limit = 2.0 / (2.0 - share)  # c
    return (1.0 - share) ** (2 * num_steps_each) * (ratio**2 - limit) + limit


def choose_step_lr(sigma_end, ratio, num_steps_each):
    """Langevin step size by technique 4: the one whose `variance_ratio` is nearest to 1.

    That is its least value. The published 6.2e-6 of CIFAR-10, 3.3e-6 of CelebA, 1.8e-6 of LSUN
    bedrooms and 0.9e-6 of FFHQ are these; 4.9e-6 of LSUN churches is not, but about twice its
    2.3e-6.

    Args:
        sigma_end: sigma_L, positive.
        ratio: gamma of neighbouring levels, above 1.
        num_steps_each: T, at least 1.

    Raises:
        ValueError: on other values.
    """
    if not (sigma_end > 0 and ratio > 1 and num_steps_each >= 1):
        raise ValueError(
            "sigma_end must be positive, ratio above 1 and num_steps_each at least 1, "
            f"not {sigma_end}, {ratio}, {num_steps_each}"
        )

    def minus_slope(share):  # of the variance ratio, by share = e / sigma_L^2
        gap = ratio**2 - 2.0 / (2.0 - share)
        decay = (1.0 - share) ** (2 * num_steps_each - 1)
        growth = 2.0 / (2.0 - share) ** 2
        return 2.0 * num_steps_each * decay * gap - (1.0 - decay * (1.0 - share)) * growth

    # It falls from a positive value to a negative one where c = gamma^2 (or at share = 1).
    return sigma_end**2 * _bisect(minus_slope, 0.0, min(1.0, 2.0 - 2.0 / ratio**2))


def _normal_cdf(x):
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def _bisect(function, low, high):
    """The root of a function that is positive at `low` and negative at `high`, to the last bit."""
    while True:
        middle = 0.5 * (low + high)
        if middle in (low, high):
            return middle
        low, high = (middle, high) if function(middle) > 0.0 else (low, middle)


if __name__ == "__main__":
    from ncsn_tf.command_line import run_command
    from ncsn_tf.schedule_command import main

    run_command(main)
