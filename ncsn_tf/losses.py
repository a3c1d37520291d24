"""Objectives for score networks, one value an example, for any score function.

All estimate, up to a constant that no score function changes, the Fisher divergence

    1/2 E || s(x) - grad log p(x) ||^2

A score function is `s(x)`, or `s(x, labels)` where noise levels are given. Sums run over the
elements of an example, whatever its shape.
"""

import tensorflow as tf


def denoising_score_matching(score_fn, images, labels, noise, sigmas, anneal_power=2.0):
    """Denoising score matching at the noise level of each example.

        x~ = x + sigma_i z,   loss = 1/2 || s(x~, i) + z / sigma_i ||^2 * sigma_i ** anneal_power

    summed over the elements of an image (a network that answers 0 has an expected loss of D / 2).
    Its expected gradient is that of explicit score matching of the perturbed density, times
    sigma_i ** anneal_power.

    Args:
        score_fn: (x [B, ...], labels [B]) -> score of x's shape; (x) -> score without labels.
        images: float32 [B, ...], data.
        labels: int32 [B], index of each example's noise level; None: one level for all.
        noise: float32, of the images' shape, standard normal z.
        sigmas: float32 [L], the noise levels; a scalar without labels.
        anneal_power: exponent of the weight; 2 makes every level count alike.

    Returns:
        float32 [B].

    Source: Vincent 2011; Song & Ermon 2019 (arXiv:1907.05600), equations 2, 5 and 6.
    """
    images = tf.convert_to_tensor(images)
    level, broadcast = _levels(images, labels, sigmas)
    perturbed = images + broadcast * noise
    target = -noise / broadcast
    squared = tf.square(_score(score_fn, perturbed, labels) - target)
    axes = list(range(1, images.shape.rank))
    return 0.5 * tf.reduce_sum(squared, axes) * level**anneal_power


def fisher_divergence(score_fn, true_score_fn, x, labels=None):
    """Explicit score matching, for densities whose score is known: 1/2 || s(x) - s*(x) ||^2.

    Args:
        score_fn, true_score_fn: (x [B, ...], labels [B]) -> score of x's shape; (x) -> score
            without labels.
        x: float32 [B, ...], draws of the density.
        labels: int32 [B], index of each example's noise level, or None.

    Returns:
        float32 [B]; its mean estimates the Fisher divergence.

    Source: Vincent 2011, equation 6.
    """
    x = tf.convert_to_tensor(x)
    difference = _score(score_fn, x, labels) - _score(true_score_fn, x, labels)
    return 0.5 * _dot(difference, difference)


def score_matching(score_fn, x, labels=None):
    """Exact (implicit) score matching: 1/2 || s(x) ||^2 + tr(ds/dx).

    The trace takes a backward pass for each of the D elements of an example, all at once: time and
    memory are D times those of a gradient. For D up to about a hundred.

    Args:
        score_fn: (x [B, ...], labels [B]) -> score of x's shape; (x) -> score without labels.
            Example b of the answer may depend on example b of x only.
        x: float32 [B, ...], data, all dimensions but the first known.
        labels: int32 [B], index of each example's noise level, or None.

    Returns:
        float32 [B].

    Source: Hyvarinen 2005, theorem 1; Song & Ermon 2019 (arXiv:1907.05600), section 2.1.
    """
    x = tf.convert_to_tensor(x)
    shape = x.shape[1:]
    size = shape.num_elements()
    basis = tf.reshape(tf.eye(size, dtype=x.dtype), [size, 1, *shape])
    score, derivatives = directional_derivatives(score_fn, x, labels, basis)
    return 0.5 * _dot(score, score) + tf.reduce_sum(derivatives, 0)


