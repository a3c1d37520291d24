"""Score matching, one value an example, for any score function.

All estimate, up to a constant that no score function changes, the Fisher divergence

    1/2 E || s(x) - grad log p(x) ||^2

A score function is `s(x)`, or `s(x, levels)` where noise levels are given. Sums run over the
elements of an example, whatever its shape.
"""

from collections.abc import Callable

import tensorflow as tf


def denoising_score_matching(
    score_fn: Callable[..., tf.Tensor],
    images: tf.Tensor,
    levels: tf.Tensor | None,
    noise: tf.Tensor,
    sigmas: tf.Tensor,
    anneal_power: float = 2.0,
) -> tf.Tensor:
    """Denoising score matching at the noise level of each example.

        x~ = x + sigma_i z,   loss = 1/2 || s(x~, i) + z / sigma_i ||^2 * sigma_i ** anneal_power

    summed over the elements of an image (a network that answers 0 has an expected loss of D / 2).
    Its expected gradient is that of explicit score matching of the perturbed density, times
    sigma_i ** anneal_power.

    Args:
        score_fn: (x [B, ...], levels [B]) -> score of x's shape; (x) -> score without levels.
        images: float32 [B, ...], data.
        levels: int32 [B], index of each example's noise level; None: one level for all.
        noise: float32, of the images' shape, standard normal z.
        sigmas: float32 [L], standard deviations of the noise levels; a scalar without levels.
        anneal_power: exponent of the weight; 2 makes every level count alike.

    Returns:
        float32 [B].

    Source: Vincent 2011; Song & Ermon 2019 (arXiv:1907.05600), equations 2, 5 and 6.

    Example:
        >>> images, noise = tf.zeros([2, 4]), tf.constant([[1.0] * 4, [2.0] * 4])
        >>> score_fn = lambda x, levels: tf.zeros_like(x)  # 1/2 || z ||^2 is left
        >>> loss = denoising_score_matching(score_fn, images, [0, 1], noise, [1.0, 0.5])
        >>> loss.numpy().tolist()
        [2.0, 8.0]
    """
    images = tf.convert_to_tensor(images)
    sigma, broadcast = _sigma_of_each(images, levels, sigmas)
    perturbed = images + broadcast * noise
    target = -noise / broadcast
    squared = tf.square(_score(score_fn, perturbed, levels) - target)
    axes = list(range(1, images.shape.rank))
    return 0.5 * tf.reduce_sum(squared, axes) * sigma**anneal_power


def fisher_divergence(
    score_fn: Callable[..., tf.Tensor],
    true_score_fn: Callable[..., tf.Tensor],
    x: tf.Tensor,
    levels: tf.Tensor | None = None,
) -> tf.Tensor:
    """Explicit score matching, for densities whose score is known: 1/2 || s(x) - s*(x) ||^2.

    Args:
        score_fn, true_score_fn: (x [B, ...], levels [B]) -> score of x's shape; (x) -> score
            without levels.
        x: float32 [B, ...], draws of the density.
        levels: int32 [B], index of each example's noise level, or None.

    Returns:
        float32 [B]; its mean estimates the Fisher divergence.

    Source: Vincent 2011, equation 6.

    Example:
        >>> x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
        >>> fisher_divergence(tf.zeros_like, lambda x: -x, x).numpy().tolist()
        [2.5, 12.5]
    """
    x = tf.convert_to_tensor(x)
    difference = _score(score_fn, x, levels) - _score(true_score_fn, x, levels)
    return 0.5 * _dot(difference, difference)


def score_matching(
    score_fn: Callable[..., tf.Tensor], x: tf.Tensor, levels: tf.Tensor | None = None
) -> tf.Tensor:
    """Exact (implicit) score matching: 1/2 || s(x) ||^2 + tr(ds/dx).

    The trace takes a backward pass for each of the D elements of an example, all at once: time and
    memory are D times those of a gradient. For D up to about a hundred.

    Args:
        score_fn: (x [B, ...], levels [B]) -> score of x's shape; (x) -> score without levels.
            Example b of the answer may depend on example b of x only.
        x: float32 [B, ...], data, all dimensions but the first known.
        levels: int32 [B], index of each example's noise level, or None.

    Returns:
        float32 [B].

    Source: Hyvarinen 2005, theorem 1; Song & Ermon 2019 (arXiv:1907.05600), section 2.1.

    Example:
        >>> x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
        >>> score_matching(lambda x: -x, x).numpy().tolist()  # the trace is -2
        [0.5, 10.5]
    """
    x = tf.convert_to_tensor(x)
    shape = x.shape[1:]
    size = shape.num_elements()
    basis = tf.reshape(tf.eye(size, dtype=x.dtype), [size, 1, *shape])
    score, derivatives = directional_derivatives(score_fn, x, levels, basis)
    return 0.5 * _dot(score, score) + tf.reduce_sum(derivatives, 0)


