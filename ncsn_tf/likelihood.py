"""The likelihood of data under a score function, along the probability-flow ODE."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.choices import DIVERGENCES, LARGEST_EXACT
from ncsn_tf.backend.random import Stream
from ncsn_tf.backend.tiles import in_tiles
from ncsn_tf.losses import directional_derivatives
from ncsn_tf.sampling.ode import ode_advance, ode_start, root_mean_square
from ncsn_tf.sampling.routes import LadderRoute, Levels, SdeRoute, route_of


class Likelihood(NamedTuple):
    """Log-likelihoods of a batch.

    Attributes:
        log_probs: float32 [B, M], natural logarithms, one for each probe: independent estimates of
            the same number, their mean is the result. [B, 1] for the exact divergence.
        evaluations: int32 [B], of the score function; each comes with M backward passes.
    """

    log_probs: tf.Tensor
    evaluations: tf.Tensor


class Probes(NamedTuple):
    """Directions v in which a Jacobian J is looked at, to have its trace.

    * rademacher: every element is +1 or -1, so that v^T J v is exact where J is diagonal
    * gaussian: v ~ N(0, I)
    * exact: the D unit vectors: the trace is the sum over them

    Attributes:
        kind: one of `DIVERGENCES`.
        count: M, directions and so estimates of a row, at least 1; 1 for exact.
        counters: address of the draws, see `random`.

    Source: Hutchinson 1990, "A stochastic estimator of the trace of the influence matrix".

    Example:
        >>> tuple(Probes("gaussian", 3).directions([7, 8], (4, 4, 1)).shape)
        (3, 2, 4, 4, 1)
        >>> Probes("exact").directions([7, 8], (2,)).numpy().tolist()
        [[[1.0, 0.0]], [[0.0, 1.0]]]
    """

    kind: str = "rademacher"
    count: int = 1
    counters: tuple = (0, 0)

    def directions(
        self, seeds: Sequence[int] | np.ndarray | tf.Tensor, shape: Sequence[int]
    ) -> tf.Tensor:
        """v: float32 [M, B, *shape]; [D, 1, *shape] for exact.

        Args:
            seeds: int64 [B].
            shape: of one row, D elements.

        Raises:
            ValueError: an unknown kind; exact for more than 256 elements or several probes.
        """
        size = math.prod(shape)
        if self.kind == "exact":
            if size > LARGEST_EXACT or self.count != 1:
                raise ValueError(
                    f"the exact divergence is for at most {LARGEST_EXACT} numbers and without "
                    f"probes, not for {size} numbers with {self.count} probes"
                )
            return tf.reshape(tf.eye(size), [size, 1, *shape])
        if self.kind not in DIVERGENCES or self.count < 1:
            raise ValueError(
                f"the divergence must be one of {', '.join(DIVERGENCES)} with at least one probe, "
                f"not {self.kind} with {self.count} probes"
            )
        if self.kind == "gaussian":
            v = random.normal(seeds, (self.count, *shape), Stream.PROBE, self.counters)
        else:
            words = random.random_words(seeds, self.count * size, Stream.PROBE, self.counters)
            bits = tf.bitwise.bitwise_and(words, tf.constant(1, tf.uint32))
            v = tf.reshape(2.0 * tf.cast(bits, tf.float32) - 1.0, [-1, self.count, *shape])
        return tf.transpose(v, [1, 0, *range(2, v.shape.rank)])

    def traces(self, derivatives: tf.Tensor) -> tf.Tensor:
        """tr J or its estimates, float32 [B, M], of the v^T J v [M, B]; [D, B] -> [B, 1] if exact.

        Example:
            >>> derivatives = tf.constant([[1.0, 2.0], [3.0, 4.0]])
            >>> Probes("rademacher", 2).traces(derivatives).numpy().tolist()
            [[1.0, 3.0], [2.0, 4.0]]
            >>> Probes("exact").traces(derivatives).numpy().tolist()
            [[4.0], [6.0]]
        """
        if self.kind == "exact":
            return tf.reduce_sum(derivatives, 0)[:, None]
        return tf.transpose(derivatives)


def log_likelihood(
    score_fn: Callable,
    x: np.ndarray | tf.Tensor,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    sigmas: Levels,
    probes: Probes = Probes(),  # noqa: B008 (immutable)
    tolerance: float = 1e-5,
    jumps: bool = False,
    prior_log_prob: Callable | None = None,
    tile: int | None = None,
) -> Likelihood:
    """log p(x) by the instantaneous change of variables.

    The flow of the variance-exploding SDE, run from the data's end, sigma(t) = sigma_L exp(t),

        dx / dt = f = -sigma^2 s(x, sigma),    d log p / dt = -div f

    gives    log p(x) = log p_1(x(T)) + integral of div f dt,    sigma(T) = sigma_1.

    p is the density that the flow makes of p_1 at the smallest noise level: a model of the data
    perturbed by sigma_L, not of the data themselves. Of any equation (`ncsn_tf.sde`) it is the same
    with f = r x - g^2 s / 2, from t = epsilon to 1, and p_1 the equation's prior.

    The step size heeds the error of x and that of log p / D alike (each as a root mean square): in
    one mean over D + 1 numbers the second would count for nothing where D is large.

    Args:
        score_fn: (x [B, *shape], levels int32 [B]) -> score of x's shape, read between its levels
            by `sampling.at_sigma`; or one with a method at_sigma(x, sigma [B]). Row b of the
            answer may depend on row b of x only.
        x: float32 [B, *shape]; of D elements, shape known.
        seeds: int64 [B], of each row's probes.
        sigmas: float32 [L], L >= 2 falling noise levels, known when the graph is made; or an
            equation or route, with which the score function is (x, t [B]) -> score. Published
            likelihoods begin at `sampling.SdeRoute(sde, epsilon=1e-5)`.
        probes: how the divergence is computed, see `Probes`.
        tolerance: relative and absolute, of a step of the ODE. float32 cannot do much with less
            than 1e-6.
        jumps: whether the score jumps half-way between levels, as in `sampling.ProbabilityFlow`.
        prior_log_prob: log p_1, [B, *shape] -> [B]; None is that with which
            `sampling.ProbabilityFlow` starts, for levels N(1/2, sigma_1^2).
        tile: rows that pass through the score function together, see `sampling.in_tiles`; then a
            row's result depends on its x and seed alone. None: the whole batch.

    Returns:
        `Likelihood`. A row that became not finite on its way is not finite.

    Raises:
        ValueError: fewer than two levels, or what `Probes` refuses.

    Source: Song et al. 2021 (arXiv:2011.13456), equation 39 and appendix D.2; Grathwohl et al.
        2019 (arXiv:1810.01367), section 3.1.

    Example:
        >>> class Score:  # of N(1/2, 0.1^2) in the plane
        ...     def at_sigma(self, x, sigma):
        ...         return (0.5 - x) / (0.01 + sigma[:, None] ** 2)
        >>> x = tf.constant([[0.5, 0.5], [0.6, 0.5]])
        >>> result = log_likelihood(Score(), x, [1, 2], [2.0, 0.05], tolerance=1e-4)
        >>> [round(value, 2) for value in result.log_probs[:, 0].numpy().tolist()]
        [2.55, 2.15]
    """
    route = route_of(sigmas)
    levels = route.sigmas
    if isinstance(route, LadderRoute) and not (len(levels) > 1 and levels[0] > levels[-1]):
        raise ValueError("sigmas must be at least two falling noise levels")
    times = route.jump_times(from_noise=False) if jumps else ()
    x = tf.convert_to_tensor(x, tf.float32)
    shape = tuple(x.shape[1:])
    size = math.prod(shape)
    end_log_prob = prior_log_prob
    if prior_log_prob is None and isinstance(route, SdeRoute):
        end_log_prob = route.sde.prior_log_density
    elif prior_log_prob is None:
        end_log_prob = lambda x: normal_log_prob(x, 0.5, levels[0])  # noqa: E731

    def norm(ratios):
        return tf.maximum(root_mean_square(ratios[:, :size]), root_mean_square(ratios[:, size:]))

    def compute(x, seeds):
        directions = probes.directions(seeds, shape)

        def slope(time, y, piece):  # y = (x, integral of div f / D for each probe), [B, D + M]
            place = route.from_images(time)
            x = tf.reshape(y[:, :size], [-1, *shape])
            level = len(levels) - 1 - piece
            score_at = route.flow_score(score_fn, jumps)
            score, derivatives = directional_derivatives(
                lambda x, place: score_at(x, place, level), x, place, directions
            )
            traces = probes.traces(derivatives)
            score = tf.reshape(score, [-1, size])
            rate, pull = route.flow(place)
            moved = -pull[:, None] * tf.concat([score, traces / size], 1)
            if rate is None:
                return moved
            return moved + rate[:, None] * tf.concat([y[:, :size], tf.ones_like(traces)], 1)

        y = tf.concat([tf.reshape(x, [-1, size]), tf.zeros([tf.shape(x)[0], probes.count])], 1)
        state = ode_advance(
            slope, ode_start(y), route.end, route.end, tolerance, tolerance, norm, times
        )
        last = tf.reshape(state.y[:, :size], [-1, *shape])
        log_probs = end_log_prob(last)[:, None] + size * state.y[:, size:]
        return Likelihood(log_probs, state.evaluations)

    if tile is None:
        return compute(x, tf.convert_to_tensor(seeds, tf.int64))
    return in_tiles(compute, tile, x, seeds, dtypes=Likelihood(tf.float32, tf.int32))


def normal_log_prob(x: tf.Tensor, mean: float, deviation: float) -> tf.Tensor:
    """log N(x; mean, deviation^2 I), in nats: [B, ...] -> [B].

    Example:
        >>> round(float(normal_log_prob(tf.zeros([1, 2]), 0.0, 1.0)[0]), 3)  # -log(2 pi)
        -1.838
    """
    squares = tf.square((x - mean) / deviation)
    log_scale = tf.math.log(tf.cast(deviation, tf.float32)) + 0.5 * math.log(2.0 * math.pi)
    return -tf.reduce_sum(0.5 * squares + log_scale, axis=list(range(1, x.shape.rank)))


def dequantize(
    pixels: np.ndarray | tf.Tensor,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    counters: tuple = (0, 0),
) -> tf.Tensor:
    """(k + u) / 256 with u ~ U[0, 1): the density of the result bounds the mass of the pixels.

    Args:
        pixels: uint8 [B, *shape], k.
        seeds: int64 [B]; counters as in `random`.

    Returns:
        float32 [B, *shape] in [0, 1).

    Source: Theis et al. 2016 (arXiv:1511.01844), section 3.1.

    Example:
        >>> x = dequantize(np.array([[0], [255]], np.uint8), [1, 2])
        >>> (x.numpy() * 256).astype(int).tolist()
        [[0], [255]]
    """
    u = random.uniform(seeds, tuple(pixels.shape[1:]), Stream.DEQUANTIZATION, counters)
    return (tf.cast(pixels, tf.float32) + u) / 256.0


def bits_per_dim(
    log_probs: float | tf.Tensor, size: int, centered: bool = False
) -> float | tf.Tensor:
    """-(log p - D log 256) / (D log 2), of the density of dequantised pixels in [0, 1].

    Of a density in [-1, 1] a pixel is 128 times as narrow: 7 bits more, not 8.

    By Jensen's inequality its mean over u is at least the bits that a lossless code of the pixels
    would take. The uniform density has 8.

    Args:
        log_probs: float [...], in nats.
        size: D.
        centered: whether the density is of images from -1 to 1.

    Example:
        >>> bits_per_dim(0.0, 784), bits_per_dim(784 * -math.log(2.0), 784, centered=True)
        (8.0, 8.0)
    """
    return (7.0 if centered else 8.0) - log_probs / (size * math.log(2.0))
