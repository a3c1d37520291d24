"""Interpolation between two seeds by chains of which only the start is random."""

import math
from typing import Any

import tensorflow as tf

from ncsn_tf.backend.columns import column
from ncsn_tf.sampling.chain import Chain, Rows
from ncsn_tf.sampling.guidance import BoundChain
from ncsn_tf.sampling.updates import norms


class BetweenStarts(BoundChain):
    """A chain that begins between the starts of two seeds, on the great circle through them.

        x_0 = c + sin((1 - u) a) / sin(a) (x_p - c) + sin(u a) / sin(a) (x_q - c)

    p is the row's own seed; q and phi are in `rows.condition`, a `Mixture`; u = phi / (pi / 2), and
    a is the angle between x_p - c and x_q - c. So the length of x_0 - c is between theirs: solvers
    without noise leave what a start has too much of it in the image. Where the chain draws no noise
    after its start, the image at u = 0 is that of seed p and at u = 1 that of seed q, bit for bit.

    Args:
        chain: the `Chain` that moves the images.
        center: c.

    Source: spherical interpolation of starts, as in Song et al. 2020 (arXiv:2010.02502), section
    5.3.

    Example:
        >>> from ncsn_tf.sampling import Euler, Mixture, draw
        >>> mixture = Mixture([7, 7], tf.constant([1.0, 0.0]), tf.constant([0.0, 1.0]))
        >>> rows = Rows.fill([5, 5], 0.0, 1, mixture)
        >>> chain = Euler([1.0, 0.1], num_evaluations=3)
        >>> score_fn = lambda x, levels: 0.4 - x
        >>> between = draw(BetweenStarts(chain, 0.5), score_fn, rows, (4,), clip=False)
        >>> ends = draw(chain, score_fn, Rows.fill([5, 7], 0.0, 1), (4,), clip=False)
        >>> bool(tf.reduce_all(between == ends))
        True
    """

    def __init__(self, chain: Chain, center: float) -> None:
        super().__init__(chain)
        self.center = center

    def advance(
        self,
        score_fn: Any,
        x: Any,
        rows: Rows,
        start: int | tf.Tensor,
        stop: int | tf.Tensor,
    ) -> Any:
        first, *_ = tf.nest.flatten(x)
        begun = tf.nest.map_structure(
            lambda new, old: tf.where(tf.equal(start, 0), new, old),
            self._between(rows, first.shape[1:]),
            x,
        )
        return super().advance(score_fn, begun, rows, start, stop)

    def bind(self, score_fn: Any, rows: Rows) -> tuple[Any, Rows]:
        return score_fn, rows._replace(condition=())

    def _between(self, rows, image_shape):
        """The first state: that of the own seeds, but for its x, which is turned to the others."""
        seeds, own_share, other_share = rows.condition
        state = self.chain.start(rows.seeds, image_shape)
        own, *rest = tf.nest.flatten(state)
        other, *_ = tf.nest.flatten(self.chain.start(seeds, image_shape))
        share = tf.atan2(other_share, own_share) / (math.pi / 2)
        first, last = own - self.center, other - self.center
        inner = tf.reduce_sum(first * last, axis=list(range(1, first.shape.rank)))
        angle = tf.acos(tf.clip_by_value(inner / (norms(first) * norms(last)), -1.0, 1.0))
        sine = tf.maximum(tf.sin(angle), 1e-6)  # 0 of a seed and itself
        weights = tf.sin((1.0 - share) * angle) / sine, tf.sin(share * angle) / sine
        turned = column(weights[0], own) * first + column(weights[1], own) * last
        own_share, other_share = column(own_share, own), column(other_share, own)
        x = tf.where((other_share == 0.0), own, self.center + turned)
        x = tf.where(own_share == 0.0, other, x)
        return tf.nest.pack_sequence_as(state, [x, *rest])
