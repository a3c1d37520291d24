"""The likelihood of data under a score function, along the probability-flow ODE."""

import math
from typing import NamedTuple

import tensorflow as tf

from ncsn_tf import random
from ncsn_tf.config import LARGEST_EXACT
from ncsn_tf.langevin import at_level, at_sigma, level_middles
from ncsn_tf.losses import directional_derivatives
from ncsn_tf.ode import ode_advance, ode_start, root_mean_square
from ncsn_tf.random import Stream
from ncsn_tf.sampling import in_tiles
from ncsn_tf.schedule import static_sigmas

DIVERGENCES = ("rademacher", "gaussian", "exact")


class Likelihood(NamedTuple):
    """Log-likelihoods of a batch.

    Attributes:
        log_probs: float32 [B, M], natural logarithms, one for each probe: independent estimates of
            the same number, their mean is the result. [B, 1] for the exact divergence.
        evaluations: int32 [B], of the score function; each comes with M backward passes.
    """

    log_probs: tf.Tensor
    evaluations: tf.Tensor


def log_likelihood(
    score_fn,
    x,
    seeds,
    sigmas,
    divergence="rademacher",
    num_probes=1,
    tolerance=1e-5,
    counters=(0, 0),
    prior_log_prob=None,
    tile=None,
    jumps=False,
):
    """log p(x) by the instantaneous change of variables.

    The flow of the variance-exploding SDE, run from the data's end, sigma(t) = sigma_L exp(t),

        dx / dt = f = -sigma^2 s(x, sigma),    d log p / dt = -div f

    gives    log p(x) = log p_1(x(T)) + integral of div f dt,    sigma(T) = sigma_1.

    p is the density that the flow makes of p_1 at the smallest noise level: a model of the data
    perturbed by sigma_L, not of the data themselves. The step size heeds the error of x and that
    of log p / D alike (each as a root mean square): in one mean over D + 1 numbers the second
    would count for nothing where D is large.

    Args:
        score_fn: (x [B, *shape], labels int32 [B]) -> score of x's shape, read between its levels
            by `langevin.at_sigma`; or one with a method at_sigma(x, sigma [B]). Row b of the
            answer may depend on row b of x only.
        x: float32 [B, *shape]; of D elements, shape known.
        seeds: int64 [B], of each row's probes.
        sigmas: float32 [L], L >= 2 falling noise levels, known when the graph is made.
        divergence, num_probes: see `probes`.
        tolerance: relative and absolute, of a step of the ODE. float32 cannot do much with less
            than 1e-6.
        counters: address of the probes' draws, see `random`.
        prior_log_prob: log p_1, [B, *shape] -> [B]; None is N(1/2, sigma_1^2), as `sde.prior`.
        tile: rows that pass through the score function together, see `sampling.in_tiles`; then a
            row's result depends on its x and seed alone. None: the whole batch.
        jumps: whether the score jumps half-way between levels, as in `flow.ProbabilityFlow`.

    Returns:
        `Likelihood`. A row that became not finite on its way is not finite.

    Raises:
        ValueError: fewer than two levels, or what `probes` refuses.

    Source: Song et al. 2021 (arXiv:2011.13456), equation 39 and appendix D.2; Grathwohl et al.
        2019 (arXiv:1810.01367), section 3.1.
    """
    sigmas = static_sigmas(sigmas)
    if len(sigmas) < 2 or not sigmas[0] > sigmas[-1]:
        raise ValueError("sigmas must be at least two falling noise levels")
    x = tf.convert_to_tensor(x, tf.float32)
    shape = tuple(x.shape[1:])
    size = math.prod(shape)
    end = math.log(sigmas[0] / sigmas[-1])
    end_log_prob = prior_log_prob or (lambda x: normal_log_prob(x, 0.5, sigmas[0]))

    def norm(ratios):
        return tf.maximum(root_mean_square(ratios[:, :size]), root_mean_square(ratios[:, size:]))

    def compute(x, seeds):
        directions = probes(seeds, shape, divergence, num_probes, counters)

        def slope(time, y, piece):  # y = (x, integral of div f / D for each probe), [B, D + M]
            sigma = sigmas[-1] * tf.exp(time)
            x = tf.reshape(y[:, :size], [-1, *shape])
            if jumps:
                level = len(sigmas) - 1 - piece
                score_at = lambda x, sigma: at_level(score_fn, sigmas, x, sigma, level)  # noqa: E731
            else:
                score_at = at_sigma(score_fn, sigmas)
            score, traces = score_and_traces(score_at, x, sigma, directions, divergence)
            score = tf.reshape(score, [-1, size])
            return -tf.square(sigma)[:, None] * tf.concat([score, traces / size], 1)

        count = 1 if divergence == "exact" else num_probes
        y = tf.concat([tf.reshape(x, [-1, size]), tf.zeros([tf.shape(x)[0], count])], 1)
        times = [math.log(middle / sigmas[-1]) for middle in level_middles(sigmas)[::-1]]
        state = ode_advance(
            slope, ode_start(y), end, end, tolerance, tolerance, norm, times if jumps else ()
        )
        last = tf.reshape(state.y[:, :size], [-1, *shape])
        log_probs = end_log_prob(last)[:, None] + size * state.y[:, size:]
        return Likelihood(log_probs, state.evaluations)

    if tile is None:
        return compute(x, tf.convert_to_tensor(seeds, tf.int64))
    return in_tiles(compute, tile, x, seeds, dtypes=Likelihood(tf.float32, tf.int32))


