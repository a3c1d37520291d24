"""DPM-Solver++ of second order, its form with noise, and that one's first-order case."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream
from ncsn_tf.sampling.chain import Rows, column, draw
from ncsn_tf.sampling.few_steps import FewSteps, at_step


def dpm_solver(
    score_fn: Callable,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    image_shape: Sequence[int],
    sigmas: Sequence[float] | np.ndarray | tf.Tensor,
    num_evaluations: int = 20,
    schedule: str = "karras",
    rho: float = 7.0,
    jumps: bool = False,
    denoise: bool = False,
    clip: bool = True,
    tile: int | None = None,
) -> tf.Tensor:
    """Draw images by DPM-Solver++ 2M: `DPMSolver` as a function.

    Args:
        score_fn, seeds, image_shape, sigmas: see `annealed_langevin`.
        num_evaluations, schedule, rho, jumps: see `FewSteps`.
        denoise, clip, tile: see `Chain` and `draw`.

    Returns:
        float32 [B, *image_shape].

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> density, sigmas = GaussianMixture([1.0], [[0.5, 0.5]], 0.01), [0.3, 0.1]
        >>> x = dpm_solver(density.score_fn(sigmas), range(200), (2,), sigmas, 10)
        >>> tuple(x.shape), [round(mean, 1) for mean in x.numpy().mean(0).tolist()]
        ((200, 2), [0.5, 0.5])
    """
    chain = DPMSolver(sigmas, denoise, num_evaluations, schedule, rho, jumps)
    return draw(chain, score_fn, Rows.fill(seeds, 0.0, 1), image_shape, clip, tile)


def dpm_solver_sde(
    score_fn: Callable,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    image_shape: Sequence[int],
    sigmas: Sequence[float] | np.ndarray | tf.Tensor,
    num_evaluations: int = 20,
    schedule: str = "karras",
    rho: float = 7.0,
    jumps: bool = False,
    denoise: bool = False,
    clip: bool = True,
    tile: int | None = None,
) -> tf.Tensor:
    """Draw images by SDE-DPM-Solver++ 2M: `DPMSolverSDE` as a function.

    Args and result are those of `dpm_solver`.

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> density, sigmas = GaussianMixture([1.0], [[0.4, 0.6]], 0.01), [0.3, 0.1]
        >>> x = dpm_solver_sde(density.score_fn(sigmas), range(200), (2,), sigmas, 10)
        >>> tuple(x.shape), [round(mean, 1) for mean in x.numpy().mean(0).tolist()]
        ((200, 2), [0.4, 0.6])
    """
    chain = DPMSolverSDE(sigmas, denoise, num_evaluations, schedule, rho, jumps)
    return draw(chain, score_fn, Rows.fill(seeds, 0.0, 1), image_shape, clip, tile)


def euler_ancestral(
    score_fn: Callable,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    image_shape: Sequence[int],
    sigmas: Sequence[float] | np.ndarray | tf.Tensor,
    num_evaluations: int = 20,
    schedule: str = "karras",
    rho: float = 7.0,
    jumps: bool = False,
    denoise: bool = False,
    clip: bool = True,
    tile: int | None = None,
) -> tf.Tensor:
    """Draw images by Euler ancestral steps: `EulerAncestral` as a function.

    Args and result are those of `dpm_solver`.

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> density, sigmas = GaussianMixture([1.0], [[0.4, 0.6]], 0.01), [0.3, 0.1]
        >>> x = euler_ancestral(density.score_fn(sigmas), range(200), (2,), sigmas, 10)
        >>> tuple(x.shape), [round(mean, 1) for mean in x.numpy().mean(0).tolist()]
        ((200, 2), [0.4, 0.6])
    """
    chain = EulerAncestral(sigmas, denoise, num_evaluations, schedule, rho, jumps)
    return draw(chain, score_fn, Rows.fill(seeds, 0.0, 1), image_shape, clip, tile)


class EulerAncestral(FewSteps):
    """Ancestral steps: from point t to t' by the exact posterior of an image that is D(x, t).

        x <- q x + (1 - q) D(x, t) + t' sqrt(1 - q) z,    q = (t' / t)^2

    That is the first-order case of `DPMSolverSDE`, SDE-DPM-Solver++ 1, and the predictor
    "ancestral" of `PredictorCorrector` on a schedule. In the form of others it is Euler's step to
    sigma_down = t'^2 / t and then noise of sigma_up = sqrt(t'^2 - sigma_down^2).

    Args and errors are those of `FewSteps`.

    Source: Lu et al. 2022 (arXiv:2211.01095), SDE-DPM-Solver++ 1; Song et al. 2021
        (arXiv:2011.13456), appendix F, for ancestral sampling of the variance-exploding SDE.

    Example:
        >>> chain = EulerAncestral([1.0, 0.3, 0.1], num_evaluations=10)
        >>> chain.num_steps(1), chain.num_evaluations(1)
        (10, 10)
    """

    def __init__(
        self,
        sigmas: Sequence[float] | np.ndarray | tf.Tensor,
        denoise: bool = False,
        num_evaluations: int = 20,
        schedule: str = "karras",
        rho: float = 7.0,
        jumps: bool = False,
    ) -> None:
        super().__init__(sigmas, denoise, num_evaluations, schedule, rho, jumps)
        self._now = self.points[:-1]
        self._gain, self._spread = _posterior(self.points)

    def step(
        self, score_fn: Callable, x: tf.Tensor, rows: Rows, index: int | tf.Tensor
    ) -> tf.Tensor:
        score = self.score(score_fn)(x, at_step(self._now, rows, index))
        push = column(at_step(self._gain * self._now**2, rows, index), x) * score
        noise = random.normal(rows.seeds, x.shape[1:], Stream.LANGEVIN, (index, 0))
        # Subtracted with the sign turned, as in `langevin.AnnealedLangevin.step`.
        return x + push - column(at_step(-self._spread, rows, index), x) * noise


class Memory(NamedTuple):
    """The state of a solver that knows its step before.

    Attributes:
        x: float32 [B, *image_shape].
        denoised: D of the point before, of x's shape; at the first point it counts for nothing.
    """

    x: tf.Tensor
    denoised: tf.Tensor


class DPMSolver(FewSteps):
    """DPM-Solver++ 2M: multistep, of second order, one evaluation a step. Without noise.

    From point t_i to t_{i+1}, with h_i = log(t_i / t_{i+1}), r_i = h_{i-1} / h_i and D_i = D(x,
    t_i),

        D = (1 + 1 / (2 r_i)) D_i - 1 / (2 r_i) D_{i-1}
        x <- (t_{i+1} / t_i) x + (1 - exp(-h_i)) D

    The first step, which has no D before it, takes D_0, and is Euler's. The paper's alpha is 1
    here, for x is an image plus noise; `LadderScore` brings other equations to these units.

    Args and errors are those of `FewSteps`. The state is a `Memory`.

    Source: Lu et al. 2022 (arXiv:2211.01095), Algorithm 2, DPM-Solver++(2M).

    Example:
        >>> chain = DPMSolver([1.0, 0.3, 0.1], denoise=True, num_evaluations=10)
        >>> chain.num_steps(1), chain.num_evaluations(1)
        (9, 10)
    """

    dtypes = Memory(tf.float32, tf.float32)

    def __init__(
        self,
        sigmas: Sequence[float] | np.ndarray | tf.Tensor,
        denoise: bool = False,
        num_evaluations: int = 20,
        schedule: str = "karras",
        rho: float = 7.0,
        jumps: bool = False,
    ) -> None:
        super().__init__(sigmas, denoise, num_evaluations, schedule, rho, jumps)
        now, following = self.points[:-1], self.points[1:]
        lengths = np.log(now / following)
        self._now = now
        self._gain, self._spread = self.numbers()
        self._turn = np.zeros(self.count)  # 1 / (2 r_i)
        self._turn[1:] = 0.5 * lengths[1:] / lengths[:-1]

    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """The weight of D in each step, and the deviation of its noise: float64 [K] each."""
        return 1.0 - self.points[1:] / self.points[:-1], np.zeros(self.count)

    def start(self, seeds: tf.Tensor, image_shape: Sequence[int]) -> Memory:
        x = super().start(seeds, image_shape)
        return Memory(x, tf.zeros_like(x))

    def step(self, score_fn: Callable, x: Memory, rows: Rows, index: int | tf.Tensor) -> Memory:
        x, before = x
        now = at_step(self._now, rows, index)
        score = self.score(score_fn)(x, now)
        denoised = x + column(tf.square(now), x) * score
        push = column(at_step(self._gain * self._now**2, rows, index), x) * score
        turn = column(at_step(-self._gain * self._turn, rows, index), x) * (denoised - before)
        # Subtracted with the sign turned, as in `langevin.AnnealedLangevin.step`.
        moved = x + push - turn
        if self._spread.any():
            noise = random.normal(rows.seeds, x.shape[1:], Stream.LANGEVIN, (index, 0))
            moved = moved - column(at_step(-self._spread, rows, index), x) * noise
        return Memory(moved, denoised)

    def images(self, state: Memory) -> tf.Tensor:
        return state.x


class DPMSolverSDE(DPMSolver):
    """SDE-DPM-Solver++ 2M: `DPMSolver` for the reverse SDE, with new noise in each step.

        x <- exp(-2 h_i) x + (1 - exp(-2 h_i)) D + t_{i+1} sqrt(1 - exp(-2 h_i)) z

    with the D of `DPMSolver`. Noise forgets what the start and the steps before had wrong, which a
    flow without noise keeps.

    Args and errors are those of `FewSteps`.

    Source: Lu et al. 2022 (arXiv:2211.01095), SDE-DPM-Solver++(2M).

    Example:
        >>> chain = DPMSolverSDE([1.0, 0.3, 0.1], denoise=True, num_evaluations=10)
        >>> chain.num_steps(1), chain.num_evaluations(1)
        (9, 10)
    """

    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        return _posterior(self.points)


def _posterior(points):
    """1 - q and t' sqrt(1 - q) of the steps between the points, see `EulerAncestral`."""
    gain = 1.0 - (points[1:] / points[:-1]) ** 2
    return gain, points[1:] * np.sqrt(gain)
