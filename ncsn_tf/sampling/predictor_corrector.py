"""Predictor-corrector sampling of a ladder of levels or of any equation."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.choices import CORRECTORS, PREDICTORS
from ncsn_tf.backend.random import Stream
from ncsn_tf.sampling.chain import Chain, Rows, draw
from ncsn_tf.sampling.routes import Levels, Place, route_of
from ncsn_tf.sampling.updates import corrector_update, norms


def predictor_corrector(
    score_fn: Callable,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    image_shape: Sequence[int],
    sigmas: Levels,
    num_steps_each: int | tf.Tensor,
    snr: float = 0.16,
    corrector_steps: int = 1,
    predictor: str = "reverse",
    corrector: str = "ald",
    denoise: bool = False,
    clip: bool = True,
    tile: int | None = None,
    probability_flow: bool = False,
) -> tf.Tensor:
    """Draw images by predictor-corrector sampling: `PredictorCorrector` as a function.

    Args:
        score_fn, seeds, image_shape: see `annealed_langevin`; with an equation the score function
            is (x, t [B]) -> score.
        sigmas: falling noise levels, an equation (`ncsn_tf.sde`) or a route, see `routes`.
        num_steps_each: steps from each level to the next; a number, or int32 [B], one an image. 1
            with an equation, which has its own number of steps.
        snr, corrector_steps, predictor, corrector, probability_flow: see `PredictorCorrector`.
        denoise, clip, tile: see `Chain` and `draw`.

    Returns:
        float32 [B, *image_shape].

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> density, sigmas = GaussianMixture([1.0], [[0.5, 0.5]], 0.01), [0.3, 0.1]
        >>> x = predictor_corrector(density.score_fn(sigmas), range(200), (2,), sigmas, 2)
        >>> tuple(x.shape), [round(mean, 1) for mean in x.numpy().mean(0).tolist()]
        ((200, 2), [0.5, 0.5])
    """
    chain = PredictorCorrector(
        sigmas, denoise, snr, corrector_steps, predictor, corrector, probability_flow
    )
    return draw(chain, score_fn, Rows.fill(seeds, 0.0, num_steps_each), image_shape, clip, tile)


class PredictorCorrector(Chain):
    """Predictor-corrector sampler, in reverse time, of a ladder or of any equation.

    At every point of the route, first M times the corrector, Langevin dynamics

        x <- x + e s(x) + sqrt(2 e) z
        ald         e = 2 (snr std)^2
        langevin    e = 2 (snr |z| / |s|)^2
        none        x

    then the predictor, one step of the reverse SDE.

    Of a ladder (`routes.LadderRoute`) the points are those of a geometric one, with n =
    `num_steps_each` steps from each level to the next: n (L - 1) + 1. x_0 ~ N(1/2, sigma_1^2). With
    d = sigma_k^2 - sigma_{k+1}^2 the predictor is

        reverse (diffusion) x <- x + d s(x, sigma_k) + sqrt(d) z
        ancestral           x <- x + d s(x, sigma_k) + sqrt(d sigma_{k+1}^2 / sigma_k^2) z
        euler               the first, with d = 2 sigma_k^2 log(sigma_k / sigma_{k+1})
        none                x

    The predictor of the last level, which has nowhere to go, is the denoising step, if asked for.

    Of an equation (`routes.SdeRoute`) there are N points; the predictors are those of
    `updates.predictor_update`, e is multiplied with `SDE.alpha`. `denoise` leaves out the noise of
    the last one. Corrections with predictor "none" keep theirs.

    The step of `langevin` depends on the x and z that it moves, and is long where the score is
    small: however many the steps, the variance of a Gaussian comes out 1.29 times too large for
    D = 16 numbers, 1.09 for 64, 1.04 for 256. `ald` has no such bias. The norms are those of one
    image: the released code takes their means over the batch, so that its images depend on their
    neighbours.

    That code starts around 0; 1/2 is the middle of the images' range, which matters where sigma_1
    is small.

    Args:
        sigmas: falling noise levels, an equation (`ncsn_tf.sde`) or a route, see `routes`.
        denoise: see `Chain`.
        snr: signal-to-noise ratio of the corrector, positive.
        corrector_steps: M.
        predictor: one of `PREDICTORS`.
        corrector: one of `CORRECTORS`.
        probability_flow: whether the predictor, "reverse" or "euler", goes along the probability
            flow: half of its score, and no noise.

    Raises:
        ValueError: another predictor or corrector, or one that the equation or the flow does not
            have.

    Source: Song et al. 2021 (arXiv:2011.13456), Algorithms 2, 4 and 5, appendix F and G; `ald` and
    corrector before predictor as in its released code.

    Example:
        >>> chain = PredictorCorrector([1.0, 0.3, 0.1], corrector_steps=2)
        >>> chain.num_steps(10), chain.num_evaluations(10)
        (21, 62)
        >>> from ncsn_tf import sde
        >>> PredictorCorrector(sde.VP(), predictor="euler", corrector="none").num_evaluations(1)
        1000
    """

    def __init__(
        self,
        sigmas: Levels,
        denoise: bool = False,
        snr: float = 0.16,
        corrector_steps: int = 1,
        predictor: str = "reverse",
        corrector: str = "ald",
        probability_flow: bool = False,
    ) -> None:
        self.route = route_of(sigmas)
        super().__init__(self.route.sigmas, denoise)
        if predictor not in PREDICTORS:
            raise ValueError(f"predictor must be one of {', '.join(PREDICTORS)}, not {predictor}")
        if corrector not in CORRECTORS:
            raise ValueError(f"corrector must be one of {', '.join(CORRECTORS)}, not {corrector}")
        if probability_flow and predictor not in ("reverse", "euler"):
            raise ValueError(
                f"probability_flow needs predictor=reverse or predictor=euler, not {predictor}"
            )
        self.snr = snr
        self.corrector_steps = 0 if corrector == "none" else corrector_steps
        self.predictor = predictor
        self.corrector = corrector
        self.probability_flow = probability_flow
        first = tf.constant([1]), tf.constant(0)
        if self.corrector_steps:  # what the equation does not have is refused here
            self.route.place(None, *first).alpha()
        if predictor != "none":
            self.route.prediction(predictor, *first)

    def num_steps(self, num_steps_each: int | tf.Tensor) -> int | tf.Tensor:
        return self.route.num_points(num_steps_each)

    def start(self, seeds: tf.Tensor, image_shape: Sequence[int]) -> tf.Tensor:
        return self.route.start(seeds, image_shape)

    def step(
        self, score_fn: Callable, x: tf.Tensor, rows: Rows, index: int | tf.Tensor
    ) -> tf.Tensor:
        place = self.route.place(score_fn, rows.num_steps_each, index)
        return self.predict(place, self.correct(place, x, rows, index), rows, index)

    def correct(self, place: Place, x: tf.Tensor, rows: Rows, index: int | tf.Tensor) -> tf.Tensor:
        """x after the corrections at a place, which is point `index`."""
        if self.corrector_steps == 1:
            return self._correct(place, x, rows, (index, 0))
        if self.corrector_steps:
            _, x = tf.while_loop(
                lambda count, _: count < self.corrector_steps,
                lambda count, x: (count + 1, self._correct(place, x, rows, (index, count))),
                (0, x),
                parallel_iterations=1,
            )
        return x

    def predict(self, place: Place, x: tf.Tensor, rows: Rows, index: int | tf.Tensor) -> tf.Tensor:
        """x after the prediction at a place, which is point `index`."""
        if self.predictor == "none":
            return x
        update = self.route.prediction(self.predictor, rows.num_steps_each, index)

        if self.probability_flow:
            update = update.of_flow()

        def moved():
            if self.probability_flow:
                noise = tf.zeros_like(x)
            else:
                noise = self.noise(rows, x.shape[1:], Stream.PREDICTOR, (index, 0))
            return update.move(x, place.score(x), noise)[0]

        if self.route.ends_at_rest:
            return tf.cond(tf.reduce_any(update.push > 0.0), moved, lambda: x)
        if self.denoise:
            is_last = index + 1 >= self.num_steps(1)
            update = update._replace(spread=tf.where(is_last, 0.0, update.spread))
        return moved()

    def finish(self, score_fn: Callable, state: tf.Tensor, rows: Rows) -> tf.Tensor:
        if self.route.ends_at_rest:
            return super().finish(score_fn, state, rows)
        return self.images(state)

    def images(self, state: tf.Tensor) -> tf.Tensor:
        return self.route.images(state)

    def noise(
        self, rows: Rows, image_shape: Sequence[int], stream: Stream, counters: tuple
    ) -> tf.Tensor:
        """z of an update, float32 [B, *image_shape], for counters (index, count)."""
        return random.normal(rows.seeds, image_shape, stream, counters)

    def norms(self, x: tf.Tensor) -> tf.Tensor:
        """The norm of each image, float32 [B], by which the corrector `langevin` steps."""
        return norms(x)

    def _correct(self, place, x, rows, counters):
        noise = self.noise(rows, x.shape[1:], Stream.LANGEVIN, counters)
        score = place.score(x)
        scale = place.std
        if self.corrector == "langevin":
            scale = self.norms(noise) / tf.maximum(self.norms(score), 1e-20)
        return corrector_update(self.snr, scale, place.alpha()).move(x, score, noise)[0]

    def num_evaluations(self, num_steps_each: int) -> int:
        steps = self.num_steps(num_steps_each)
        predictions = 0 if self.predictor == "none" else steps
        if self.route.ends_at_rest:
            return steps * self.corrector_steps + max(predictions - 1, 0) + int(self.denoise)
        return steps * self.corrector_steps + predictions
