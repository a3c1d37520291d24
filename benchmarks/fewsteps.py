"""Distance to the data against evaluations: `python -m benchmarks.fewsteps --workdir=RUN`.

Every sampler draws from one run's network at several numbers of evaluations. Shown are the energy
distance in pixels to the test images and, with --features, the Frechet distance of features to the
training images, as `ncsn evaluate` computes it. With --grid, a picture has a line of images of each
row. All rows have the same seeds. Every row's chain is
compiled anew, which takes longer than a short chain itself.
"""

import dataclasses
import sys

from ncsn_tf.commands.console import run_command
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.options import option

SUMMARY = "Measure a trained network's samples against the evaluations that they take."
SOLVERS = ("euler", "ancestral", "heun", "dpm", "dpm_sde")
BATCH = 64
COLUMNS = 16  # of the picture
STEPPED = ("ald", "cas", "pc")


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions:
    """The flags of this program."""

    workdir: str = option("", "the trained run; empty is the newest in runs/", "run", path=True)
    samplers: str = option(
        ",".join(("ald", "pc", *SOLVERS)), "which samplers, with commas between", "rows"
    )
    evaluations: str = option("10,20,50", "how many, of the solvers of few steps", "rows")
    long: str = option("100,1000", "how many, of ald, cas and pc", "rows")
    schedules: str = option("karras,geometric", "of the solvers of few steps", "rows")
    churn: float = option(0.0, "of euler and heun; 0 is none", "rows", least=0)
    denoise: bool = option(True, "end with a denoising step", "rows")
    num_samples: int = option(512, "samples a row", "rows", least=2)
    seed: int = option(0, "first seed", "rows", least=0, below=2**31)
    features: str = option("", "feature network of the Frechet distance; empty is none", "figures")
    inception: str = option("", "file of the Inception graph of 2015", "figures", path=True)
    out: str = option("", "also write the table to this file", "output", path=True)
    grid: str = option("", "also write a picture of each row's first images", "output", path=True)


