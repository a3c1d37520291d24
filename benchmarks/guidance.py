"""What guidance does to samples of a class: `python -m benchmarks.guidance --workdir=RUN`.

A class-conditional run draws images of all its classes in turn at each guidance. Shown is how many
of them a classifier takes for the class that was asked for, beside the same of the data's test
images. The classifier is a feature network that was trained on the run's labelled images and has
nothing to do with the run's network: `--features=train` trains one, and keeps it. All rows have the
same seeds.
"""

import dataclasses
import math
import sys

from ncsn_tf.commands.console import run_command
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.options import option, show

SUMMARY = "Measure how often a classifier finds the class that a network was asked to draw."
BATCH = 64
MOST_TEST_IMAGES = 2000


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions:
    """The flags of this program."""

    workdir: str = option("", "the trained run; empty is the newest in runs/", "run", path=True)
    guidance: str = option("0,1,1.5,2,4", "which weights, with commas between", "rows")
    num_samples: int = option(500, "samples a row", "rows", least=2)
    seed: int = option(0, "first seed", "rows", least=0, below=2**31)
    features: str = option("train", "feature network with a probability for each class", "figures")
    grid: str = option("", "also write a grid, a row a class, at each guidance here", "output")
    out: str = option("", "also write the table to this file", "output")


def weights(text: str) -> list[float]:
    """The numbers of --guidance.

    Example:
        >>> weights("0,1.5")
        [0.0, 1.5]
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 <= weight < math.inf for weight in found):
        raise ConfigError(f"--guidance={text} must be numbers from 0 up, such as 0,1,1.5")
    return found


def drawn(network: object, config: object, labels: object, seeds: object) -> object:
    """uint8 [N, H, W, C], the images of seeds; None where chains diverged."""
    import numpy as np

    from ncsn_tf.data.images import to_uint8
    from ncsn_tf.training.run_sampler import sampler_of

    sampler = sampler_of(network, config)
    parts = [seeds[start : start + BATCH] for start in range(0, len(seeds), BATCH)]
    samples = np.concatenate([sampler.draw(part, **labels.rows(part)) for part in parts])
    return to_uint8(samples) if np.isfinite(samples).all() else None


def table(options: BenchmarkOptions) -> list[str]:
    """The figures of a run: lines of markdown.

    Raises:
        ConfigError: settings that cannot be, or a run that knows no classes.
        UserError: no run, no data or no feature network.
    """
    import numpy as np

    from ncsn_tf.data.batches import images_at, readable_places
    from ncsn_tf.data.images import save_rows
    from ncsn_tf.evaluation.features import open_features
    from ncsn_tf.evaluation.metrics import classification_accuracy
    from ncsn_tf.evaluation.quality.asked import of_seeds, unclassifiable
    from ncsn_tf.settings.labels import EACH, choose_labels
    from ncsn_tf.training.checkpoints import open_run
    from ncsn_tf.training.run_data import run_source
    from ncsn_tf.training.run_sampler import chain_of

    asked = weights(options.guidance)
    run = open_run(options.workdir)
    config = run.config
    chosen = [choose_labels(EACH, weight, config.class_names, "this run") for weight in asked]
    features = open_features(options.features, config=config)
    every = of_seeds(chosen[0], range(config.num_classes))
    why = unclassifiable(every, features.name, features.num_classes)
    if why:
        raise ConfigError(f"{show('features', options.features)} {why}")

    def share_of(pixels, labels):
        parts = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
        found = np.concatenate([features(part).probabilities for part in parts])
        share, error = classification_accuracy(found, labels)
        return f"{100 * share:.1f} % | {100 * error:.1f}"

    test = run_source(config, "test")
    places = readable_places(test, min(test.num_examples, MOST_TEST_IMAGES))
    places = places[test.labels[places] >= 0]
    of_test = share_of(images_at(test, places), test.labels[places])
    evaluations = chain_of(config).num_evaluations(config.num_steps_each)
    lines = [
        f"{config.dataset}, {config.model}, {config.features} features, sampler {config.sampler}, "
        f"{run.origin}; {options.num_samples} samples",
        "",
        "| guidance | evaluations | taken for their class | standard error |",
        "|---|---|---|---|",
        f"| {len(places)} test images | | {of_test} |",
    ]
    print(lines[-1], file=sys.stderr)
    seeds = options.seed + np.arange(options.num_samples, dtype=np.int64)
    for labels in chosen:
        pixels = drawn(run.network, config, labels, seeds)
        needed = "" if evaluations is None else labels.evaluations * evaluations
        found = "diverged | " if pixels is None else share_of(pixels, labels.of(seeds))
        lines.append(f"| {labels.guidance:g} | {needed} | {found} |")
        print(lines[-1], file=sys.stderr)
        if options.grid and pixels is not None:
            rows = [pixels[places[:10]] for places in labels.groups(seeds)]
            save_rows(f"{options.grid.removesuffix('.png')}-{labels.guidance:g}.png", rows)
    return lines


def main(argv: list[str]) -> None:
    program = ["python -m benchmarks.guidance", *argv[1:]]
    options = parse_options(program, BenchmarkOptions, SUMMARY)
    from ncsn_tf.commands.start import start_tensorflow

    start_tensorflow()
    lines = table(options)
    print("\n".join(lines))
    if options.out:
        from ncsn_tf.files import write_atomically

        text = "\n".join(lines) + "\n"
        write_atomically(options.out, lambda path: path.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    run_command(main)
