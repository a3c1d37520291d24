"""Quality of each sampler against network evaluations: `python -m benchmarks.samplers`.

On a mixture of two normal densities whose score is known, so that all error is the sampler's; and,
with --workdir, on a trained network, whose samples are compared with its test images.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks import two_modes
from ncsn_tf.commands.console import run_command
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.options import option

SUMMARY = "Measure the samplers on a known density and, with --workdir, on a trained network."
MIXTURE_EVALUATIONS = (20, 100, 1000)
NETWORK_EVALUATIONS = (20, 100, 300)
TOLERANCES = (1e-1, 1e-2, 1e-4)
# Step sizes that are tried, at the last level and in units of sigma_L^2 (ald) or of the smallest
# that the sampler can take (cas).
ALD_STEPS = (0.05, 0.2, 0.8)
CAS_STEPS = (1.1, 2.0, 4.0)


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions:
    """The flags of this program."""

    workdir: str = option("", "a trained run to measure too; empty is none", "network")
    num_samples: int = option(256, "samples of the network, for each row", "network", least=2)
    num_draws: int = option(5000, "samples of the mixture, for each row", "mixture", least=100)
    seed: int = option(0, "first seed", "run", least=0, below=2**31)
    out: str = option("", "also write the tables to this file", "output")


class Result(NamedTuple):
    """What a sampler made: samples [N, ...], evaluations an image, the setting that was chosen."""

    name: str
    samples: object
    evaluations: float
    setting: str


class Bench:
    """Draws with every sampler at several numbers of evaluations.

    Args:
        score_fn: (x, levels) -> score.
        sigmas: [L].
        shape: of a sample.
        targets: draws of the target, [M, ...], by whose energy distance step sizes are chosen,
            with as many samples of other seeds than those that are returned.
        count, seed: samples for each row, the first one's seed.
        clip: whether samples are clipped to [0, 1].
        jumps: whether the score jumps between levels, see `sampling.ProbabilityFlow`.
    """

    def __init__(self, score_fn, sigmas, shape, targets, count, seed, clip, jumps=False):
        self.score_fn, self.sigmas, self.shape, self.jumps = score_fn, sigmas, shape, jumps
        self.targets, self.count, self.seed, self.clip = targets, count, seed, clip

    def results(self, evaluations: Sequence[int]) -> Iterator[Result]:
        """A `Result` for each sampler and number of evaluations."""
        from ncsn_tf.sampling import (
            AnnealedLangevin,
            ConsistentAnnealing,
            PredictorCorrector,
            ProbabilityFlow,
            consistent_step_range,
        )

        last = float(self.sigmas[-1]) ** 2
        chains = [
            kind(self.sigmas)
            for kind in (AnnealedLangevin, ConsistentAnnealing, PredictorCorrector)
        ]
        ald, cas, pc = (self._compiled(chain) for chain in chains)
        ald_steps, cas_steps, pc_steps = (self._steps_each(evaluations, chain) for chain in chains)
        for steps in ald_steps:
            yield self._best("ald", ald, steps, [last * size for size in ALD_STEPS])
        for steps in cas_steps:
            lowest, highest = consistent_step_range(self.sigmas, steps)
            sizes = [lowest * size for size in CAS_STEPS if lowest * size < highest]
            yield self._best("cas", cas, steps, sizes)
        for steps in pc_steps:
            samples, count = pc(self._seeds(0), 0.0, steps)
            yield Result("pc", samples, count, "snr 0.16")
        for tolerance in TOLERANCES:
            flow = ProbabilityFlow(self.sigmas, rtol=tolerance, atol=tolerance, jumps=self.jumps)
            ode = self._compiled(flow)
            samples, count = ode(self._seeds(0), 0.0, 1)
            yield Result("ode", samples, count, f"tolerance {tolerance:g}")

    def _steps_each(self, evaluations, chain):
        """Steps a level with which a chain is nearest to each number of evaluations."""
        first, second = (chain.num_evaluations(steps) for steps in (1, 2))
        steps = (1 + round((number - first) / (second - first)) for number in evaluations)
        return sorted({max(1, count) for count in steps})

    def _seeds(self, part):
        import numpy as np

        return self.seed + part * self.count + np.arange(self.count)

    def _best(self, name, run, steps, sizes):
        """The result with the step size whose samples of other seeds are nearest to the target."""
        from benchmarks.energy import energy_distance

        distances = [
            energy_distance(run(self._seeds(1), size, steps)[0], self.targets)[0] for size in sizes
        ]
        # What overflowed is NaN, and no candidate.
        distance, size = min(
            (pair for pair in zip(distances, sizes, strict=True) if pair[0] == pair[0]),
            default=(0.0, sizes[0]),
        )
        samples, count = run(self._seeds(0), size, steps)
        return Result(name, samples, count, f"step_lr {size:.2g}")

    def _compiled(self, chain):
        """(seeds, step_lr, num_steps_each) -> samples [N, ...], evaluations an image."""
        import tensorflow as tf

        from ncsn_tf.sampling.chain import Rows

        @tf.function(autograph=False)
        def draw(rows):
            state = chain.start(rows.seeds, self.shape)
            stop = chain.num_steps(tf.reduce_max(rows.num_steps_each))
            state = chain.advance(self.score_fn, state, rows, 0, stop)
            x = chain.finish(self.score_fn, state, rows)
            counted = chain.evaluations(state)
            return tf.clip_by_value(x, 0.0, 1.0) if self.clip else x, counted

        def run(seeds, step_lr, num_steps_each):
            x, counted = draw(Rows.fill(seeds, step_lr, num_steps_each))
            known = chain.num_evaluations(num_steps_each)
            return x.numpy(), counted.numpy().mean() if known is None else known

        return run


def mixture_table(num_draws: int, seed: int) -> list[str]:
    """The samplers on the mixture of `two_modes`, `num_draws` samples a row: lines of markdown."""
    import tensorflow as tf

    from ncsn_tf.schedule import geometric_sigmas

    density = two_modes.density()
    sigmas = geometric_sigmas(*two_modes.SIGMAS).numpy()
    seeds = tf.range(num_draws, dtype=tf.int64) + (seed + 2**40)
    exact = density.perturbed(two_modes.SIGMAS[1]).sample(seeds).numpy()
    score_fn = two_modes.MixtureScore(density).levels(sigmas)
    bench = Bench(
        score_fn,
        sigmas,
        (two_modes.SIZE,),
        exact[:2000],
        num_draws,
        seed,
        clip=False,
    )
    exact_row = Result("exact draws", exact, 0, "")
    return _table(
        ("sampler", "evaluations", "setting", "weight (0.8)", "mean error", "deviation (1)"),
        [exact_row, *_shown(bench.results(MIXTURE_EVALUATIONS))],
        lambda samples: "{:.3f} | {:.3f} | {:.3f}".format(*two_modes.mode_errors(samples)),
    )


def network_table(workdir: str, num_samples: int, seed: int) -> list[str]:
    """The samplers with a run's network, `num_samples` a row: lines of markdown."""
    import numpy as np

    from benchmarks.energy import energy_distance
    from ncsn_tf.data.batches import load_pixels
    from ncsn_tf.training.checkpoints import open_run
    from ncsn_tf.training.run_data import run_source
    from ncsn_tf.training.run_sampler import make_sigmas, score_jumps

    run = open_run(workdir)
    config = run.config

    def images(split, most):
        source = run_source(config, split)
        return load_pixels(source, min(most, source.num_examples)) / np.float32(255.0)

    test, train = images("test", 2000), images("train", 10 * num_samples)
    sigmas = make_sigmas(config).numpy()
    bench = Bench(
        run.network,
        sigmas,
        config.image_shape,
        train[:2000],
        num_samples,
        seed,
        clip=True,
        jumps=score_jumps(config),
    )
    # Other training images than those that chose the step sizes do not exist in a small data set.
    starts = range(0, len(train) - num_samples + 1, num_samples)
    parts = [train[start : start + num_samples] for start in starts]
    lines = [f"{config.dataset}, {config.model}, {config.features} features, step {run.step}", ""]
    if len(parts) > 1:
        values = [energy_distance(part, test)[0] for part in parts]
        lines += [
            f"Real against real, {num_samples} training images and the {len(test)} test images: "
            f"{np.mean(values):.4f}, with a deviation of {np.std(values, ddof=1):.4f} from part "
            "to part.",
            "",
        ]
    return lines + _table(
        ("sampler", "evaluations", "setting", "energy distance", "standard error"),
        _shown(bench.results(NETWORK_EVALUATIONS)),
        lambda samples: "{:.4f} | {:.4f}".format(*energy_distance(samples, test)),
    )


def _shown(results):
    """The results, each named on stderr when it is there."""
    for result in results:
        print(f"{result.name} {result.evaluations:.0f} {result.setting}", file=sys.stderr)
        yield result


def _table(head, results, measures):
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, samples, evaluations, setting in results:
        lines.append(f"| {name} | {evaluations:.0f} | {setting} | {measures(samples)} |")
    return lines


def main(argv: list[str]) -> None:
    program = ["python -m benchmarks.samplers", *argv[1:]]
    options = parse_options(program, BenchmarkOptions, SUMMARY)
    from ncsn_tf.commands.start import start_tensorflow

    start_tensorflow()
    lines = [*mixture_table(options.num_draws, options.seed), ""]
    print("\n".join(lines), flush=True)
    if options.workdir:
        table = network_table(options.workdir, options.num_samples, options.seed) + [""]
        print("\n".join(table))
        lines += table
    if options.out:
        from ncsn_tf.files import write_atomically

        text = "\n".join(lines)
        write_atomically(options.out, lambda path: path.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    run_command(main)
