"""Sampling chains: images from a score function, one compiled loop, each image by its own seed.

A `Chain` is a sampler with its fixed settings; `Rows` is what each image of a batch brings. A chain
that is run in pieces is the same, bit for bit, as one run at once, because the noise of a step is a
function of the image's seed and the step.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.columns import column
from ncsn_tf.backend.random import Stream
from ncsn_tf.backend.tiles import in_tiles
from ncsn_tf.sampling.labels import labelled
from ncsn_tf.schedule import static_sigmas


class Rows(NamedTuple):
    """What each image of a batch brings to its chain; tensors [B].

    Attributes:
        seeds: int64; an image is a function of its seed and what is below, nothing else.
        step_lr: float32, step size at the last level, for chains that have one.
        num_steps_each: int32, steps a level; 0 draws nothing.
        condition: what else a chain wants of each image, (nested) tensors [B, ...]; see
            `conditional`.
        labels: int32, the class of each image, for networks that know classes; () for none.
        guidance: float32, weight of the class, see `labels.labelled`; () where there is no class.

    Example:
        >>> rows = Rows.fill([5, 6, 7], 2e-5, [100, 100, 50])
        >>> rows.num_steps_each.numpy().tolist(), tuple(rows.step_lr.shape)
        ([100, 100, 50], (3,))
    """

    seeds: tf.Tensor
    step_lr: tf.Tensor
    num_steps_each: tf.Tensor
    condition: Any = ()
    labels: Any = ()
    guidance: Any = ()

    @classmethod
    def fill(
        cls,
        seeds: Sequence[int] | np.ndarray | tf.Tensor,
        step_lr: float | Sequence[float] | tf.Tensor,
        num_steps_each: int | Sequence[int] | tf.Tensor,
        condition: Any = (),
        labels: int | Sequence[int] | tf.Tensor = (),
        guidance: float | Sequence[float] | tf.Tensor = 1.0,
    ) -> "Rows":
        """From numbers, or tensors [B], for each setting."""
        seeds = tf.convert_to_tensor(seeds, tf.int64)

        def of_each(value, dtype):
            return tf.broadcast_to(tf.cast(value, dtype), tf.shape(seeds))

        step_lr, steps = of_each(step_lr, tf.float32), of_each(num_steps_each, tf.int32)
        if isinstance(labels, tuple):
            return cls(seeds, step_lr, steps, condition)
        classes = of_each(labels, tf.int32), of_each(guidance, tf.float32)
        return cls(seeds, step_lr, steps, condition, *classes)

    def score(self, score_fn: Callable) -> Callable:
        """The score function of these images: of their classes, where they have any.

        Every chain is run with it, so that none needs to know of labels.

        Example:
            >>> rows = Rows.fill([5, 6], 0.0, 1, labels=[0, 1])
            >>> score = rows.score(lambda x, levels, labels: x + tf.cast(labels, tf.float32))
            >>> score(tf.zeros([2]), None).numpy().tolist()
            [0.0, 1.0]
        """
        if isinstance(self.labels, tuple):
            return score_fn
        return labelled(score_fn, self.labels, self.guidance, self.num_steps_each > 0)


class Chain:
    """A sampler: where images start, how they move, how they end.

    The state is x, float32 [B, *image_shape], or a tuple that begins with it. Samplers whose number
    of steps is known define `num_steps` and `step`; others override `advance`.

    Args:
        sigmas: float32 [L], falling noise levels, known when the chain is made; kept as an array.
        denoise: whether to end with x + sigma_L^2 s(x, L), the expected clean image (NCSNv2's
            habit; off for NCSN). Source: Jolicoeur-Martineau et al. 2020 (arXiv:2009.05475).

    Example:
        >>> class Descent(Chain):
        ...     def step(self, score_fn, x, rows, index):
        ...         levels = tf.fill(tf.shape(x)[:1], index // rows.num_steps_each[0])
        ...         return x + column(rows.step_lr, x) * score_fn(x, levels)
        >>> rows = Rows.fill([1, 2], step_lr=1.0, num_steps_each=2)
        >>> x = draw(Descent([1.0, 0.1]), lambda x, levels: 0.25 - x, rows, (2,))
        >>> x.numpy().round(2).tolist()
        [[0.25, 0.25], [0.25, 0.25]]
    """

    dtypes = tf.float32  # of the state

    def __init__(
        self, sigmas: Sequence[float] | np.ndarray | tf.Tensor, denoise: bool = False
    ) -> None:
        self.sigmas = static_sigmas(sigmas)
        self.num_levels = len(self.sigmas)
        self.denoise = denoise

    def num_steps(self, num_steps_each: int | tf.Tensor) -> int | tf.Tensor:
        """Steps of the chain for that many a level; works on numbers and on tensors."""
        return self.num_levels * num_steps_each

    def start(self, seeds: tf.Tensor, image_shape: Sequence[int]) -> Any:
        """The first state, of images x_0 ~ U[0, 1)."""
        return initial_state(seeds, image_shape)

    def step(self, score_fn: Callable, x: Any, rows: Rows, index: int | tf.Tensor) -> Any:
        """The state after step `index` (scalar int32, from 0) from the state before it."""
        raise NotImplementedError

    def advance(
        self,
        score_fn: Callable,
        x: Any,
        rows: Rows,
        start: int | tf.Tensor,
        stop: int | tf.Tensor,
    ) -> Any:
        """The state after steps `start` to `stop` (exclusive).

        Images that have fewer steps than their neighbours stay as they are after their last.
        """
        totals = self.num_steps(rows.num_steps_each)

        def step(index, x):
            moved = self.step(score_fn, x, rows, index)
            return index + 1, tf.nest.map_structure(
                lambda new, old: tf.where(column(index < totals, old), new, old), moved, x
            )

        start, stop = (tf.convert_to_tensor(value, tf.int32) for value in (start, stop))
        loop = (start, x)
        return tf.while_loop(lambda index, _: index < stop, step, loop, parallel_iterations=1)[1]

    def finish(self, score_fn: Callable, state: Any, rows: Rows) -> tf.Tensor:
        """The images of the last state: denoised if asked, not clipped."""
        x = self.images(state)
        if self.denoise:
            levels = tf.fill(tf.shape(x)[:1], self.num_levels - 1)
            x = x + self.sigmas[-1] ** 2 * score_fn(x, levels)
        return x

    def images(self, state: Any) -> tf.Tensor:
        """x of a state."""
        return state

    def evaluations(self, state: Any) -> tf.Tensor | None:
        """Network evaluations so far, int32 [B]; None where `num_evaluations` knows them."""
        return None

    def num_evaluations(self, num_steps_each: int) -> int | None:
        """Network evaluations of an image; None where that is known only afterwards."""
        return self.num_steps(num_steps_each) + int(self.denoise)


def draw(
    chain: Chain,
    score_fn: Callable,
    rows: Rows,
    image_shape: Sequence[int],
    clip: bool = True,
    tile: int | None = None,
) -> tf.Tensor:
    """Draw images with any chain.

    Args:
        chain: a `Chain`.
        score_fn: (x [B, *image_shape], levels int32 [B]) -> score of x's shape; where rows have
            labels, these are its third argument, see `labels.labelled`.
        rows: `Rows` [B].
        image_shape: shape of one image, static.
        clip: whether to clip the result to [0, 1]. The chain itself is never clipped.
        tile: images that pass through `score_fn` together; see `in_tiles`. None: the whole batch.

    Returns:
        float32 [B, *image_shape].

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> from ncsn_tf.sampling import AnnealedLangevin
        >>> score_fn = GaussianMixture([1.0], [[0.4, 0.6]], 0.01).score_fn([0.3, 0.1])
        >>> rows = Rows.fill([7, 8, 9], step_lr=1e-2, num_steps_each=[1, 2, 1])
        >>> tuple(draw(AnnealedLangevin([0.3, 0.1]), score_fn, rows, (2,)).shape)
        (3, 2)
    """

    def run(rows):
        score = rows.score(score_fn)
        state = chain.start(rows.seeds, image_shape)
        stop = chain.num_steps(tf.reduce_max(rows.num_steps_each))
        x = chain.finish(score, chain.advance(score, state, rows, 0, stop), rows)
        return tf.clip_by_value(x, 0.0, 1.0) if clip else x

    return run(rows) if tile is None else in_tiles(run, tile, rows)


def initial_state(seeds: tf.Tensor, image_shape: Sequence[int]) -> tf.Tensor:
    """x_0 ~ U[0, 1): float32 [B, *image_shape]."""
    return random.uniform(seeds, tuple(image_shape), Stream.INITIAL_STATE)


def to_uint8(images: tf.Tensor) -> tf.Tensor:
    """[0, 1] -> 0 ... 255, rounded to the nearest; values outside are clipped first.

    Example:
        >>> to_uint8(tf.constant([-1.0, 0.5, 1.0])).numpy().tolist()
        [0, 128, 255]
    """
    return tf.cast(tf.round(tf.clip_by_value(images, 0.0, 1.0) * 255.0), tf.uint8)