def sliced_score_matching(score_fn, x, projections, labels=None):
    """Sliced score matching: 1/2 (v^T s(x))^2 + v^T (ds/dx) v, the mean over the projections v.

    With E[v v^T] = I its expectation over v is `score_matching`; on the unit sphere, where
    E[v v^T] = I / D, it is a D-th of that.

    Args:
        score_fn: (x [B, ...], labels [B]) -> score of x's shape; (x) -> score without labels.
            Example b of the answer may depend on example b of x only.
        x: float32 [B, ...], data.
        projections: float32 [B, M, ...], M directions an example.
        labels: int32 [B], index of each example's noise level, or None.

    Returns:
        float32 [B].

    Source: Song, Garg, Shi & Ermon 2019 (arXiv:1905.07088), equation 7.
    """
    x = tf.convert_to_tensor(x)
    directions = _directions_first(projections)
    score, derivatives = directional_derivatives(score_fn, x, labels, directions)
    axes = list(range(2, directions.shape.rank))
    along = tf.reduce_sum(directions * score[None], axes)  # [M, B]
    return tf.reduce_mean(0.5 * tf.square(along) + derivatives, 0)


def sliced_score_matching_vr(score_fn, x, projections, labels=None):
    """Sliced score matching with reduced variance: 1/2 || s(x) ||^2 + v^T (ds/dx) v.

    The mean over the projections v, for which E[v v^T] = I must hold: then E[(v^T s)^2] = || s ||^2
    is known, and the expectation is `score_matching`. Arguments and result are those of
    `sliced_score_matching`.

    Source: Song, Garg, Shi & Ermon 2019 (arXiv:1905.07088), equation 8.
    """
    x = tf.convert_to_tensor(x)
    score, derivatives = directional_derivatives(
        score_fn, x, labels, _directions_first(projections)
    )
    return 0.5 * _dot(score, score) + tf.reduce_mean(derivatives, 0)


def at_noise_levels(loss_fn, images, labels, noise, sigmas, anneal_power=2.0):
    """Any objective at the noise level of each example, the perturbed images being the data.

        x~ = x + sigma_i z,   loss = loss_fn(x~, i) * sigma_i ** anneal_power

    Args:
        loss_fn: (x [B, ...], labels [B]) -> float32 [B].
        images, labels, noise, sigmas, anneal_power: as in `denoising_score_matching`.

    Returns:
        float32 [B].

    Source: Song & Ermon 2019 (arXiv:1907.05600), section 4.2.
    """
    images = tf.convert_to_tensor(images)
    level, broadcast = _levels(images, labels, sigmas)
    return loss_fn(images + broadcast * noise, labels) * level**anneal_power


def directional_derivatives(score_fn, x, labels, directions):
    """s(x), and v^T (ds/dx) v for each direction.

    Args:
        score_fn, x, labels: as in `score_matching`; labels are only handed on.
        directions: [M, B, ...] or [M, 1, ...].

    Returns:
        score of x's shape, derivatives [M, B].
    """
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        score = _score(score_fn, x, labels)

    def derivative(direction):
        direction = tf.broadcast_to(direction, tf.shape(x))
        gradient = tape.gradient(
            score, x, direction, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return _dot(gradient, direction)

    if directions.shape[0] == 1:
        return score, derivative(directions[0])[None]
    return score, tf.vectorized_map(derivative, directions)


def _directions_first(projections):
    """[B, M, ...] -> [M, B, ...]."""
    projections = tf.convert_to_tensor(projections)
    return tf.transpose(projections, [1, 0, *range(2, projections.shape.rank)])


def _score(score_fn, x, labels):
    return score_fn(x) if labels is None else score_fn(x, labels)


def _levels(images, labels, sigmas):
    """Each example's noise level, [B] or a scalar, and in a shape to multiply the images with."""
    level = tf.convert_to_tensor(sigmas) if labels is None else tf.gather(sigmas, labels)
    return level, tf.reshape(level, [-1] + [1] * (images.shape.rank - 1))


def _dot(a, b):
    """Sum of the products of an example's elements: [B]."""
    return tf.reduce_sum(a * b, list(range(1, a.shape.rank)))
