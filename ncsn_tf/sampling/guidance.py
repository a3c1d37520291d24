"""Class-conditional sampling with an unconditional network and a classifier of noisy images."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from ncsn_tf.sampling.chain import Chain, Rows


class GuidedScore:
    """The score of the images of a class, by Bayes' rule:

        s(x, i | y) = s(x, i) + scale * grad_x log p(y | x, i)

    With scale 1, the true score and the true classifier it is the score of the class perturbed by
    noise of level i. A larger scale prefers images of which the classifier is sure.

    It is a function (x [B, ...], levels int32 [B], classes) -> score of x's shape, for classes
    int32 [B] in [0, K) or one number for all; `GuidedChain` is the chain of it.

    Args:
        score_fn: (x [B, ...], levels int32 [B]) -> score of x's shape.
        classifier: (x [B, ...], levels int32 [B]) -> logits [B, K]. Row b of the answer may depend
            on row b of x only.
        scale: a number.

    Attributes:
        models: the networks that it uses, for `backend.compat.read_weights`.

    Source: Song et al. 2021 (arXiv:2011.13456), section 5; the scale as in Dhariwal & Nichol 2021
    (arXiv:2105.05233).

    Example:
        >>> classifier = lambda x, levels: x * [[-4.0, 4.0]]  # class 0 is on the left, 1 right
        >>> guided = GuidedScore(lambda x, levels: -x, classifier)
        >>> x, levels = tf.zeros([2, 2]), tf.zeros([2], tf.int32)
        >>> guided(x, levels, tf.constant([0, 1])).numpy().tolist()
        [[-2.0, -2.0], [2.0, 2.0]]

        A class for all images of a sampler that takes a score function:

        >>> one_class = lambda x, levels: guided(x, levels, 1)
    """

    def __init__(self, score_fn: Callable, classifier: Callable, scale: float = 1.0) -> None:
        self.score_fn = score_fn
        self.classifier = classifier
        self.scale = scale
        self.models = [score_fn, classifier]

    def __call__(self, x: tf.Tensor, levels: tf.Tensor, classes: int | tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            posterior = tf.nn.log_softmax(self.classifier(x, levels))
            target = tf.broadcast_to(classes, tf.shape(x)[:1])
            log_posterior = tf.gather(posterior, target, batch_dims=1)
        gradient = tape.gradient(log_posterior, x)
        # Subtracted with the sign turned, as in `langevin.AnnealedLangevin.step`.
        return self.score_fn(x, levels) - (-self.scale) * gradient


class OfClass(NamedTuple):
    """Of which class each image of a batch is, and what else its chain wants of it.

    Attributes:
        classes: int32 [B].
        condition: that of the chain that is guided, see `Rows`.
    """

    classes: tf.Tensor
    condition: Any = ()


class GuidedChain(Chain):
    """A chain of which each image has a class; its `rows.condition` is `OfClass`.

    Its score function takes the classes as a third argument: `GuidedScore`, or a network that
    knows them.

    Args:
        chain: the `Chain` that moves the images, with the score of their class.

    Example:
        >>> from ncsn_tf.sampling import AnnealedLangevin, draw
        >>> classifier = lambda x, levels: x * [[-50.0, 50.0]]
        >>> score_fn = GuidedScore(lambda x, levels: 100 * (0.5 - x), classifier)
        >>> rows = Rows.fill([1, 2], 5e-3, 5, OfClass(tf.constant([0, 1])))
        >>> x = draw(GuidedChain(AnnealedLangevin([0.1])), score_fn, rows, (2,), clip=False)
        >>> (x.numpy().mean(1) > 0.5).tolist()
        [False, True]
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__(chain.sigmas, chain.denoise)
        self.chain = chain
        self.dtypes = chain.dtypes

    def num_steps(self, num_steps_each: int | tf.Tensor) -> int | tf.Tensor:
        return self.chain.num_steps(num_steps_each)

    def start(self, seeds: tf.Tensor, image_shape: Sequence[int]) -> Any:
        return self.chain.start(seeds, image_shape)

    def step(self, score_fn: Callable, x: Any, rows: Rows, index: int | tf.Tensor) -> Any:
        score_fn, rows = _bind(score_fn, rows)
        return self.chain.step(score_fn, x, rows, index)

    def advance(
        self,
        score_fn: Callable,
        x: Any,
        rows: Rows,
        start: int | tf.Tensor,
        stop: int | tf.Tensor,
    ) -> Any:
        score_fn, rows = _bind(score_fn, rows)
        return self.chain.advance(score_fn, x, rows, start, stop)

    def finish(self, score_fn: Callable, state: Any, rows: Rows) -> tf.Tensor:
        score_fn, rows = _bind(score_fn, rows)
        return self.chain.finish(score_fn, state, rows)

    def images(self, state: Any) -> tf.Tensor:
        return self.chain.images(state)

    def evaluations(self, state: Any) -> tf.Tensor | None:
        return self.chain.evaluations(state)

    def num_evaluations(self, num_steps_each: int) -> int | None:
        return self.chain.num_evaluations(num_steps_each)


def _bind(score_fn, rows):
    """The score function of each image's class, and the rows as the guided chain wants them."""
    classes, condition = rows.condition
    return lambda x, levels: score_fn(x, levels, classes), rows._replace(condition=condition)
