"""Class labels in sampling: the score of each image's class, by classifier-free guidance."""

from collections.abc import Callable

import tensorflow as tf

from ncsn_tf.backend.columns import column
from ncsn_tf.backend.compat import models_of


def labelled(
    score_fn: Callable, labels: tf.Tensor, guidance: tf.Tensor, drawn: tf.Tensor | None = None
) -> Callable:
    """The score of each image's class, of a network that was trained with labels and without:

        s(x, i | y) = s(x, i) + guidance * (s(x, i, y) - s(x, i))

    With guidance 1 it is s(x, i, y), with 0 it is s(x, i), each of which is one evaluation of the
    network; any other guidance needs both, two evaluations. They are made one after the other,
    each of the batch's own size, and one that no image asks for is left out: so the score of an
    image is the same, bit for bit, whatever the labels and the guidance of its neighbours.

    Args:
        score_fn: (x [B, ...], condition [B], labels int32 [B]) -> score of x's shape; called
            without labels, the score without a class. Its method `at_sigma`, if it has one, takes
            labels too.
        labels: int32 [B].
        guidance: float32 [B].
        drawn: bool [B], the images that count; of others the score may be anything. None is all.

    Returns:
        (x [B, ...], condition [B]) -> score of x's shape, with an `at_sigma` if `score_fn` has one,
        and its `models`.

    Source: Ho & Salimans 2022 (arXiv:2207.12598), equation 6, with guidance = 1 + w.

    Example:
        >>> def score_fn(x, levels, labels=None):  # pulls to 0, or to the number of the class
        ...     target = 0.0 if labels is None else tf.cast(labels, tf.float32)[:, None]
        ...     return target - x
        >>> score = labelled(score_fn, tf.constant([2, 2, 2]), tf.constant([0.0, 1.0, 1.5]))
        >>> score(tf.zeros([3, 1]), tf.zeros([3], tf.int32)).numpy().ravel().tolist()
        [0.0, 2.0, 3.0]
    """

    def guided(function):
        def score(x, condition):
            counts = tf.ones_like(guidance, tf.bool) if drawn is None else drawn

            def where_asked(asked, evaluate):
                return tf.cond(tf.reduce_any(asked & counts), evaluate, lambda: tf.zeros_like(x))

            of_class = where_asked(guidance != 0.0, lambda: function(x, condition, labels))
            of_any = where_asked(guidance != 1.0, lambda: function(x, condition))
            # Subtracted with the sign turned, as in `langevin.AnnealedLangevin.step`.
            mixed = of_any - column(-guidance, x) * (of_class - of_any)
            mixed = tf.where(column(guidance == 0.0, x), of_any, mixed)
            return tf.where(column(guidance == 1.0, x), of_class, mixed)

        return score

    bound = guided(score_fn)
    if hasattr(score_fn, "at_sigma"):
        bound.at_sigma = guided(score_fn.at_sigma)
    bound.models = models_of(score_fn)
    return bound
