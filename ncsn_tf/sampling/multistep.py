"""DPM-Solver++ of second order, its form with noise, and that one's first-order case."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream
from ncsn_tf.sampling.chain import Rows, column
from ncsn_tf.sampling.few_steps import FewSteps, draw_few

_FIRST_STEP = 0.2  # of the steps at the first level, in sigma_1^2: that of the published NCSN


def dpm_solver(
    score_fn: Callable,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    image_shape: Sequence[int],
    sigmas: Sequence[float] | np.ndarray | tf.Tensor,
    num_evaluations: int = 20,
    **settings: Any,
) -> tf.Tensor:
    """Draw images by DPM-Solver++ 2M: `DPMSolver` as a function, see `few_steps.draw_few`.

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> density, sigmas = GaussianMixture([1.0], [[0.5, 0.5]], 0.01), [0.3, 0.1]
        >>> x = dpm_solver(density.score_fn(sigmas), range(200), (2,), sigmas, 10)
        >>> tuple(x.shape), [round(mean, 1) for mean in x.numpy().mean(0).tolist()]
        ((200, 2), [0.5, 0.5])
    """
    return draw_few(DPMSolver, score_fn, seeds, image_shape, sigmas, num_evaluations, **settings)


def dpm_solver_sde(
    score_fn: Callable,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    image_shape: Sequence[int],
    sigmas: Sequence[float] | np.ndarray | tf.Tensor,
    num_evaluations: int = 20,
    **settings: Any,
) -> tf.Tensor:
    """Draw images by SDE-DPM-Solver++ 2M: `DPMSolverSDE` as a function, see `few_steps.draw_few`.

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> density, sigmas = GaussianMixture([1.0], [[0.4, 0.6]], 0.01), [0.3, 0.1]
        >>> x = dpm_solver_sde(density.score_fn(sigmas), range(200), (2,), sigmas, 10)
        >>> tuple(x.shape), [round(mean, 1) for mean in x.numpy().mean(0).tolist()]
        ((200, 2), [0.4, 0.6])
    """
    return draw_few(DPMSolverSDE, score_fn, seeds, image_shape, sigmas, num_evaluations, **settings)


def euler_ancestral(
    score_fn: Callable,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    image_shape: Sequence[int],
    sigmas: Sequence[float] | np.ndarray | tf.Tensor,
    num_evaluations: int = 20,
    **settings: Any,
) -> tf.Tensor:
    """Draw images by ancestral steps: `EulerAncestral` as a function, see `few_steps.draw_few`.

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> density, sigmas = GaussianMixture([1.0], [[0.4, 0.6]], 0.01), [0.3, 0.1]
        >>> x = euler_ancestral(density.score_fn(sigmas), range(200), (2,), sigmas, 10)
        >>> tuple(x.shape), [round(mean, 1) for mean in x.numpy().mean(0).tolist()]
        ((200, 2), [0.4, 0.6])
    """
    return draw_few(
        EulerAncestral, score_fn, seeds, image_shape, sigmas, num_evaluations, **settings
    )


class FirstLevelSteps(FewSteps):
    """A solver that may begin with Langevin steps at the first level, which forget the start.

        x <- x + a s(x, sigma_1) + sqrt(2 a) z,    a = 0.2 sigma_1^2

    That is annealed Langevin dynamics at the level, with the published step size of NCSN. Such
    steps repair a start N(1/2, sigma_1^2) that is not where the perturbed data lie, as where
    sigma_1 is far below the width of the data.

    Args:
        *settings, **named: those of `FewSteps`.
        first_level_steps: how many, of one evaluation each, which are among `num_evaluations`.

    Raises:
        ValueError: see `FewSteps`.

    Example:
        >>> chain = DPMSolverSDE([1.0, 0.3, 0.1], num_evaluations=10, first_level_steps=6)
        >>> chain.num_steps(1), chain.points.round(2).tolist()
        (10, [1.0, 0.6, 0.35, 0.19, 0.1])
    """

    def __init__(self, *settings: Any, first_level_steps: int = 0, **named: Any) -> None:
        if first_level_steps < 0:
            raise ValueError(f"first_level_steps={first_level_steps} must be at least 0")
        self.before_points = first_level_steps
        super().__init__(*settings, **named)

    def numbers(self, points: np.ndarray) -> dict[str, np.ndarray]:
        own = self.solver_numbers(points)
        first = points[0]
        before = {
            "now": first,
            "push": _FIRST_STEP * first**2,
            "spread": np.sqrt(2.0 * _FIRST_STEP) * first,
            "turn": 0.0,
        }
        return {
            name: np.concatenate([np.full(self.before_points, before[name]), values])
            for name, values in own.items()
        }

    def solver_numbers(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """`numbers` of the solver's own steps, of those that `numbers` has here, some or all."""
        raise NotImplementedError

    def noised(self, x: tf.Tensor, rows: Rows, index: int | tf.Tensor) -> tf.Tensor:
        """x with the noise of step `index`."""
        noise = random.normal(rows.seeds, x.shape[1:], Stream.LANGEVIN, (index, 0))
        # Subtracted with the sign turned, as in `langevin.AnnealedLangevin.step`.
        return x - column(-self.at_step("spread", rows, index), x) * noise


