"""What the solvers of few steps share: their points, the number of their evaluations, the start."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ncsn_tf.sampling.chain import Chain, Rows, draw
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
    is 0, for images that are not drawn. With `most_evaluations` it is that of each image.

    A solver is `numbers`, what its steps do at any points, and `step`.

    Args:
        sigmas, denoise: see `Chain`.
        num_evaluations: evaluations of the network that an image may take, with that of the
            denoising step.
        schedule, rho: see `points.schedule_points`.
        jumps: whether each level has weights of its own, as in NCSN; see there.
        most_evaluations: unless it is 0, `Rows.num_steps_each` is the number of evaluations of each
            image, moved to the nearest from the least possible to this one; 0 still draws nothing.
            The bits are those of the chain of that number.

    Attributes:
        points: float64 array [K + 1], of `num_evaluations`.

    Raises:
        ValueError: too few evaluations or levels, or a setting that cannot be.

    Example:
        >>> from ncsn_tf.sampling import DPMSolver
        >>> chain = DPMSolver([1.0, 0.3, 0.1], num_evaluations=10, schedule="geometric")
        >>> chain.num_steps(1), chain.num_evaluations(1), chain.points.round(2).tolist()[:3]
        (10, 10, [1.0, 0.79, 0.63])
        >>> DPMSolver([1.0, 0.3, 0.1], most_evaluations=50).num_evaluations(30)
        30
    """

    evaluations_a_step = 1
    before_points = 0  # steps before the first point, each of one evaluation

    def __init__(
        self,
        sigmas: Sequence[float] | np.ndarray | tf.Tensor,
        denoise: bool = False,
        num_evaluations: int = 20,
        schedule: str = "karras",
        rho: float = 7.0,
        jumps: bool = False,
        most_evaluations: int = 0,
    ) -> None:
        super().__init__(sigmas, denoise)
        if self.num_levels < 2:
            raise ValueError("a solver of few steps needs at least two noise levels")
        self.least = self.before_points + self.evaluations_a_step + int(denoise)
        if num_evaluations < self.least:
            raise ValueError(
                f"num_evaluations={num_evaluations} must be at least {self.least}{self._among()}"
            )
        if most_evaluations and most_evaluations < self.least:
            raise ValueError(f"most_evaluations={most_evaluations} must be at least {self.least}")
        self.most = most_evaluations

        def points(evaluations):
            count = self._solver_steps(evaluations)
            return schedule_points(self.sigmas, count + 1, schedule, rho, jumps)

        self.count = self._solver_steps(num_evaluations)
        self.points = points(num_evaluations)
        numbers = (
            [self.numbers(self.points)]
            if not self.most
            else [self.numbers(points(n)) for n in range(self.least, self.most + 1)]
        )
        # [solver's chains, steps]: shorter ones end with zeros, which nobody looks up.
        self.tables = {name: _padded([each[name] for each in numbers]) for name in numbers[0]}

    def numbers(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """What the steps of a chain of these points [K + 1] do: float64 [steps], by name."""
        raise NotImplementedError

    def at_step(self, name: str, rows: Rows, index: int | tf.Tensor) -> tf.Tensor:
        """Number `name` of step `index`, for each image: float32 [B].

        Computed beforehand in double precision and looked up: every graph has the same bits.
        """
        table = tf.constant(self.tables[name].astype(np.float32))
        if not self.most:
            return tf.fill(tf.shape(rows.seeds), tf.gather(table[0], index))
        chain = tf.clip_by_value(rows.num_steps_each, self.least, self.most) - self.least
        return tf.gather(tf.gather(table, chain), index, axis=1)

    def num_steps(self, num_steps_each: int | tf.Tensor) -> int | tf.Tensor:
        is_tensor = tf.is_tensor(num_steps_each)
        least, most = (tf.minimum, tf.maximum) if is_tensor else (min, max)
        is_drawn = least(num_steps_each, 1)
        if not self.most:
            return (self.before_points + self.count) * is_drawn
        evaluations = least(most(num_steps_each, self.least), self.most)
        return (self.before_points + self._solver_steps(evaluations)) * is_drawn

    def start(self, seeds: tf.Tensor, image_shape: Sequence[int]) -> tf.Tensor:
        return prior(seeds, image_shape, self.sigmas[0])

    def num_evaluations(self, num_steps_each: int) -> int:
        steps = self.num_steps(num_steps_each)
        before = min(steps, self.before_points)
        return before + (steps - before) * self.evaluations_a_step + int(self.denoise)

    def score(self, score_fn: Callable) -> Callable:
        """(x, sigma [B]) -> score, at any sigma."""
        return at_sigma(score_fn, self.sigmas)

    def _solver_steps(self, evaluations):
        """K of a number of evaluations."""
        left = evaluations - self.before_points - int(self.denoise)
        return left // self.evaluations_a_step

    def _among(self):
        """What is among the evaluations besides a step of the solver, in words."""
        if self.before_points:
            return f": first_level_steps={self.before_points} and more"
        return ", the denoising one included" if self.denoise else ""


def draw_few(
    kind: type[FewSteps],
    score_fn: Callable,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    image_shape: Sequence[int],
    sigmas: Sequence[float] | np.ndarray | tf.Tensor,
    num_evaluations: int = 20,
    *,
    clip: bool = True,
    tile: int | None = None,
    **settings: Any,
) -> tf.Tensor:
    """Draw images with a solver of few steps.

    Args:
        kind: the class of the solver.
        score_fn, seeds, image_shape, sigmas: see `annealed_langevin`.
        num_evaluations, **settings: the other arguments of that class, by name.
        clip, tile: see `draw`.

    Returns:
        float32 [B, *image_shape].
    """
    chain = kind(sigmas, num_evaluations=num_evaluations, **settings)
    return draw(chain, score_fn, Rows.fill(seeds, 0.0, 1), image_shape, clip, tile)


def _padded(arrays):
    """Arrays [K] of several lengths as one, with zeros at the ends."""
    longest = max(map(len, arrays))
    return np.stack([np.pad(array, (0, longest - len(array))) for array in arrays])