def probes(seeds, shape, divergence, num_probes=1, counters=(0, 0)):
    """Directions v in which a Jacobian J is looked at; [M, B, *shape], [D, 1, *shape] for "exact".

    rademacher: every element is +1 or -1, so that v^T J v is exact where J is diagonal
    gaussian:   v ~ N(0, I)
    exact:      the D unit vectors: the trace is the sum over them

    Args:
        seeds: int64 [B]; counters as in `random`.
        shape: of one row, D elements.
        divergence: one of `DIVERGENCES`.
        num_probes: M, at least 1; 1 for exact.

    Raises:
        ValueError: an unknown divergence; "exact" for more than 256 elements or several probes.

    Source: Hutchinson 1990, "A stochastic estimator of the trace of the influence matrix".
    """
    size = math.prod(shape)
    if divergence == "exact":
        if size > LARGEST_EXACT or num_probes != 1:
            raise ValueError(
                f"the exact divergence is for at most {LARGEST_EXACT} numbers and without probes, "
                f"not for {size} numbers with num_probes={num_probes}"
            )
        return tf.reshape(tf.eye(size), [size, 1, *shape])
    if divergence not in DIVERGENCES or num_probes < 1:
        raise ValueError(
            f"divergence must be one of {', '.join(DIVERGENCES)} with at least one probe, "
            f"not {divergence} with num_probes={num_probes}"
        )
    if divergence == "gaussian":
        v = random.normal(seeds, (num_probes, *shape), Stream.PROBE, counters)
    else:
        words = random.random_words(seeds, num_probes * size, Stream.PROBE, counters)
        bits = tf.bitwise.bitwise_and(words, tf.constant(1, tf.uint32))
        v = tf.reshape(2.0 * tf.cast(bits, tf.float32) - 1.0, [-1, num_probes, *shape])
    return tf.transpose(v, [1, 0, *range(2, v.shape.rank)])


def score_and_traces(score_at, x, sigma, directions, divergence):
    """The score, and tr(ds/dx) or its estimates v^T (ds/dx) v.

    Args:
        score_at: (x [B, *shape], sigma [B]) -> score of x's shape.
        x, sigma: its arguments.
        directions: as `probes` made them.
        divergence: what they were made for.

    Returns:
        score of x's shape, traces float32 [B, M]; [B, 1] for "exact".
    """
    score, derivatives = directional_derivatives(score_at, x, sigma, directions)
    if divergence == "exact":
        return score, tf.reduce_sum(derivatives, 0)[:, None]
    return score, tf.transpose(derivatives)


def normal_log_prob(x, mean, deviation):
    """log N(x; mean, deviation^2 I), in nats: [B, ...] -> [B]."""
    squares = tf.square((x - mean) / deviation)
    log_scale = tf.math.log(tf.cast(deviation, tf.float32)) + 0.5 * math.log(2.0 * math.pi)
    return -tf.reduce_sum(0.5 * squares + log_scale, axis=list(range(1, x.shape.rank)))


def dequantize(pixels, seeds, counters=(0, 0)):
    """(k + u) / 256 with u ~ U[0, 1): the density of the result bounds the mass of the pixels.

    Args:
        pixels: uint8 [B, *shape], k.
        seeds: int64 [B]; counters as in `random`.

    Returns:
        float32 [B, *shape] in [0, 1).

    Source: Theis et al. 2016 (arXiv:1511.01844), section 3.1.
    """
    u = random.uniform(seeds, tuple(pixels.shape[1:]), Stream.DEQUANTIZATION, counters)
    return (tf.cast(pixels, tf.float32) + u) / 256.0


def bits_per_dim(log_probs, size):
    """-(log p - D log 256) / (D log 2), of the density of dequantised pixels in [0, 1].

    By Jensen's inequality its mean over u is at least the bits that a lossless code of the pixels
    would take. The uniform density has 8.

    Args:
        log_probs: float [...], in nats.
        size: D.
    """
    return 8.0 - log_probs / (size * math.log(2.0))