class EulerAncestral(FirstLevelSteps):
    """Ancestral steps: from point t to t' by the exact posterior of an image that is D(x, t).

        x <- q x + (1 - q) D(x, t) + t' sqrt(1 - q) z,    q = (t' / t)^2

    That is the first-order case of `DPMSolverSDE`, SDE-DPM-Solver++ 1, and the predictor
    "ancestral" of `PredictorCorrector` on a schedule. In the form of others it is Euler's step to
    sigma_down = t'^2 / t and then noise of sigma_up = sqrt(t'^2 - sigma_down^2).

    Args and errors are those of `FirstLevelSteps`.

    Source: Lu et al. 2022 (arXiv:2211.01095), SDE-DPM-Solver++ 1; Song et al. 2021
        (arXiv:2011.13456), appendix F, for ancestral sampling of the variance-exploding SDE.

    Example:
        >>> chain = EulerAncestral([1.0, 0.3, 0.1], num_evaluations=10)
        >>> chain.num_steps(1), chain.num_evaluations(1)
        (10, 10)
    """

    def solver_numbers(self, points: np.ndarray) -> dict[str, np.ndarray]:
        gain, spread = _posterior(points)
        return {"now": points[:-1], "push": gain * points[:-1] ** 2, "spread": spread}

    def step(
        self, score_fn: Callable, x: tf.Tensor, rows: Rows, index: int | tf.Tensor
    ) -> tf.Tensor:
        score = self.score(score_fn)(x, self.at_step("now", rows, index))
        push = column(self.at_step("push", rows, index), x) * score
        return self.noised(x + push, rows, index)


class Memory(NamedTuple):
    """The state of a solver that knows its step before.

    Attributes:
        x: float32 [B, *image_shape].
        denoised: D of the point before, of x's shape; at the first point it counts for nothing.
    """

    x: tf.Tensor
    denoised: tf.Tensor


class DPMSolver(FirstLevelSteps):
    """DPM-Solver++ 2M: multistep, of second order, one evaluation a step. Without noise.

    From point t_i to t_{i+1}, with h_i = log(t_i / t_{i+1}), r_i = h_{i-1} / h_i and D_i = D(x,
    t_i),

        D = (1 + 1 / (2 r_i)) D_i - 1 / (2 r_i) D_{i-1}
        x <- (t_{i+1} / t_i) x + (1 - exp(-h_i)) D

    The first step, which has no D before it, takes D_0, and is Euler's. The paper's alpha is 1
    here, for x is an image plus noise; `LadderScore` brings other equations to these units.

    Args and errors are those of `FirstLevelSteps`. The state is a `Memory`.

    Source: Lu et al. 2022 (arXiv:2211.01095), Algorithm 2, DPM-Solver++(2M).

    Example:
        >>> chain = DPMSolver([1.0, 0.3, 0.1], denoise=True, num_evaluations=10)
        >>> chain.num_steps(1), chain.num_evaluations(1)
        (9, 10)
    """

    dtypes = Memory(tf.float32, tf.float32)

    def solver_numbers(self, points: np.ndarray) -> dict[str, np.ndarray]:
        now, following = points[:-1], points[1:]
        lengths = np.log(now / following)
        gain, spread = self.weights(points)
        turn = np.zeros(len(now))  # 1 / (2 r_i)
        turn[1:] = 0.5 * lengths[1:] / lengths[:-1]
        return {"now": now, "push": gain * now**2, "spread": spread, "turn": -gain * turn}

    def weights(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weight of D in each step, and the deviation of its noise: float64 [K] each."""
        return 1.0 - points[1:] / points[:-1], np.zeros(len(points) - 1)

    def start(self, seeds: tf.Tensor, image_shape: Sequence[int]) -> Memory:
        x = super().start(seeds, image_shape)
        return Memory(x, tf.zeros_like(x))

    def step(self, score_fn: Callable, x: Memory, rows: Rows, index: int | tf.Tensor) -> Memory:
        x, before = x
        now = self.at_step("now", rows, index)
        score = self.score(score_fn)(x, now)
        denoised = x + column(tf.square(now), x) * score
        push = column(self.at_step("push", rows, index), x) * score
        turn = column(self.at_step("turn", rows, index), x) * (denoised - before)
        # Subtracted with the sign turned, as in `langevin.AnnealedLangevin.step`.
        moved = x + push - turn
        if self.tables["spread"].any():
            moved = self.noised(moved, rows, index)
        return Memory(moved, denoised)

    def images(self, state: Memory) -> tf.Tensor:
        return state.x


class DPMSolverSDE(DPMSolver):
    """SDE-DPM-Solver++ 2M: `DPMSolver` for the reverse SDE, with new noise in each step.

        x <- exp(-2 h_i) x + (1 - exp(-2 h_i)) D + t_{i+1} sqrt(1 - exp(-2 h_i)) z

    with the D of `DPMSolver`. Noise forgets what the start and the steps before had wrong, which a
    flow without noise keeps.

    Args and errors are those of `FirstLevelSteps`.

    Source: Lu et al. 2022 (arXiv:2211.01095), SDE-DPM-Solver++(2M).

    Example:
        >>> chain = DPMSolverSDE([1.0, 0.3, 0.1], denoise=True, num_evaluations=10)
        >>> chain.num_steps(1), chain.num_evaluations(1)
        (9, 10)
    """

    def weights(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _posterior(points)


def _posterior(points):
    """1 - q and t' sqrt(1 - q) of the steps between the points, see `EulerAncestral`."""
    gain = 1.0 - (points[1:] / points[:-1]) ** 2
    return gain, points[1:] * np.sqrt(gain)
