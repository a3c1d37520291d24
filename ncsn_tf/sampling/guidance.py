"""Class-conditional sampling with an unconditional network and a classifier of noisy images."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ncsn_tf.backend.compat import models_of
from ncsn_tf.sampling.chain import Chain, Rows, column
from ncsn_tf.sampling.levels import nearest_level
from ncsn_tf.sampling.routes import SdeRoute
from ncsn_tf.schedule import static_sigmas


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
        self.models = [*models_of(score_fn), *models_of(classifier)]

    def __call__(self, x: tf.Tensor, levels: tf.Tensor, classes: int | tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            posterior = tf.nn.log_softmax(self.classifier(x, levels))
            target = tf.broadcast_to(classes, tf.shape(x)[:1])
            log_posterior = tf.gather(posterior, target, batch_dims=1)
        gradient = tape.gradient(log_posterior, x)
        # Subtracted with the sign turned, as in `langevin.AnnealedLangevin.step`.
        return self.score_fn(x, levels) - (-self.scale) * gradient


def classifier_at_times(
    classifier: Callable, route: SdeRoute, sigmas: Sequence[float] | np.ndarray | tf.Tensor
) -> Callable:
    """A classifier of images at noise levels as one of an equation's x at any time.

    x(t) / m(t), in the units of images from 0 to 1, is an image with noise of std(t) / m(t), and
    the level nearest to that classifies it. In a `GuidedScore` it goes with a score function of
    times, since its gradient is that by x(t).

    Args:
        classifier: (x [B, ...], levels int32 [B]) -> logits [B, K].
        route: of the equation.
        sigmas: float32 [L], the levels of the classifier.

    Returns:
        (x [B, ...], t float32 [B]) -> logits [B, K], with the `models` of the classifier.

    Example:
        >>> from ncsn_tf import sde
        >>> def classifier(x, levels):
        ...     print(float(x[0, 0]), int(levels[0]))
        ...     return x
        >>> route = SdeRoute(sde.VE(0.02, 2.0, 3), centered=True)
        >>> logits = classifier_at_times(classifier, route, [1.0, 0.1, 0.01])
        >>> answer = logits(tf.ones([1, 2]), tf.constant([0.5]))  # of noise 0.2 in [-1, 1]
        1.0 1
    """
    sigmas, sde = static_sigmas(sigmas), route.sde
    unit = 2.0 if route.centered else 1.0

    def logits(x, t):
        scale, sigma = sde.mean_scale(t), sde.std(t)
        if scale is not None:
            x, sigma = x / column(scale, x), sigma / scale
        return classifier(route.images(x), nearest_level(sigmas, sigma / unit))

    logits.models = models_of(classifier)
    return logits


class OfClass(NamedTuple):
    """Of which class each image of a batch is, and what else its chain wants of it.

    Attributes:
        classes: int32 [B].
        condition: that of the chain that is guided, see `Rows`.
    """

    classes: tf.Tensor
    condition: Any = ()


class BoundChain(Chain):
    """A chain that another one moves: `rows.condition` is for this one, which binds it.

    Args:
        chain: the `Chain` that moves the images.
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__(chain.sigmas, chain.denoise)
        self.chain = chain
        self.dtypes = chain.dtypes

    def bind(self, score_fn: Callable, rows: Rows) -> tuple[Callable, Rows]:
        """The score function of each image, and the rows, as the other chain wants them."""
        raise NotImplementedError

    def num_steps(self, num_steps_each: int | tf.Tensor) -> int | tf.Tensor:
        return self.chain.num_steps(num_steps_each)

    def start(self, seeds: tf.Tensor, image_shape: Sequence[int]) -> Any:
        return self.chain.start(seeds, image_shape)

    def step(self, score_fn: Callable, x: Any, rows: Rows, index: int | tf.Tensor) -> Any:
        score_fn, rows = self.bind(score_fn, rows)
        return self.chain.step(score_fn, x, rows, index)

    def advance(
        self,
        score_fn: Callable,
        x: Any,
        rows: Rows,
        start: int | tf.Tensor,
        stop: int | tf.Tensor,
    ) -> Any:
        score_fn, rows = self.bind(score_fn, rows)
        return self.chain.advance(score_fn, x, rows, start, stop)

    def finish(self, score_fn: Callable, state: Any, rows: Rows) -> tf.Tensor:
        score_fn, rows = self.bind(score_fn, rows)
        return self.chain.finish(score_fn, state, rows)

    def images(self, state: Any) -> tf.Tensor:
        return self.chain.images(state)

    def evaluations(self, state: Any) -> tf.Tensor | None:
        return self.chain.evaluations(state)

    def num_evaluations(self, num_steps_each: int) -> int | None:
        return self.chain.num_evaluations(num_steps_each)


class GuidedChain(BoundChain):
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

    def bind(self, score_fn: Callable, rows: Rows) -> tuple[Callable, Rows]:
        return _bind(score_fn, rows)


def _bind(score_fn, rows):
    """The score function of each image's class, and the rows as the guided chain wants them."""
    classes, condition = rows.condition
    return lambda x, levels: score_fn(x, levels, classes), rows._replace(condition=condition)
