"""Solvers of the probability flow compared: `python -m benchmarks.solvers`.

Our own (`ncsn_tf.sampling.ode`), the Dormand-Prince solver of TensorFlow Probability and SciPy's
RK45, which Song et al. 2021 use, on a mixture whose score is known and, with --workdir, on a
trained network. The others take one step size for the whole batch, here from the mean of the
images' squared errors. TensorFlow Probability is no requirement: `pip install
tensorflow-probability tf-keras`, anywhere on PYTHONPATH; without it its rows are left out.
"""

import dataclasses
import importlib.util
import itertools
import math
import sys
import time
from pathlib import Path
from typing import NamedTuple

from ncsn_tf.commands.console import run_command
from ncsn_tf.errors import UserError
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.options import option

SUMMARY = "Compare solvers of the probability flow."
TOLERANCES = (1e-3, 1e-5)
FINEST = 1e-6  # of the solution that the others are compared with, by a method of order 8


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions:
    """The flags of this program."""

    workdir: str = option("", "a trained run to measure too; empty is none", "run")
    num_images: int = option(16, "images, solved as one batch", "run", least=1)
    seed: int = option(0, "first seed", "run", least=0, below=2**31)


class Problem(NamedTuple):
    """A flow to be solved.

    Attributes:
        name: what it is.
        score_fn: as for `sampling.ProbabilityFlow`.
        sigmas: float32 array [L].
        shape: of an image.
        jumps: whether the score jumps between levels.
        unit: what a difference of images is divided by.
    """

    name: str
    score_fn: object
    sigmas: object
    shape: tuple
    jumps: bool
    unit: float = 1.0


class Answer(NamedTuple):
    """What a solver returned: images [B, ...], evaluations an image, seconds."""

    images: object
    evaluations: float
    seconds: float


def mixture() -> Problem:
    """`two_modes`, the unit a mode's deviation."""
    from benchmarks import two_modes
    from ncsn_tf.schedule import geometric_sigmas

    sigmas = geometric_sigmas(*two_modes.SIGMAS).numpy()
    score_fn = two_modes.MixtureScore(two_modes.density())
    return Problem("mixture", score_fn, sigmas, (two_modes.SIZE,), False, two_modes.DEVIATION)


def trained(workdir: str | Path) -> Problem:
    """The network of a run."""
    from ncsn_tf.training.checkpoints import open_run
    from ncsn_tf.training.run_sampler import make_sigmas, score_jumps

    run = open_run(workdir)
    config = run.config
    name = f"{config.model}, {config.num_levels} levels, step {run.step}"
    sigmas = make_sigmas(config).numpy()
    return Problem(name, run.network, sigmas, config.image_shape, score_jumps(config))


