"""Conditional sampling with an unconditional network: inpainting, colourisation, super-resolution,
and interpolation between two samples."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream
from ncsn_tf.sampling.chain import Rows, column
from ncsn_tf.sampling.langevin import AnnealedLangevin

_BISECTIONS = 30  # to 1e-9 of the range of a block's numbers


class Known(NamedTuple):
    """What is known of each image of a batch.

    Attributes:
        values: float32 [B, H, W, C], the known images y; of an unknown place any number.
        places: float32 [B, H, W, 1], 1 where known, 0 where not; the same all over a block of the
            measurement.

    Example:
        >>> image = tf.fill([1, 2, 2, 1], 0.7)
        >>> left_half = tf.constant([[[[1.0], [0.0]]] * 2])
        >>> Measurement().replace(tf.zeros_like(image), Known(image, left_half))[0, 0, :, 0].numpy()
        array([0.7, 0. ], dtype=float32)
    """

    values: tf.Tensor
    places: tf.Tensor


class Measurement:
    """An orthogonal projection P onto what is known of an image: P^2 = P = P^T.

    P x is the mean of x over blocks, at every pixel of the block, where known, and 0 elsewhere:

    * blocks of one number: inpainting, the known pixels themselves;
    * blocks of a pixel's channels (`grey`): colourisation;
    * blocks of factor x factor pixels: super-resolution.

    Args:
        factor: side of a block in pixels, which divides the height and the width of the images.
        grey: whether a block spans the channels.

    Raises:
        ValueError: a factor below 1, or, later, one that does not divide the images' sides.

    Example:
        >>> x = tf.reshape(tf.range(4.0), [1, 2, 2, 1])
        >>> Measurement(factor=2).mean(x).numpy().ravel().tolist()
        [1.5, 1.5, 1.5, 1.5]
    """

    def __init__(self, factor: int = 1, grey: bool = False) -> None:
        if factor < 1:
            raise ValueError(f"factor must be at least 1, not {factor}")
        self.factor = factor
        self.grey = grey

    def mean(self, x: tf.Tensor) -> tf.Tensor:
        """The mean over each block at all its places: [B, H, W, C] -> the same shape."""
        return self._over_blocks(tf.reduce_mean, x)

    def replace(self, x: tf.Tensor, known: Known) -> tf.Tensor:
        """x - P x + P y. For blocks of one number the known places are y's, bit for bit."""
        # Differences of differences: TensorFlow regroups sums, not alike in every graph.
        values = x - (self.mean(x) - self.mean(known.values)) if self._averages else known.values
        return tf.where(known.places > 0.0, values, x)

    def restore(self, x: tf.Tensor, known: Known) -> tf.Tensor:
        """The nearest to x with P y as measurement whose known blocks are in [0, 1].

            clip(x + t, 0, 1),    t of each block such that its mean is that of y

        That mean rises with t, which is found by bisection. A mean of y outside [0, 1] counts as
        the nearer end. Blocks of one number are y's, bit for bit; unknown ones stay as they are.
        """
        if not self._averages:
            return self.replace(x, known)
        wanted = self.mean(known.values)

        def halve(index, low, high):
            middle = 0.5 * (low + high)
            is_low = self.mean(tf.clip_by_value(x + middle, 0.0, 1.0)) < wanted
            return index + 1, tf.where(is_low, middle, low), tf.where(is_low, high, middle)

        # With the ends a block is 0 or 1 all over.
        ends = (-self._over_blocks(tf.reduce_max, x), 1.0 - self._over_blocks(tf.reduce_min, x))
        loop = (tf.constant(0), *ends)
        _, _, shift = tf.while_loop(
            lambda index, *_: index < _BISECTIONS, halve, loop, parallel_iterations=1
        )
        return tf.where(known.places > 0.0, tf.clip_by_value(x + shift, 0.0, 1.0), x)

    def _over_blocks(self, reduce, x):
        """A mean, maximum or minimum over each block at all its places."""
        if self.grey:
            x = tf.zeros_like(x) + reduce(x, -1, keepdims=True)
        if self.factor > 1:
            height, width, channels = x.shape[1:]
            if height % self.factor or width % self.factor:
                raise ValueError(f"factor {self.factor} must divide {height} x {width} pixels")
            sides = (height // self.factor, self.factor, width // self.factor, self.factor)
            blocks = tf.reshape(x, [-1, *sides, channels])
            reduced = reduce(blocks, [2, 4], keepdims=True)
            x = tf.reshape(tf.zeros_like(blocks) + reduced, [-1, height, width, channels])
        return x

    @property
    def _averages(self):
        return self.factor > 1 or self.grey


class ConditionalLangevin(AnnealedLangevin):
    """Annealed Langevin dynamics that completes images of which a measurement is known.

    Before every update of level i the known part is that of the known image perturbed as the level
    is, and at the end that of the known image, with the known blocks in [0, 1]: clipping moves
    none of their means (`Measurement.restore`).

        x <- x - P x + P (y + sigma_i z_y),    x <- x + a_i s(x, i) + sqrt(2 a_i) z

    With `redraw`, z_y is drawn anew for every update, as in the code of NCSNv2. Without, it is
    drawn once a level and the known part is also set after every update, as in the paper and the
    code of NCSN. `rows.condition` is `Known`. What this draws is not exactly the conditional law:
    it tends to it as the levels get closer and the steps more and smaller.

    Args:
        sigmas, denoise: see `Chain`.
        measurement: a `Measurement`.
        redraw: whether the noise of the known part is drawn for each update.

    Source: Song & Ermon 2019 (arXiv:1907.05600), Algorithm 2, which is for masks; Kadkhodaie &
    Simoncelli 2020 (arXiv:2007.13640) for linear measurements.

    Example:
        >>> from ncsn_tf.sampling import draw
        >>> image = tf.fill([1, 2, 2, 1], 0.7)
        >>> left_half = tf.constant([[[[1.0], [0.0]]] * 2])
        >>> chain = ConditionalLangevin([0.5, 0.1], Measurement())
        >>> rows = Rows.fill([3], 2e-3, 1, Known(image, left_half))
        >>> x = draw(chain, lambda x, levels: 0.4 - x, rows, (2, 2, 1))
        >>> [round(value, 1) for value in x[0, :, 0, 0].numpy().tolist()]
        [0.7, 0.7]
    """

    def __init__(
        self,
        sigmas: Sequence[float] | np.ndarray | tf.Tensor,
        measurement: Measurement,
        redraw: bool = False,
        denoise: bool = False,
    ) -> None:
        super().__init__(sigmas, denoise)
        self.measurement = measurement
        self.redraw = redraw

    def step(
        self, score_fn: Callable, x: tf.Tensor, rows: Rows, index: int | tf.Tensor
    ) -> tf.Tensor:
        level, step = self.position(rows, index)
        counters = (level, step if self.redraw else 0)
        noise = random.normal(rows.seeds, x.shape[1:], Stream.MEASUREMENT, counters)
        sigma = tf.gather(tf.constant(self.sigmas), level)
        values, places = rows.condition
        perturbed = Known(values - column(-sigma, x) * noise, places)
        moved = super().step(score_fn, self.measurement.replace(x, perturbed), rows, index)
        return moved if self.redraw else self.measurement.replace(moved, perturbed)

    def finish(self, score_fn: Callable, state: tf.Tensor, rows: Rows) -> tf.Tensor:
        x = super().finish(score_fn, state, rows)
        return self.measurement.restore(x, rows.condition)


class Mixture(NamedTuple):
    """How each image of a batch mixes the noise of its own seed with that of another's.

    Attributes:
        seeds: int64 [B], of the other.
        own_share, other_share: float32 [B], cos phi and sin phi.
    """

    seeds: tf.Tensor
    own_share: tf.Tensor
    other_share: tf.Tensor


class InterpolatingLangevin(AnnealedLangevin):
    """Annealed Langevin dynamics driven by a mixture of the noise of two images.

        z = cos(phi) z_p + sin(phi) z_q

    p is the row's own seed, which also gives x_0; q and phi are in `rows.condition`, a `Mixture`.
    At phi = 0 the image is that of seed p, bit for bit; at phi = pi / 2 it is driven by the noise
    of q alone, but from the start of p: not the image of seed q.

    Source: Song & Ermon 2020 (arXiv:2006.09011) and its released code.

    Example:
        >>> from ncsn_tf.sampling import draw
        >>> mixture = Mixture([7, 7], tf.constant([1.0, 0.0]), tf.constant([0.0, 1.0]))
        >>> rows = Rows.fill([5, 5], 2e-3, 1, mixture)
        >>> x = draw(InterpolatingLangevin([0.5, 0.1]), lambda x, levels: 0.4 - x, rows, (4,))
        >>> tuple(x.shape)
        (2, 4)
    """

    def noise(self, rows: Rows, image_shape: Sequence[int], counters: tuple) -> tf.Tensor:
        own = super().noise
        return mixed(lambda rows: own(rows, image_shape, counters), rows)


def mixed(noise: Callable, rows: Rows) -> tf.Tensor:
    """cos(phi) z_p + sin(phi) z_q, of rows whose condition is a `Mixture`.

    Args:
        noise: (rows) -> z [B, ...] of their seeds.
        rows: those of the seeds p.

    Example:
        >>> mixture = Mixture(tf.constant([4]), tf.constant([0.0]), tf.constant([1.0]))
        >>> noise = lambda rows: tf.cast(rows.seeds, tf.float32)
        >>> mixed(noise, Rows.fill([3], 1.0, 1, mixture)).numpy().tolist()
        [4.0]
    """
    seeds, own_share, other_share = rows.condition
    own, other = noise(rows), noise(rows._replace(seeds=seeds))
    return column(own_share, own) * own - column(-other_share, other) * other