def numbers(name: str, text: str) -> list[int]:
    """The whole numbers of a flag.

    Example:
        >>> numbers("evaluations", "10,20")
        [10, 20]
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise ConfigError(f"--{name}={text} must be whole numbers above 0, such as 10,20,50")
    return found


def names(name: str, text: str, known: tuple[str, ...]) -> list[str]:
    """The names of a flag, all of them known."""
    found = text.split(",")
    if set(found) - set(known):
        raise ConfigError(f"--{name}={text} must be of {', '.join(known)}")
    return found


def rows_of(config: object, options: BenchmarkOptions) -> list[tuple[str, object]]:
    """(setting in words, `Config`) of each row.

    Chains of steps at each level have the number of them that comes nearest to what is asked for.
    """
    from ncsn_tf.backend.choices import SCHEDULES
    from ncsn_tf.training.run_sampler import chain_of

    evaluations = numbers("evaluations", options.evaluations)
    long = numbers("long", options.long)
    schedules = names("schedules", options.schedules, SCHEDULES)
    config = dataclasses.replace(config, denoise=options.denoise)
    rows = []
    for sampler in names("samplers", options.samplers, (*STEPPED, *SOLVERS)):
        own = dataclasses.replace(config, sampler=sampler)
        if sampler in STEPPED:
            # A step size that was chosen for another number of steps is none of this chain's.
            own = dataclasses.replace(own, cas_step_lr=0.0)
            first, second = (chain_of(own).num_evaluations(steps) for steps in (1, 2))
            steps = [1 + round((count - first) / (second - first)) for count in long]
            for count in sorted({max(1, count) for count in steps}):
                rows.append((f"{count} a level", dataclasses.replace(own, num_steps_each=count)))
            continue
        for schedule in schedules:
            about = schedule
            if sampler in ("euler", "heun") and options.churn:
                about += f", churn {options.churn:g}"
                own = dataclasses.replace(own, churn=options.churn)
            for count in evaluations:
                settings = {"schedule": schedule, "num_evaluations": count}
                rows.append((about, dataclasses.replace(own, **settings)))
    return rows


def drawn(network: object, config: object, seeds: object) -> tuple[object, int]:
    """(uint8 [N, H, W, C] or None where chains diverged, network evaluations an image)."""
    import numpy as np

    from ncsn_tf.data.images import to_uint8
    from ncsn_tf.training.run_sampler import sampler_of

    sampler = sampler_of(network, config)
    starts = range(0, len(seeds), BATCH)
    samples = np.concatenate([sampler.draw(seeds[start : start + BATCH]) for start in starts])
    is_right = np.isfinite(samples).all()
    return to_uint8(samples) if is_right else None, sampler.num_evaluations


def table(options: BenchmarkOptions) -> tuple[list[str], list[object]]:
    """The figures of a run: lines of markdown, and the images of each row that did not diverge.

    Raises:
        ConfigError: settings that cannot be.
        UserError: no run, no data or no feature network.
    """
    import numpy as np

    from benchmarks.energy import energy_distance
    from ncsn_tf.data.batches import load_pixels
    from ncsn_tf.evaluation.features import open_features
    from ncsn_tf.evaluation.quality.figures import figures_of
    from ncsn_tf.evaluation.quality.reference import reference_of
    from ncsn_tf.evaluation.quality.sets import feature_set
    from ncsn_tf.training.checkpoints import open_run
    from ncsn_tf.training.run_data import run_source

    run = open_run(options.workdir)
    config, rows = run.config, rows_of(run.config, options)

    def images(split, most):
        source = run_source(config, split)
        return load_pixels(source, min(most, source.num_examples))

    test, train = images("test", 2000), images("train", options.num_samples)
    features = reference = None
    if options.features:
        features = open_features(options.features, inception=options.inception, config=config)
        reference = reference_of(config, features)

    def figures(pixels):
        value, error = energy_distance(pixels / 255.0, test / 255.0)
        cells = [f"{value:.4f}", f"{error:.4f}"]
        if features is not None:
            drawn = feature_set(pixels, features, with_probabilities=False)
            cells.append(f"{figures_of(reference, drawn, ['fid'])['fid'].value:.3f}")
        return cells

    head = ["sampler", "schedule or steps", "evaluations", "energy distance", "standard error"]
    head += [] if features is None else ["Frechet distance"]
    lines = [
        f"{config.dataset}, {config.model}, {config.features} features, {config.num_levels} levels "
        f"from {config.sigma_begin:g} to {config.sigma_end:g}, {run.origin}; "
        f"{options.num_samples} samples",
        "",
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
        f"| {len(train)} training images | | | {' | '.join(figures(train))} |",
    ]
    print(lines[-1], file=sys.stderr)
    pictures = []
    for about, chain in rows:
        seeds = options.seed + np.arange(options.num_samples, dtype=np.int64)
        pixels, count = drawn(run.network, chain, seeds)
        if pixels is not None:
            pictures.append(pixels)
        measured = ["diverged"] + [""] * (len(head) - 4) if pixels is None else figures(pixels)
        cells = [chain.sampler, about, str(count), *measured]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], file=sys.stderr)
    return lines, pictures


def main(argv: list[str]) -> None:
    program = ["python -m benchmarks.fewsteps", *argv[1:]]
    options = parse_options(program, BenchmarkOptions, SUMMARY)
    from ncsn_tf.commands.start import start_tensorflow

    start_tensorflow()
    lines, pictures = table(options)
    print("\n".join(lines))
    if options.grid and pictures:
        import numpy as np

        from ncsn_tf.data.images import grid, save_picture

        columns = min(COLUMNS, options.num_samples)
        shown = np.concatenate([pixels[:columns] for pixels in pictures])
        save_picture(options.grid, grid(shown, columns))
    if options.out:
        from ncsn_tf.files import write_atomically

        text = "\n".join(lines) + "\n"
        write_atomically(options.out, lambda path: path.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    run_command(main)
