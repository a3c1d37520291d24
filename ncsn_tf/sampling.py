"""Annealed Langevin dynamics, one compiled loop over all levels, for any score function."""

import tensorflow as tf

from ncsn_tf import random
from ncsn_tf.random import Stream


def annealed_langevin(
    score_fn,
    seeds,
    image_shape,
    sigmas,
    step_lr,
    num_steps_each,
    denoise=False,
    clip=True,
    tile=None,
):
    """Draw images by annealed Langevin dynamics.

    x_0 ~ U[0, 1], then for every level i, `num_steps_each` times

        x <- x + a_i s(x, i) + sqrt(2 a_i) z,    a_i = step_lr * (sigma_i / sigma_L) ** 2

    This is the released code's convention; the paper's Algorithm 1 writes x + (e/2) s + sqrt(e) z
    with the same number for e, half this step. Every image is a function of its own seed: its
    neighbours in the batch and the size of the batch change nothing.

    Args:
        score_fn: (x [B, *image_shape], labels int32 [B]) -> score of x's shape.
        seeds: int64 [B], one an image.
        image_shape: shape of one image, static.
        sigmas: float32 [L], falling noise levels.
        step_lr: step size at the last level.
        num_steps_each: steps a level, at least 1.
        denoise: whether to end with x + sigma_L^2 s(x, L), the expected clean image (NCSNv2's
            habit; off for NCSN).
        clip: whether to clip the result to [0, 1]. The chain itself is never clipped.
        tile: images that pass through `score_fn` together; see `in_tiles`. None: the whole batch.

    Returns:
        float32 [B, *image_shape].

    Source: Song & Ermon 2019 (arXiv:1907.05600), Algorithm 1; Jolicoeur-Martineau et al. 2020
    (arXiv:2009.05475) for the denoising.
    """

    def draw(seeds):
        x = initial_state(seeds, image_shape)
        stop = tf.size(sigmas) * num_steps_each
        x = langevin_steps(score_fn, x, seeds, sigmas, step_lr, num_steps_each, 0, stop)
        return finish(score_fn, x, sigmas, denoise, clip)

    seeds = tf.convert_to_tensor(seeds, tf.int64)
    return draw(seeds) if tile is None else in_tiles(draw, tile, seeds)


def in_tiles(fn, tile, *batches):
    """Apply a function to `tile` examples at a time: the result depends on no other batch size.

    Libraries choose how to sum a convolution by the size of the batch, so that an image drawn alone
    and one drawn among others differ in their last bits. In tiles of one size, padded with zeros,
    they do not. (On a CPU the place within a tile matters too, unless the network's features are a
    multiple of 8; tiles of one image have no places.)

    Args:
        fn: tensors [tile, ...] -> float32 tensor [tile, ...].
        tile: examples at a time, at least 1.
        batches: tensors [B, ...].

    Returns:
        float32 [B, ...].
    """
    batches = [tf.convert_to_tensor(batch) for batch in batches]
    size = tf.shape(batches[0])[0]
    padding = tf.math.floormod(-size, tile)

    def split(batch):
        padded = tf.pad(batch, [[0, padding]] + [[0, 0]] * (batch.shape.rank - 1))
        return tf.reshape(padded, [-1, tile, *batch.shape[1:]])

    tiles = tuple(split(batch) for batch in batches)
    results = tf.map_fn(
        lambda parts: fn(*parts), tiles, fn_output_signature=tf.float32, parallel_iterations=2
    )
    return tf.reshape(results, [-1, *results.shape[2:]])[:size]


def initial_state(seeds, image_shape):
    """x_0 ~ U[0, 1): float32 [B, *image_shape]."""
    return random.uniform(seeds, tuple(image_shape), Stream.INITIAL_STATE)


def langevin_steps(score_fn, x, seeds, sigmas, step_lr, num_steps_each, start, stop):
    """Steps `start` to `stop` (exclusive) of `annealed_langevin`, counted over all levels.

    A chain run in pieces is the same, bit for bit, as one run at once: the noise of a step is a
    function of the image's seed, the level and the step. x is the state before step `start`; the
    other arguments are those of `annealed_langevin`.
    """
    steps_each = tf.convert_to_tensor(num_steps_each, tf.int32)
    shape = x.shape[1:]
    sizes = step_sizes(sigmas, step_lr)
    # Subtracted below with the sign turned: TensorFlow regroups the terms of a sum, and not alike
    # in every graph, so that an export would differ from the checkpoint in its last bits.
    noise_scales = -tf.sqrt(2.0 * sizes)

    def step(index, x):
        level = index // steps_each
        labels = tf.fill(tf.shape(seeds), level)
        noise = random.normal(seeds, shape, Stream.LANGEVIN, (level, index % steps_each))
        drift = tf.gather(sizes, level) * score_fn(x, labels)
        return index + 1, x + drift - tf.gather(noise_scales, level) * noise

    stop = tf.convert_to_tensor(stop, tf.int32)
    start = tf.convert_to_tensor(start, tf.int32)
    return tf.while_loop(lambda index, _: index < stop, step, (start, x), parallel_iterations=1)[1]


def step_sizes(sigmas, step_lr):
    """a_i = step_lr * (sigma_i / sigma_L) ** 2: float32 [L].

    Known sigmas are divided here and now: TensorFlow would multiply by the reciprocal in one graph
    and divide in another, and a chain must be the same in both.
    """
    known = tf.get_static_value(sigmas)
    ratios = sigmas / sigmas[-1] if known is None else tf.constant(known / known[-1])
    return step_lr * tf.square(ratios)


def finish(score_fn, x, sigmas, denoise, clip):
    """The end of a chain: the denoising step at the last level, the clip to [0, 1], if asked."""
    if denoise:
        labels = tf.fill(tf.shape(x)[:1], tf.size(sigmas) - 1)
        x = x + tf.square(sigmas[-1]) * score_fn(x, labels)
    return tf.clip_by_value(x, 0.0, 1.0) if clip else x


def to_uint8(images):
    """[0, 1] -> 0 ... 255, rounded to the nearest; values outside are clipped first."""
    return tf.cast(tf.round(tf.clip_by_value(images, 0.0, 1.0) * 255.0), tf.uint8)
