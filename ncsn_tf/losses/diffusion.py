"""Objectives of networks of stochastic differential equations, one value an example.

Each is a sum of squares over the D numbers of an example: half of it, or with `reduce_mean` its
D-th part.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.columns import column
from ncsn_tf.backend.random import Stream

if TYPE_CHECKING:
    from ncsn_tf.schedule.sde import SDE, VE, VP


def diffusion_matching(
    score_fn: Callable[..., tf.Tensor],
    sde: "SDE",
    images: tf.Tensor,
    t: tf.Tensor,
    noise: tf.Tensor,
    likelihood_weighting: bool = False,
    reduce_mean: bool = False,
) -> tf.Tensor:
    """Denoising score matching at a time of each example.

        x_t = m(t) x + std(t) z
        loss = sum of (std s(x_t, t) + z)^2,    or of g(t)^2 (s(x_t, t) + z / std)^2

    The second weighting, with the half and not the mean of the sum, bounds the negative
    log-likelihood of the reverse SDE.

    Args:
        score_fn: (x [B, ...], t [B]) -> score of x's shape, see `ncsn_tf.sde.score_fn_of`.
        sde: the equation.
        images: float32 [B, ...], as the network sees them.
        t: float32 [B], times, see `times_of`.
        noise: float32, of the images' shape, standard normal z.
        likelihood_weighting: whether the weight is g^2.
        reduce_mean: whether the sum is divided by D, and not by two.

    Returns:
        float32 [B].

    Source: Song et al. 2021 (arXiv:2011.13456), equation 7; Song et al. 2021 (arXiv:2101.09258)
        for the likelihood's weighting; the reductions are those of the released code.

    Example:
        >>> from ncsn_tf import sde
        >>> images, noise = tf.zeros([2, 4]), tf.constant([[1.0] * 4, [2.0] * 4])
        >>> score_fn = lambda x, t: tf.zeros_like(x)  # || z ||^2 is left
        >>> diffusion_matching(score_fn, sde.VP(), images, [0.1, 0.5], noise).numpy().tolist()
        [2.0, 8.0]
    """
    mean, std = sde.marginal(images, t)
    broadcast = column(std, mean)
    score = score_fn(mean + broadcast * noise, t)
    if not likelihood_weighting:
        return _reduce(score * broadcast + noise, reduce_mean)
    return _reduce(score + noise / broadcast, reduce_mean) * tf.square(sde.diffusion(t))


def level_matching(
    network: Callable[..., tf.Tensor],
    sde: "VE",
    images: tf.Tensor,
    labels: tf.Tensor,
    noise: tf.Tensor,
    reduce_mean: bool = False,
) -> tf.Tensor:
    """Denoising score matching at one of the N levels of a variance-exploding SDE (SMLD).

        loss = sum of (s(x + sigma_k z, k) + z / sigma_k)^2 sigma_k^2,    sigma_0 the largest

    Without `reduce_mean` it is `denoising_score_matching` of the falling levels.

    Args:
        network: (x [B, ...], labels int32 [B]) -> score of x's shape.
        sde: the equation.
        images: float32 [B, ...], as the network sees them.
        labels: int32 [B], k.
        noise, reduce_mean: see `diffusion_matching`.

    Returns:
        float32 [B].

    Source: Song & Ermon 2019 (arXiv:1907.05600), section 4.2.

    Example:
        >>> from ncsn_tf import sde
        >>> network = lambda x, labels: 0.0 * x
        >>> images, noise = tf.zeros([2, 4]), tf.constant([[1.0] * 4, [2.0] * 4])
        >>> level_matching(network, sde.VE(), images, [0, 999], noise, True).numpy().tolist()
        [1.0, 4.0]
    """
    images = tf.convert_to_tensor(images)
    sigma = column(tf.gather(tf.constant(sde.levels), labels), images)
    score = network(images + sigma * noise, labels)
    return _reduce(score * sigma + noise, reduce_mean)


def noise_matching(
    network: Callable[..., tf.Tensor],
    sde: "VP",
    images: tf.Tensor,
    labels: tf.Tensor,
    noise: tf.Tensor,
    reduce_mean: bool = False,
) -> tf.Tensor:
    """The simple objective of DDPM, at one of the N steps of a variance-preserving SDE.

        loss = sum of (n(a_k x + b_k z, k) - z)^2

    with a_k, b_k the `sqrt_alphas_cumprod` and `sqrt_1m_alphas_cumprod` of the equation.

    Args:
        network: (x [B, ...], labels int32 [B]) -> the noise in x.
        sde: the equation.
        images: float32 [B, ...], as the network sees them.
        labels: int32 [B], k; 0 is the least noise.
        noise, reduce_mean: see `diffusion_matching`.

    Returns:
        float32 [B].

    Source: Ho et al. 2020 (arXiv:2006.11239), equation 14.

    Example:
        >>> from ncsn_tf import sde
        >>> network = lambda x, labels: 0.0 * x
        >>> images, noise = tf.zeros([2, 4]), tf.constant([[1.0] * 4, [2.0] * 4])
        >>> noise_matching(network, sde.VP(), images, [0, 999], noise).numpy().tolist()
        [2.0, 8.0]
    """
    images = tf.convert_to_tensor(images)
    kept, added = (
        column(tf.gather(tf.constant(table), labels), images)
        for table in (sde.sqrt_alphas_cumprod, sde.sqrt_1m_alphas_cumprod)
    )
    return _reduce(network(kept * images + added * noise, labels) - noise, reduce_mean)


def times_of(
    seeds: random.Seeds, counters: random.Counters = (0, 0), epsilon: float = 1e-5
) -> tf.Tensor:
    """A time for each example, uniform from epsilon to 1: float32 [B].

    Args:
        seeds, counters: address of the draws, see `random`; the stream is that of the levels.
        epsilon: the smallest time.

    Example:
        >>> t = times_of([5] * 1000, (tf.range(1000), 0))
        >>> bool(tf.reduce_all((t >= 1e-5) & (t <= 1.0))), round(float(tf.reduce_mean(t)), 1)
        (True, 0.5)
    """
    return random.uniform(seeds, (), Stream.LEVEL, counters) * (1.0 - epsilon) + epsilon


def _reduce(difference, reduce_mean):
    """Half of the sum of squares, or their mean, of each example."""
    difference = tf.convert_to_tensor(difference)
    axes = list(range(1, difference.shape.rank))
    if reduce_mean:
        return tf.reduce_mean(tf.square(difference), axes)
    return 0.5 * tf.reduce_sum(tf.square(difference), axes)
