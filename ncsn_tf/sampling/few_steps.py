"""What the solvers of few steps share: their points, the number of their evaluations, the start."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ncsn_tf.sampling.chain import Chain, Rows
from ncsn_tf.sampling.levels import at_sigma
from ncsn_tf.sampling.points import schedule_points
from ncsn_tf.sampling.routes import prior


class FewSteps(Chain):
    """A chain that goes down its own points, as many as the evaluations of the network allow.

    x_0 ~ N(1/2, sigma_1^2). The points t_0 = sigma_1 > ... > t_K = sigma_L are those of
    `points.schedule_points`, and there are K steps. All that a network knows is the expected clean
    image of a noisy one,

        D(x, sigma) = x + sigma^2 s(x, sigma)

    read between its levels by `levels.at_sigma`. The denoising step, if asked for, is one more: x
    becomes D(x, sigma_L), which is a step of any of these solvers to sigma = 0.

    The number of evaluations is the chain's own: of `Rows.num_steps_each` it counts only whether it
    is 0, for images that are not drawn.

    Args:
        sigmas, denoise: see `Chain`.
        num_evaluations: evaluations of the network that an image may take, with that of the
            denoising step.
        schedule, rho: see `points.schedule_points`.
        jumps: whether each level has weights of its own, as in NCSN; see there.

    Attributes:
        points: float64 array [K + 1].

    Raises:
        ValueError: too few evaluations or levels, or a setting that cannot be.

    Example:
        >>> from ncsn_tf.sampling import DPMSolver
        >>> chain = DPMSolver([1.0, 0.3, 0.1], num_evaluations=10, schedule="geometric")
        >>> chain.num_steps(1), chain.num_evaluations(1), chain.points.round(2).tolist()[:3]
        (10, 10, [1.0, 0.79, 0.63])
    """

    evaluations_a_step = 1

    def __init__(
        self,
        sigmas: Sequence[float] | np.ndarray | tf.Tensor,
        denoise: bool = False,
        num_evaluations: int = 20,
        schedule: str = "karras",
        rho: float = 7.0,
        jumps: bool = False,
    ) -> None:
        super().__init__(sigmas, denoise)
        if self.num_levels < 2:
            raise ValueError("a solver of few steps needs at least two noise levels")
        least = self.evaluations_a_step + int(denoise)
        if num_evaluations < least:
            last = ", the denoising one included" if denoise else ""
            raise ValueError(f"num_evaluations={num_evaluations} must be at least {least}{last}")
        self.count = (num_evaluations - int(denoise)) // self.evaluations_a_step
        self.points = schedule_points(self.sigmas, self.count + 1, schedule, rho, jumps)

    def num_steps(self, num_steps_each: int | tf.Tensor) -> int | tf.Tensor:
        least = tf.minimum if tf.is_tensor(num_steps_each) else min
        return self.count * least(num_steps_each, 1)

    def start(self, seeds: tf.Tensor, image_shape: Sequence[int]) -> tf.Tensor:
        return prior(seeds, image_shape, self.sigmas[0])

    def num_evaluations(self, num_steps_each: int) -> int:
        steps = self.num_steps(num_steps_each)
        return steps * self.evaluations_a_step + int(self.denoise)

    def score(self, score_fn: Callable) -> Callable:
        """(x, sigma [B]) -> score, at any sigma."""
        return at_sigma(score_fn, self.sigmas)


def at_step(numbers: np.ndarray, rows: Rows, index: int | tf.Tensor) -> tf.Tensor:
    """Number `index` of an array, for each image: float32 [B].

    Computed beforehand in double precision and looked up: every graph has the same bits.

    Example:
        >>> rows = Rows.fill([7, 8], 0.0, 1)
        >>> at_step(np.array([1.0, 0.5]), rows, tf.constant(1)).numpy().tolist()
        [0.5, 0.5]
    """
    number = tf.gather(tf.constant(numbers.astype(np.float32)), index)
    return tf.fill(tf.shape(rows.seeds), number)
