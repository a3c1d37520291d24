"""Densities whose score is known: what samplers and objectives are compared with."""

import math

import tensorflow as tf

from ncsn_tf import random
from ncsn_tf.random import Stream


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
    """

    def __init__(self, weights, means, variances):
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

    def log_prob(self, x, sigma=0.0):
        """log p_sigma(x), the density perturbed by noise of standard deviation sigma.

        Args:
            x: float32 [B, D].
            sigma: one number, or one an example: [B].

        Returns:
            float32 [B].
        """
        return tf.reduce_logsumexp(self._log_joint(x, sigma), 1)

    def responsibilities(self, x, sigma=0.0):
        """p_sigma(component k | x): float32 [B, K]. Arguments as in `log_prob`."""
        return tf.nn.softmax(self._log_joint(x, sigma), axis=1)

    def score(self, x, sigma=0.0):
        """grad_x log p_sigma(x): float32 [B, D]. Arguments as in `log_prob`.

        sum_k p_sigma(k | x) (mu_k - x) / (v_k + sigma^2)
        """
        difference, variances = self._parts(x, sigma)
        share = self.responsibilities(x, sigma)
        return tf.reduce_sum(share[:, :, None] * difference / variances, 1)

    def score_fn(self, sigmas):
        """The score function (x [B, D], labels [B]) -> [B, D] at the noise levels sigmas [L]."""
        sigmas = tf.convert_to_tensor(sigmas, tf.float32)
        return lambda x, labels: self.score(x, tf.gather(sigmas, labels))

    def perturbed(self, sigma):
        """The density of x + sigma z, z ~ N(0, I): a `GaussianMixture`."""
        return GaussianMixture(self.weights, self.means, self.variances + sigma**2)

    def sample(self, seeds, counters=(0, 0)):
        """Independent draws: float32 [B, D]. Seeds int64 [B] and counters as in `random`."""
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
