"""Objectives for score networks, one value an example, for any score function."""

import tensorflow as tf


def denoising_score_matching(score_fn, images, labels, noise, sigmas, anneal_power=2.0):
    """Denoising score matching at the noise level of each example.

        x~ = x + sigma_i z,   loss = 1/2 || s(x~, i) + z / sigma_i ||^2 * sigma_i ** anneal_power

    summed over the elements of an image (a network that answers 0 has an expected loss of D / 2).

    Args:
        score_fn: (x [B, ...], labels [B]) -> score of x's shape.
        images: float32 [B, ...], data.
        labels: int32 [B], index of each example's noise level.
        noise: float32, of the images' shape, standard normal z.
        sigmas: float32 [L], the noise levels.
        anneal_power: exponent of the weight; 2 makes every level count alike.

    Returns:
        float32 [B].

    Source: Vincent 2011; Song & Ermon 2019 (arXiv:1907.05600), equations 2, 5 and 6.
    """
    images = tf.convert_to_tensor(images)
    level = tf.gather(sigmas, labels)  # [B]
    broadcast = tf.reshape(level, [-1] + [1] * (images.shape.rank - 1))
    perturbed = images + broadcast * noise
    target = -noise / broadcast
    squared = tf.square(score_fn(perturbed, labels) - target)
    axes = list(range(1, images.shape.rank))
    return 0.5 * tf.reduce_sum(squared, axes) * level**anneal_power