def sliced_score_matching(
    score_fn: Callable[..., tf.Tensor],
    x: tf.Tensor,
    projections: tf.Tensor,
    levels: tf.Tensor | None = None,
) -> tf.Tensor:
    """Sliced score matching: 1/2 (v^T s(x))^2 + v^T (ds/dx) v, the mean over the projections v.

    With E[v v^T] = I its expectation over v is `score_matching`; on the unit sphere, where
    E[v v^T] = I / D, it is a D-th of that.

    Args:
        score_fn: (x [B, ...], levels [B]) -> score of x's shape; (x) -> score without levels.
            Example b of the answer may depend on example b of x only.
        x: float32 [B, ...], data.
        projections: float32 [B, M, ...], M directions an example.
        levels: int32 [B], index of each example's noise level, or None.

    Returns:
        float32 [B].

    Source: Song, Garg, Shi & Ermon 2019 (arXiv:1905.07088), equation 7.

    Example:
        >>> x, v = tf.constant([[1.0, 2.0]]), tf.constant([[[1.0, 1.0]]])
        >>> sliced_score_matching(lambda x: -x, x, v).numpy().tolist()  # 3^2 / 2 - 2
        [2.5]
    """
    x = tf.convert_to_tensor(x)
    directions = _directions_first(projections)
    score, derivatives = directional_derivatives(score_fn, x, levels, directions)
    axes = list(range(2, directions.shape.rank))
    along = tf.reduce_sum(directions * score[None], axes)  # [M, B]
    return tf.reduce_mean(0.5 * tf.square(along) + derivatives, 0)


def sliced_score_matching_vr(
    score_fn: Callable[..., tf.Tensor],
    x: tf.Tensor,
    projections: tf.Tensor,
    levels: tf.Tensor | None = None,
) -> tf.Tensor:
    """Sliced score matching with reduced variance: 1/2 || s(x) ||^2 + v^T (ds/dx) v.

    The mean over the projections v, for which E[v v^T] = I must hold: then E[(v^T s)^2] = || s ||^2
    is known, and the expectation is `score_matching`. Arguments and result are those of
    `sliced_score_matching`.

    Source: Song, Garg, Shi & Ermon 2019 (arXiv:1905.07088), equation 8.

    Example:
        >>> x, v = tf.constant([[1.0, 2.0]]), tf.constant([[[1.0, 1.0]]])
        >>> sliced_score_matching_vr(lambda x: -x, x, v).numpy().tolist()  # (1 + 4) / 2 - 2
        [0.5]
    """
    x = tf.convert_to_tensor(x)
    score, derivatives = directional_derivatives(
        score_fn, x, levels, _directions_first(projections)
    )
    return 0.5 * _dot(score, score) + tf.reduce_mean(derivatives, 0)


def at_noise_levels(
    loss_fn: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    images: tf.Tensor,
    levels: tf.Tensor,
    noise: tf.Tensor,
    sigmas: tf.Tensor,
    anneal_power: float = 2.0,
) -> tf.Tensor:
    """Any objective at the noise level of each example, the perturbed images being the data.

        x~ = x + sigma_i z,   loss = loss_fn(x~, i) * sigma_i ** anneal_power

    Args:
        loss_fn: (x [B, ...], levels [B]) -> float32 [B].
        images, levels, noise, sigmas, anneal_power: as in `denoising_score_matching`.

    Returns:
        float32 [B].

    Source: Song & Ermon 2019 (arXiv:1907.05600), section 4.2.

    Example:
        >>> network = lambda x, levels: -x
        >>> loss_fn = lambda x, levels: score_matching(network, x, levels)
        >>> images, noise = tf.zeros([2, 2]), tf.ones([2, 2])
        >>> at_noise_levels(loss_fn, images, [0, 1], noise, [2.0, 1.0]).numpy().tolist()
        [8.0, -1.0]
    """
    images = tf.convert_to_tensor(images)
    sigma, broadcast = _sigma_of_each(images, levels, sigmas)
    return loss_fn(images + broadcast * noise, levels) * sigma**anneal_power


def directional_derivatives(
    score_fn: Callable[..., tf.Tensor],
    x: tf.Tensor,
    levels: tf.Tensor | None,
    directions: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """s(x), and v^T (ds/dx) v for each direction.

    Args:
        score_fn, x, levels: as in `score_matching`; levels are only handed on.
        directions: [M, B, ...] or [M, 1, ...].

    Returns:
        score of x's shape, derivatives [M, B].

    Example:
        >>> x, axes = tf.constant([[1.0, 2.0]]), tf.eye(2)[:, None]
        >>> score, derivatives = directional_derivatives(tf.square, x, None, axes)
        >>> score.numpy().tolist(), derivatives.numpy().tolist()
        ([[1.0, 4.0]], [[2.0], [4.0]])
    """
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        score = _score(score_fn, x, levels)

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


def _score(score_fn, x, levels):
    return score_fn(x) if levels is None else score_fn(x, levels)


def _sigma_of_each(images, levels, sigmas):
    """Each example's sigma, [B] or a scalar, and in a shape to multiply the images with."""
    sigma = tf.convert_to_tensor(sigmas) if levels is None else tf.gather(sigmas, levels)
    return sigma, tf.reshape(sigma, [-1] + [1] * (images.shape.rank - 1))


def _dot(a, b):
    """Sum of the products of an example's elements: [B]."""
    return tf.reduce_sum(a * b, list(range(1, a.shape.rank)))
