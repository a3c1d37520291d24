"""Sampling chains: images from a score function, one compiled loop, each image by its own seed.

A `Chain` is a sampler with its fixed settings; `Rows` is what each image of a batch brings. A chain
that is run in pieces is the same, bit for bit, as one run at once, because the noise of a step is a
function of the image's seed and the step.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from ncsn_tf import random
from ncsn_tf.config import PARALLEL_TILES
from ncsn_tf.random import Stream
from ncsn_tf.schedule import static_sigmas


class Rows(NamedTuple):
    """What each image of a batch brings to its chain; tensors [B].

    Attributes:
        seeds: int64; an image is a function of its seed and what is below, nothing else.
        step_lr: float32, step size at the last level, for chains that have one.
        num_steps_each: int32, steps a level; 0 draws nothing.
        condition: what else a chain wants of each image, (nested) tensors [B, ...]; see
            `conditional`.
    """

    seeds: tf.Tensor
    step_lr: tf.Tensor
    num_steps_each: tf.Tensor
    condition: Any = ()

    @classmethod
    def fill(cls, seeds, step_lr, num_steps_each, condition=()):
        """From numbers, or tensors [B], for each setting."""
        seeds = tf.convert_to_tensor(seeds, tf.int64)
        size = tf.shape(seeds)
        step_lr = tf.broadcast_to(tf.cast(step_lr, tf.float32), size)
        steps = tf.broadcast_to(tf.cast(num_steps_each, tf.int32), size)
        return cls(seeds, step_lr, steps, condition)


class Chain:
    """A sampler: where images start, how they move, how they end.

    The state is x, float32 [B, *image_shape], or a tuple that begins with it. Samplers whose number
    of steps is known define `num_steps` and `step`; others override `advance`.

    Args:
        sigmas: float32 [L], falling noise levels, known when the chain is made; kept as an array.
        denoise: whether to end with x + sigma_L^2 s(x, L), the expected clean image (NCSNv2's
            habit; off for NCSN). Source: Jolicoeur-Martineau et al. 2020 (arXiv:2009.05475).
    """

    dtypes = tf.float32  # of the state

    def __init__(self, sigmas, denoise=False):
        self.sigmas = static_sigmas(sigmas)
        self.num_levels = len(self.sigmas)
        self.denoise = denoise

    def num_steps(self, num_steps_each):
        """Steps of the chain for that many a level; works on numbers and on tensors."""
        return self.num_levels * num_steps_each

    def start(self, seeds, image_shape):
        """x_0 ~ U[0, 1)."""
        return initial_state(seeds, image_shape)

    def step(self, score_fn, x, rows, index):
        """The state after step `index` (scalar int32, from 0) from the state before it."""
        raise NotImplementedError

    def advance(self, score_fn, x, rows, start, stop):
        """The state after steps `start` to `stop` (exclusive).

        Images that have fewer steps than their neighbours stay as they are after their last.
        """
        totals = self.num_steps(rows.num_steps_each)

        def step(index, x):
            moved = self.step(score_fn, x, rows, index)
            return index + 1, tf.where(column(index < totals, x), moved, x)

        start, stop = (tf.convert_to_tensor(value, tf.int32) for value in (start, stop))
        loop = (start, x)
        return tf.while_loop(lambda index, _: index < stop, step, loop, parallel_iterations=1)[1]

    def finish(self, score_fn, state, rows):
        """The images of the last state: denoised if asked, not clipped."""
        x = self.images(state)
        if self.denoise:
            labels = tf.fill(tf.shape(x)[:1], self.num_levels - 1)
            x = x + self.sigmas[-1] ** 2 * score_fn(x, labels)
        return x

    def images(self, state):
        """x of a state."""
        return state

    def evaluations(self, state):
        """Network evaluations so far, int32 [B]; None where `num_evaluations` knows them."""
        return None

    def num_evaluations(self, num_steps_each):
        """Network evaluations of an image; None where that is known only afterwards."""
        return self.num_steps(num_steps_each) + int(self.denoise)


def draw(chain, score_fn, rows, image_shape, clip=True, tile=None):
    """Draw images.

    Args:
        chain: a `Chain`.
        score_fn: (x [B, *image_shape], labels int32 [B]) -> score of x's shape.
        rows: `Rows` [B].
        image_shape: shape of one image, static.
        clip: whether to clip the result to [0, 1]. The chain itself is never clipped.
        tile: images that pass through `score_fn` together; see `in_tiles`. None: the whole batch.

    Returns:
        float32 [B, *image_shape].
    """

    def draw(rows):
        state = chain.start(rows.seeds, image_shape)
        stop = chain.num_steps(tf.reduce_max(rows.num_steps_each))
        x = chain.finish(score_fn, chain.advance(score_fn, state, rows, 0, stop), rows)
        return tf.clip_by_value(x, 0.0, 1.0) if clip else x

    return draw(rows) if tile is None else in_tiles(draw, tile, rows)


def in_tiles(fn, tile, *batches, dtypes=tf.float32):
    """Apply a function to `tile` examples at a time: the result depends on no other batch size.

    Libraries choose how to sum a convolution by the size of the batch, so that an image drawn alone
    and one drawn among others differ in their last bits. In tiles of one size, padded with zeros,
    they do not. (On a CPU the place within a tile matters too, unless the network's features are a
    multiple of 8; tiles of one image have no places.)

    Args:
        fn: (nested) tensors [tile, ...] -> (nested) tensors [tile, ...].
        tile: examples at a time, at least 1.
        batches: (nested) tensors [B, ...].
        dtypes: of what fn returns, in the same structure.

    Returns:
        what fn returns, as tensors [B, ...].
    """
    batches = tf.nest.map_structure(tf.convert_to_tensor, batches)
    size = tf.shape(tf.nest.flatten(batches)[0])[0]
    padding = tf.math.floormod(-size, tile)

    def split(batch):
        padded = tf.pad(batch, [[0, padding]] + [[0, 0]] * (batch.shape.rank - 1))
        return tf.reshape(padded, [-1, tile, *batch.shape[1:]])

    def join(results):
        return tf.reshape(results, [-1, *results.shape[2:]])[:size]

    results = tf.map_fn(
        lambda parts: fn(*parts),
        tf.nest.map_structure(split, batches),
        fn_output_signature=dtypes,
        parallel_iterations=PARALLEL_TILES,
    )
    return tf.nest.map_structure(join, results)


def initial_state(seeds, image_shape):
    """x_0 ~ U[0, 1): float32 [B, *image_shape]."""
    return random.uniform(seeds, tuple(image_shape), Stream.INITIAL_STATE)


def column(values, x):
    """[B] -> [B, 1, ...], to be multiplied with x."""
    return tf.reshape(values, [-1] + [1] * (x.shape.rank - 1))


def to_uint8(images):
    """[0, 1] -> 0 ... 255, rounded to the nearest; values outside are clipped first."""
    return tf.cast(tf.round(tf.clip_by_value(images, 0.0, 1.0) * 255.0), tf.uint8)