class Solvers:
    """The solvers on one problem.

    Args:
        problem: `Problem`.
        seeds: int64 [B], of the starts.
    """

    def __init__(self, problem, seeds):
        import tensorflow as tf

        from ncsn_tf.sampling.chain import column
        from ncsn_tf.sampling.levels import at_level, at_sigma
        from ncsn_tf.sampling.probability_flow import ProbabilityFlow

        self.problem, self.seeds = problem, seeds
        flow = ProbabilityFlow(problem.sigmas)
        self.end = flow.end
        self.start = flow.start(seeds, problem.shape).y
        score_at = at_sigma(problem.score_fn, problem.sigmas)

        def flow_slope(moment, x, score):
            sigma = tf.fill(tf.shape(x)[:1], problem.sigmas[0] * tf.exp(-moment))
            return column(tf.square(sigma), x) * score(x, sigma)

        @tf.function(autograph=False)
        def slope(moment, x):
            return flow_slope(moment, x, score_at)

        @tf.function(autograph=False)
        def slope_of_level(moment, x, level):
            levels = tf.fill(tf.shape(x)[:1], level)
            return flow_slope(
                moment,
                x,
                lambda x, sigma: at_level(problem.score_fn, problem.sigmas, x, sigma, levels),
            )

        self.slope, self.slope_of_level = slope, slope_of_level

    def own(self, tolerance: float, jumps: bool) -> Answer:
        """`sampling.ProbabilityFlow`."""
        import tensorflow as tf

        from ncsn_tf.sampling.chain import Rows
        from ncsn_tf.sampling.probability_flow import ProbabilityFlow

        problem = self.problem
        chain = ProbabilityFlow(problem.sigmas, rtol=tolerance, atol=tolerance, jumps=jumps)
        rows = Rows.fill(self.seeds, 0.0, 1)

        @tf.function(autograph=False)
        def solve():
            state = chain.start(rows.seeds, problem.shape)
            return chain.advance(problem.score_fn, state, rows, 0, chain.SEGMENTS)

        state, seconds = _timed(solve)
        return Answer(state.y.numpy(), state.evaluations.numpy().mean(), seconds)

    def tensorflow_probability(self, tolerance: float) -> Answer:
        """`tfp.math.ode.DormandPrince`."""
        import tensorflow as tf
        import tensorflow_probability as tfp

        solver = tfp.math.ode.DormandPrince(rtol=tolerance, atol=tolerance)

        @tf.function(autograph=False)
        def solve():
            result = solver.solve(self.slope, 0.0, self.start, solution_times=[self.end])
            return result.states[-1], result.diagnostics.num_ode_fn_evaluations

        (images, count), seconds = _timed(solve)
        return Answer(images.numpy(), float(count), seconds)

    def scipy(self, tolerance: float) -> Answer:
        """`scipy.integrate.solve_ivp`, method RK45, as in the code of Song et al. 2021."""

        def solve():
            return self._solve_ivp(self.slope, 0.0, self.end, self.start.numpy(), "RK45", tolerance)

        (images, count), seconds = _timed(solve)
        return Answer(images, count, seconds)

    def exact(self):
        """By SciPy's DOP853, piece by piece where the score jumps."""
        import numpy as np
        import tensorflow as tf

        from ncsn_tf.sampling.levels import level_middles

        x, sigmas = self.start.numpy(), self.problem.sigmas
        if not self.problem.jumps:
            return self._solve_ivp(self.slope, 0.0, self.end, x, "DOP853", FINEST)[0]
        edges = [0.0, *np.log(sigmas[0] / level_middles(sigmas)), self.end]
        for number, (begin, end) in enumerate(itertools.pairwise(edges)):
            level = tf.constant(number)
            x, _ = self._solve_ivp(
                lambda moment, x, level=level: self.slope_of_level(moment, x, level),
                *(begin, end, x, "DOP853", FINEST),
            )
        return x

    def _solve_ivp(self, slope, begin, end, x, method, tolerance):
        """Images, evaluations."""
        import numpy as np
        import tensorflow as tf
        from scipy.integrate import solve_ivp

        shape = self.start.shape

        def flat_slope(moment, y):
            x = tf.constant(y.reshape(shape), tf.float32)
            return slope(tf.constant(moment, tf.float32), x).numpy().astype(np.float64).ravel()

        start = np.asarray(x, np.float64).ravel()
        result = solve_ivp(flat_slope, (begin, end), start, method, rtol=tolerance, atol=tolerance)
        return result.y[:, -1].reshape(shape), result.nfev


def table(problem: Problem, num_images: int, seed: int = 0) -> list[str]:
    """The solvers on a problem, from the starts of `num_images` seeds: lines of markdown."""
    import numpy as np
    import tensorflow as tf

    seeds = tf.range(num_images, dtype=tf.int64) + seed
    solvers = Solvers(problem, seeds)
    kinds = {"own": lambda tolerance: solvers.own(tolerance, problem.jumps)}
    if problem.jumps:
        kinds["own, jumps not named"] = lambda tolerance: solvers.own(tolerance, False)
    if importlib.util.find_spec("tensorflow_probability"):
        kinds["tensorflow-probability"] = solvers.tensorflow_probability
    kinds["scipy RK45"] = solvers.scipy
    exact = solvers.exact()
    lines = [
        "| flow | solver | tolerance | evaluations | error | seconds |",
        "|" + "---|" * 6,
    ]
    for tolerance in TOLERANCES:
        for name, solve in kinds.items():
            print(f"{problem.name} {name} {tolerance:g}", file=sys.stderr)
            answer = solve(tolerance)
            error = math.sqrt(np.mean((answer.images - exact) ** 2)) / problem.unit
            lines.append(
                f"| {problem.name} | {name} | {tolerance:g} | {answer.evaluations:.0f} | "
                f"{error:.1e} | {answer.seconds:.2f} |"
            )
    return lines


def _timed(solve):
    """The result of the second call, and its seconds: the first one compiles."""
    solve()
    begun = time.perf_counter()
    result = solve()
    return result, time.perf_counter() - begun


def main(argv: list[str]) -> None:
    program = ["python -m benchmarks.solvers", *argv[1:]]
    options = parse_options(program, BenchmarkOptions, SUMMARY)
    if importlib.util.find_spec("scipy") is None:
        raise UserError("this benchmark needs SciPy: pip install scipy")
    if importlib.util.find_spec("tensorflow_probability") is None:
        print(
            "tensorflow-probability is missing and left out: pip install tensorflow-probability "
            "tf-keras",
            file=sys.stderr,
        )
    from ncsn_tf.commands.start import start_tensorflow

    start_tensorflow()
    problems = [mixture()]
    if options.workdir:
        problems.append(trained(options.workdir))
    for problem in problems:
        print("\n".join([*table(problem, options.num_images, options.seed), ""]), flush=True)


if __name__ == "__main__":
    run_command(main)
