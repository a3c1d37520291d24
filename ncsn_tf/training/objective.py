"""What a network is trained on: how its images are perturbed, and its loss on them."""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from ncsn_tf import losses
from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream
from ncsn_tf.settings.config import Config
from ncsn_tf.training.dequantization import dequantized
from ncsn_tf.training.diffusion_objective import DiffusionObjective
from ncsn_tf.training.run_equation import equation_of, ladder_of


class Perturbation:
    """Noise of one level, drawn uniformly, for each image.

    Args:
        sigmas: float32 [L], the noise levels.
        dequantize: whether an image becomes X * 255/256 + U[0, 1)/256 first.

    Example:
        >>> perturbation = Perturbation([1.0, 0.1, 0.01], dequantize=True)
        >>> images = tf.zeros([4, 8, 8, 1])
        >>> x, levels = perturbation.perturb(images, [5, 5, 5, 5], (tf.range(4), 0))
        >>> tuple(x.shape), levels.dtype.name, int(tf.reduce_max(levels)) < 3
        ((4, 8, 8, 1), 'int32', True)
    """

    def __init__(self, sigmas: tf.Tensor | Sequence[float], dequantize: bool):
        self.sigmas = tf.convert_to_tensor(sigmas, tf.float32)
        self.num_levels = self.sigmas.shape[0]
        self.dequantize = dequantize

    def choose(
        self, images: tf.Tensor, seeds: tf.Tensor, counters: tuple
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What an example needs at random.

        Args:
            images: float32 [B, H, W, C] in [0, 1].
            seeds, counters: address of the draws, see `random`.

        Returns:
            images (dequantised, if so asked for), levels int32 [B], standard normal noise.
        """
        shape = images.shape[1:]
        if self.dequantize:
            images = dequantized(images, seeds, counters)
        levels = random.integers(seeds, self.num_levels, Stream.LEVEL, counters)
        noise = random.normal(seeds, shape, Stream.PERTURBATION, counters)
        return images, levels, noise

    def perturb(
        self, images: tf.Tensor, seeds: tf.Tensor, counters: tuple
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """x + sigma_i z of an image x, dequantised if so asked for, with arguments as in `choose`.

        Returns:
            perturbed images float32 [B, H, W, C], levels int32 [B].
        """
        images, levels, noise = self.choose(images, seeds, counters)
        sigma = tf.reshape(tf.gather(self.sigmas, levels), [-1] + [1] * (images.shape.rank - 1))
        return images + sigma * noise, levels


class Objective:
    """The loss of a score network on images that are perturbed for it.

    dsm is `denoising_score_matching`; sm, ssm and ssm_vr are `score_matching`,
    `sliced_score_matching` and `sliced_score_matching_vr` of the perturbed images. All are weighted
    by sigma_i ** anneal_power. Up to a constant, sigma_i ** anneal_power times half of
    E|| z / sigma_i ||^2 = D / sigma_i^2 (D / 2 for the power 2), they have the same expectation.

    Args:
        name: "dsm", "ssm", "ssm_vr" or "sm".
        perturbation: how the images are perturbed.
        anneal_power: exponent of the weight of a noise level.
        num_projections: random projections an image, of ssm and ssm_vr.

    Raises:
        ValueError: another name.

    Example:
        >>> objective = Objective("dsm", Perturbation([1.0, 0.1], dequantize=False))
        >>> images, seeds, counters = tf.zeros([3, 8, 8, 1]), [7, 7, 7], (tf.range(3), 0)
        >>> losses, levels = objective.per_example(
        ...     lambda x, levels: -x, images, seeds, counters
        ... )
        >>> tuple(losses.shape), tuple(levels.shape)
        ((3,), (3,))
    """

    def __init__(
        self,
        name: str,
        perturbation: Perturbation,
        anneal_power: float = 2.0,
        num_projections: int = 1,
    ):
        if name not in ("dsm", "ssm", "ssm_vr", "sm"):
            raise ValueError(f"an objective is dsm, ssm, ssm_vr or sm, not {name!r}")
        self.name = name
        self.perturbation = perturbation
        self.anneal_power = anneal_power
        self.num_projections = num_projections

    def per_example(
        self, network: Callable, images: tf.Tensor, seeds: tf.Tensor, counters: tuple
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss of each example at a noise level of its own.

        Args:
            network: (x [B, ...], levels [B]) -> score of x's shape.
            images: float32 [B, H, W, C] in [0, 1], before any noise.
            seeds, counters: address of every draw, see `random`.

        Returns:
            losses float32 [B], levels int32 [B].
        """
        images, levels, noise = self.perturbation.choose(images, seeds, counters)
        where = (images, levels, noise, self.perturbation.sigmas, self.anneal_power)
        if self.name == "dsm":
            return losses.denoising_score_matching(network, *where), levels

        def loss_fn(x, levels):
            if self.name == "sm":
                return losses.score_matching(network, x, levels)
            shape, count = x.shape[1:], self.num_projections
            if self.name == "ssm":
                v = spherical_projections(seeds, count, shape, counters)
                return losses.sliced_score_matching(network, x, v, levels)
            v = gaussian_projections(seeds, count, shape, counters)
            return losses.sliced_score_matching_vr(network, x, v, levels)

        return losses.at_noise_levels(loss_fn, *where), levels


def objective_of(config: Config) -> Objective | DiffusionObjective:
    """The objective that a run's settings describe.

    Example:
        >>> type(objective_of(Config(model="ncsnpp", continuous=True))).__name__
        'DiffusionObjective'
    """
    equation = equation_of(config)
    if equation is not None:
        return DiffusionObjective(
            equation,
            config.continuous,
            config.likelihood_weighting,
            config.reduce_mean,
            config.centered,
            config.dequantize,
        )
    return Objective(
        config.objective,
        Perturbation(ladder_of(config), config.dequantize),
        config.anneal_power,
        config.num_projections,
    )


def gaussian_projections(
    seeds: tf.Tensor, num_projections: int, shape: Sequence[int], counters: tuple = (0, 0)
) -> tf.Tensor:
    """Projections v ~ N(0, I): float32 [B, M, *shape]. Seeds and counters as in `random`.

    Example:
        >>> tuple(gaussian_projections([1, 2], 3, (8, 8, 1)).shape)
        (2, 3, 8, 8, 1)
    """
    return random.normal(seeds, (num_projections, *shape), Stream.PROJECTION, counters)


def spherical_projections(
    seeds: tf.Tensor, num_projections: int, shape: Sequence[int], counters: tuple = (0, 0)
) -> tf.Tensor:
    """Projections v uniform on the sphere of radius sqrt(D): float32 [B, M, *shape].

    E[v v^T] = I, as for a normal v. (The released code has the unit sphere, which makes the loss
    smaller by the factor D; Adam does not see a constant factor.)

    Example:
        >>> v = spherical_projections([1], 1, (4,))
        >>> round(float(tf.reduce_sum(tf.square(v))), 4)
        4.0
    """
    v = gaussian_projections(seeds, num_projections, shape, counters)
    axes = list(range(2, v.shape.rank))
    length = tf.sqrt(tf.reduce_sum(tf.square(v), axes, keepdims=True))
    return v * (math.sqrt(math.prod(shape)) / length)
