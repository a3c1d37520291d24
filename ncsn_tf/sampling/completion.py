"""Conditional sampling by predictor-corrector chains, of a ladder of levels or of any equation:
completing images, and interpolation between two samples."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ncsn_tf.backend.random import Stream
from ncsn_tf.sampling.chain import Rows, column
from ncsn_tf.sampling.conditional import Known, Measurement, mixed
from ncsn_tf.sampling.predictor_corrector import PredictorCorrector
from ncsn_tf.sampling.routes import Levels, Place


class ConditionalPredictorCorrector(PredictorCorrector):
    """Predictor-corrector sampling of images of which a measurement is known.

    After the corrections and after the prediction of every point the known part is that of the
    known image perturbed as there, by noise drawn anew:

        x <- x - P x + P (m y + std z)

    and at the end that of the known image, by `Measurement.restore`. `rows.condition` is `Known`,
    of images from 0 to 1. The measurement is inpainting, colourisation or super-resolution.

    What differs from the released code: it begins with the known part free of noise, which no
    network has seen at t = 1, and this with noise alone; and it leaves the noise of the last
    prediction in the unknown part, which this removes with `denoise`.

    Args:
        sigmas: falling noise levels, an equation (`ncsn_tf.sde`) or a route, see `routes`.
        measurement: a `Measurement`.
        denoise, settings: see `PredictorCorrector`.

    Source: Song et al. 2021 (arXiv:2011.13456), section 5 and appendix I, and its released code.

    Example:
        >>> from ncsn_tf import sde
        >>> from ncsn_tf.sampling import draw
        >>> image = tf.fill([1, 2, 2, 1], 0.7)
        >>> left_half = tf.constant([[[[1.0], [0.0]]] * 2])
        >>> equation = sde.VE(0.01, 1.0, num_scales=30)
        >>> chain = ConditionalPredictorCorrector(equation, Measurement(), denoise=True)
        >>> rows = Rows.fill([3], 0.0, 1, Known(image, left_half))
        >>> x = draw(chain, lambda x, t: -(x - 0.4) / 0.01, rows, (2, 2, 1))
        >>> print(x[0, :, 0, 0].numpy())
        [0.7 0.7]
    """

    def __init__(
        self, sigmas: Levels, measurement: Measurement, denoise: bool = False, **settings: Any
    ) -> None:
        super().__init__(sigmas, denoise, **settings)
        self.measurement = measurement

    def step(
        self, score_fn: Callable, x: tf.Tensor, rows: Rows, index: int | tf.Tensor
    ) -> tf.Tensor:
        place = self.route.place(score_fn, rows.num_steps_each, index)
        x = self._with_known(place, self.correct(place, x, rows, index), rows, (index, 0))
        return self._with_known(place, self.predict(place, x, rows, index), rows, (index, 1))

    def finish(self, score_fn: Callable, state: tf.Tensor, rows: Rows) -> tf.Tensor:
        x = super().finish(score_fn, state, rows)
        return self.measurement.restore(x, rows.condition)

    def _with_known(self, place, x, rows, counters):
        noise = self.noise(rows, x.shape[1:], Stream.MEASUREMENT, counters)
        known = rows.condition._replace(values=self.route.states(rows.condition.values))
        return set_known(self.measurement, x, known, place, noise)[0]


def set_known(
    measurement: Measurement, x: tf.Tensor, known: Known, place: Place, noise: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """x with the known part of a perturbed image.

    Args:
        measurement: what P is.
        x: float32 [B, H, W, C].
        known: y, as the network sees images.
        place: where the chain is: m and std.
        noise: z, of x's shape.

    Returns:
        x - P x + P (m y + std z), and x - P x + P m y.

    Example:
        >>> place = Place(None, tf.constant([0.5]), tf.constant([2.0]), None)
        >>> known = Known(tf.ones([1, 1, 1, 1]), tf.ones([1, 1, 1, 1]))
        >>> x, mean = set_known(Measurement(), tf.zeros([1, 1, 1, 1]), known, place, 3.0)
        >>> float(x[0, 0, 0, 0]), float(mean[0, 0, 0, 0])
        (6.5, 0.5)
    """
    values, places = known
    if place.mean_scale is not None:
        values = column(place.mean_scale, x) * values
    perturbed = values - column(-place.std, x) * noise
    return tuple(measurement.replace(x, Known(part, places)) for part in (perturbed, values))


class InterpolatingPredictorCorrector(PredictorCorrector):
    """Predictor-corrector sampling driven by a mixture of the noise of two images.

    As `InterpolatingLangevin`: all noise is cos(phi) z_p + sin(phi) z_q, but that of x_0, which is
    the seed p's. `rows.condition` is a `Mixture`. A chain without noise (along the probability
    flow, without corrections) stays at the image of p.

    Example:
        >>> from ncsn_tf import sde
        >>> from ncsn_tf.sampling import Mixture, draw
        >>> mixture = Mixture([7, 7], tf.constant([1.0, 0.0]), tf.constant([0.0, 1.0]))
        >>> rows = Rows.fill([5, 5], 0.0, 1, mixture)
        >>> chain = InterpolatingPredictorCorrector(sde.VE(0.1, 1.0, 4))
        >>> tuple(draw(chain, lambda x, t: 0.4 - x, rows, (4,)).shape)
        (2, 4)
    """

    def noise(
        self, rows: Rows, image_shape: Sequence[int], stream: Stream, counters: tuple
    ) -> tf.Tensor:
        own = super().noise
        return mixed(lambda rows: own(rows, image_shape, stream, counters), rows)
