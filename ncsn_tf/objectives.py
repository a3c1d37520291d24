"""The objective of a run: which loss `config.objective` names, and its random projections."""

import math

import tensorflow as tf

from ncsn_tf import losses, random
from ncsn_tf.random import Stream


def objective_loss(score_fn, images, labels, noise, sigmas, seeds, counters, config):
    """The loss of each example, as `config.objective` says.

    dsm is `denoising_score_matching`; sm, ssm and ssm_vr are `score_matching`,
    `sliced_score_matching` and `sliced_score_matching_vr` of the perturbed images. All are weighted
    by sigma_i ** anneal_power. Up to a constant, sigma_i ** anneal_power times half of
    E|| z / sigma_i ||^2 = D / sigma_i^2 (D / 2 for the power 2), they have the same expectation.

    Args:
        score_fn: (x [B, ...], labels [B]) -> score of x's shape.
        images, labels, noise, sigmas: as in `losses.denoising_score_matching`.
        seeds, counters: address of the projections' draws, see `random`.
        config: the run's `Config`.

    Returns:
        float32 [B].
    """
    if config.objective == "dsm":
        return losses.denoising_score_matching(
            score_fn, images, labels, noise, sigmas, config.anneal_power
        )

    def loss_fn(x, labels):
        if config.objective == "sm":
            return losses.score_matching(score_fn, x, labels)
        shape, count = x.shape[1:], config.num_projections
        if config.objective == "ssm":
            v = spherical_projections(seeds, count, shape, counters)
            return losses.sliced_score_matching(score_fn, x, v, labels)
        v = gaussian_projections(seeds, count, shape, counters)
        return losses.sliced_score_matching_vr(score_fn, x, v, labels)

    return losses.at_noise_levels(loss_fn, images, labels, noise, sigmas, config.anneal_power)


def gaussian_projections(seeds, num_projections, shape, counters=(0, 0)):
    """Projections v ~ N(0, I): float32 [B, M, *shape]. Seeds and counters as in `random`."""
    return random.normal(seeds, (num_projections, *shape), Stream.PROJECTION, counters)


def spherical_projections(seeds, num_projections, shape, counters=(0, 0)):
    """Projections v uniform on the sphere of radius sqrt(D): float32 [B, M, *shape].

    E[v v^T] = I, as for a normal v. (The released code has the unit sphere, which makes the loss
    smaller by the factor D; Adam does not see a constant factor.)
    """
    v = gaussian_projections(seeds, num_projections, shape, counters)
    axes = list(range(2, v.shape.rank))
    length = tf.sqrt(tf.reduce_sum(tf.square(v), axes, keepdims=True))
    return v * (math.sqrt(math.prod(shape)) / length)
