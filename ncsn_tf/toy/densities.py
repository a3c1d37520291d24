"""Densities whose score is known: what samplers and objectives are compared with."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.random import Counters, Seeds, Stream

# What `tf.convert_to_tensor` takes as float32.
Numbers = float | Sequence | np.ndarray | tf.Tensor


class GaussianMixture:
    """A mixture of normal densities with diagonal covariances.

        p(x) = sum_k w_k N(x; mu_k, diag(v_k))

    Convolution with noise of standard deviation sigma adds sigma^2 to every variance, so that the
    perturbed density and its score are known too.

    Args:
        weights: K positive numbers, w_k; they are divided by their sum.
        means: [K, D], mu_k.
        variances: v_k > 0, of a shape that broadcasts to [K, D]: a number, [K, 1] or [K, D].

    Raises:
        ValueError: weights or variances that are not positive, or shapes that do not fit.

    Attributes:
        weights: float32 [K], of sum 1.
        means: float32 [K, D].
        variances: float32 [K, D].

    Example:
        >>> density = GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], 1.0)
        >>> print(density.score([[0.0, 2.0], [9.0, 0.0]]).numpy())
        [[ 0. -2.]
         [-8.  0.]]
    """

    def __init__(self, weights: Numbers, means: Numbers, variances: Numbers) -> None:
        means = tf.convert_to_tensor(means, tf.float32)
        weights = tf.convert_to_tensor(weights, tf.float32)
        variances = tf.convert_to_tensor(variances, tf.float32)
        if means.shape.rank != 2 or weights.shape != means.shape[:1]:
            raise ValueError(
                "weights and means must have the shapes [K] and [K, D], "
                f"not {list(weights.shape)} and {list(means.shape)}"
            )
        if not all(bool(tf.reduce_all(part > 0.0)) for part in (weights, variances)):
            raise ValueError("weights and variances must be positive")
        try:
            self.variances = tf.broadcast_to(variances, means.shape)  # [K, D]
        except tf.errors.InvalidArgumentError:
            raise ValueError(
                f"variances of shape {list(variances.shape)} do not fit the means, "
                f"{list(means.shape)}"
            ) from None
        self.weights = weights / tf.reduce_sum(weights)  # [K]
        self.means = means  # [K, D]

    def log_prob(self, x: Numbers, sigma: Numbers = 0.0) -> tf.Tensor:
        """log p_sigma(x), the density perturbed by noise of standard deviation sigma.

        Args:
            x: float32 [B, D].
            sigma: one number, or one an example: [B].

        Returns:
            float32 [B].

        Example:
            >>> density = GaussianMixture([1.0], [[0.0]], 1.0)
            >>> print(density.log_prob([[0.0], [1.0]]).numpy().round(3))
            [-0.919 -1.419]
        """
        return tf.reduce_logsumexp(self._log_joint(x, sigma), 1)

    def responsibilities(self, x: Numbers, sigma: Numbers = 0.0) -> tf.Tensor:
        """p_sigma(component k | x): float32 [B, K]. Arguments as in `log_prob`.

        Example:
            >>> density = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 1.0)
            >>> print(density.responsibilities([[0.0], [1.0]]).numpy().round(3))
            [[0.5   0.5  ]
             [0.119 0.881]]
        """
        return tf.nn.softmax(self._log_joint(x, sigma), axis=1)

    def score(self, x: Numbers, sigma: Numbers = 0.0) -> tf.Tensor:
        """grad_x log p_sigma(x): float32 [B, D]. Arguments as in `log_prob`.

            sum_k p_sigma(k | x) (mu_k - x) / (v_k + sigma^2)

        Example:
            >>> density = GaussianMixture([1.0], [[0.0]], 1.0)
            >>> print(density.score([[2.0], [2.0]], sigma=[0.0, 1.0]).numpy())
            [[-2.]
             [-1.]]
        """
        difference, variances = self._parts(x, sigma)
        share = self.responsibilities(x, sigma)
        return tf.reduce_sum(share[:, :, None] * difference / variances, 1)

    def score_fn(self, sigmas: Numbers) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """The score function (x [B, D], levels [B]) -> [B, D] at the noise levels sigmas [L].

        Example:
            >>> score_fn = GaussianMixture([1.0], [[0.0]], 1.0).score_fn([1.0, 0.0])
            >>> print(score_fn([[2.0], [2.0]], [0, 1]).numpy())
            [[-1.]
             [-2.]]
        """
        sigmas = tf.convert_to_tensor(sigmas, tf.float32)
        return lambda x, levels: self.score(x, tf.gather(sigmas, levels))

    def perturbed(self, sigma: float) -> "GaussianMixture":
        """The density of x + sigma z, z ~ N(0, I).

        Example:
            >>> GaussianMixture([1.0], [[0.0]], 1.0).perturbed(2.0).variances.numpy().tolist()
            [[5.0]]
        """
        return GaussianMixture(self.weights, self.means, self.variances + sigma**2)

    def sample(self, seeds: Seeds, counters: Counters = (0, 0)) -> tf.Tensor:
        """Independent draws: float32 [B, D]. Seeds int64 [B] and counters as in `random`.

        Example:
            >>> density = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 1e-6)
            >>> x = density.sample(np.arange(1000))
            >>> tuple(x.shape), round(float(tf.reduce_mean(tf.abs(x))), 2)
            ((1000, 1), 1.0)
        """
        size = self.means.shape[1]
        position = random.uniform(seeds, (1,), Stream.LEVEL, counters)  # [B, 1]
        # The last bound is left out: the weights' rounded sum may be below the position.
        bounds = tf.cumsum(self.weights)[:-1]
        component = tf.reduce_sum(tf.cast(position >= bounds, tf.int32), 1)
        z = random.normal(seeds, (size,), Stream.PERTURBATION, counters)
        return tf.gather(self.means, component) + tf.sqrt(tf.gather(self.variances, component)) * z

    def _log_joint(self, x, sigma):
        """log w_k + log N(x; mu_k, v_k + sigma^2): [B, K]."""
        difference, variances = self._parts(x, sigma)
        terms = tf.square(difference) / variances + tf.math.log(2.0 * math.pi * variances)
        return tf.math.log(self.weights) - 0.5 * tf.reduce_sum(terms, 2)

    def _parts(self, x, sigma):
        """mu_k - x, [B, K, D], and v_k + sigma^2, [B or 1, K, D]."""
        x = tf.convert_to_tensor(x, tf.float32)
        noise = tf.reshape(tf.square(tf.convert_to_tensor(sigma, tf.float32)), [-1, 1, 1])
        return self.means - x[:, None, :], self.variances + noise
