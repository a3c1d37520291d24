"""The work of `ncsn evaluate --metrics`: samples are drawn or read, measured, and recorded."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ncsn_tf.errors import warn
from ncsn_tf.evaluation.features import open_features
from ncsn_tf.evaluation.quality import copies as of_copies
from ncsn_tf.evaluation.quality.figure import Figure
from ncsn_tf.evaluation.quality.figures import figures_of, remarks
from ncsn_tf.evaluation.quality.history import NAME, publish
from ncsn_tf.evaluation.quality.image_sets import Images
from ncsn_tf.evaluation.quality.images import open_images
from ncsn_tf.evaluation.quality.names import OF_PROBABILITIES
from ncsn_tf.evaluation.quality.online import as_figures
from ncsn_tf.evaluation.quality.possible import asked_of, possible
from ncsn_tf.evaluation.quality.sets import PAIRS, feature_set
from ncsn_tf.evaluation.quality.sides import Drawing, Drawn, Given, Real
from ncsn_tf.settings.config import Config
from ncsn_tf.training.checkpoint_choice import find_run
from ncsn_tf.training.checkpoints import open_config
from ncsn_tf.training.run_data import run_source


def evaluate_quality(
    metrics: Sequence[str] | None = None,
    *,
    run_dir: Path | None,
    config: Config | None,
    drawing: Drawing | None = None,
    samples: str = "",
    features: str = "inception",
    inception: str = "",
    num_samples: int = 0,
    seed: int = 0,
    num_seed_ranges: int = 1,
    split: str = "train",
    num_images: int = 0,
    classes: Sequence[int] = (),
    reference: str = "",
    pairs: int = PAIRS,
    copies: str = "auto",
    cache_dir: str = "",
    say: Callable[[str], object] = print,
) -> list[Figure]:
    """Measure samples with a feature network, say the figures, and record them.

    Args:
        metrics: of `QUALITY_METRICS`; None is all that can be had.
        run_dir: where drawn samples are kept, in evaluation/samples-KEY, and figures recorded, in
            metrics.jsonl; None records nothing.
        config: of the run whose images are compared with; None needs `reference`.
        drawing: what draws the samples; None reads them from `samples`.
        samples: a folder or file of images, see `open_images`.
        features, inception: see `open_features`.
        num_samples: of each seed range; of `samples` the first ones, 0 is all.
        seed: of the first sample; range r begins with seed + r * num_samples.
        num_seed_ranges: how often so many samples are drawn.
        split: "train" or "test": what is compared with.
        num_images: the first ones of the split; 0 is all.
        classes: compares with the images of these classes alone; () is all.
        reference: a file or folder to compare with instead: an .npz with `mu` and `sigma`, or
            images.
        pairs: samples, and images to compare with, of which all pairs are compared, at most.
        copies: "auto" looks for copies unless that takes very long, "always", "never".
        cache_dir: where features of data sets are kept; empty is the run's.
        say: called with each line.

    Returns:
        the figures, that of copies among them.

    Raises:
        ConfigError: a metric for which something is missing.
        UserError: images, a network or a reference that cannot be had, or a place that cannot be
            written.
    """
    real = Real(config, reference, split, num_images, classes)
    if drawing is None:
        ranges = [Given(open_images(samples, real.channels), num_samples, real.class_names)]
    else:
        ranges = [
            Drawn(drawing, run_dir, seed + number * num_samples, num_samples)
            for number in range(num_seed_ranges)
        ]
    asked = asked_of(metrics, ranges[0])  # before a feature network is trained
    network = open_features(features, inception=inception, config=config, cache_dir=cache_dir)
    say(f"Features: {network.name} ({network.checksum}), images resized: {network.resize}")
    metrics = possible(metrics, network, ranges[0].count, real, asked)
    found, said, pixels, compared = [], [], None, None
    for part in ranges:
        with part.open() as images:
            real.check(images)
            if compared is None:
                compared = real.features(network, pairs, cache_dir)
                say(f"Compared with {real.words(compared)}")
            generated = feature_set(
                images,
                network,
                keep=pairs,
                with_probabilities=any(name in OF_PROBABILITIES for name in metrics),
                cache=part.cache(),
            )
            if "accuracy" in metrics:
                generated.asked = part.asked()
            if pixels is None:
                pixels = _first(images, of_copies.MOST)
        results = figures_of(compared, generated, metrics)
        for line in remarks(compared, generated, metrics):
            if line not in said:
                warn(line)
                said.append(line)
        known = {**part.known, "time": _now()}
        figures = as_figures(results, network, compared, known, generated.asked)
        found.append(figures)
        for figure in figures.values():
            say(f"{figure}{_numbers(figure)}")
    done = _over_ranges(found) if len(found) > 1 else [*found[0].values()]
    if len(found) > 1:
        for figure in done:
            say(str(figure))
    if copies != "never":
        done += _copies(config, pixels, copies == "always", ranges[0].known, say)
    if run_dir is not None:
        publish(run_dir, done)
        say(f"Wrote {run_dir / NAME}")
    return done


def run_of_samples(
    workdir: str = "", has_reference: bool = False
) -> tuple[Path | None, Config | None]:
    """(the run's folder, its `Config`) with whose images samples from elsewhere are compared.

    Args:
        workdir: the run; empty is the newest in runs/, or none where there is a reference.
        has_reference: whether there is something else to compare with.

    Returns:
        the folder, None where figures are recorded nowhere; and the settings, None for a folder
        that is no run's, which needs a reference.

    Raises:
        UserError: no run.
    """
    if has_reference and not workdir:
        return None, None
    run_dir = find_run(workdir)
    settings = run_dir / "config.json"
    if settings.is_file():
        return run_dir, Config.load(settings)
    if has_reference:
        return run_dir, None
    return run_dir, open_config(workdir)


def _numbers(figure):
    """How many of each, where the name does not tell."""
    if figure.num_reference is None:
        return f"  ({figure.num_samples} samples)"
    return f"  ({figure.num_samples} samples, {figure.num_reference} compared with)"


def _over_ranges(found):
    """A figure for each metric: mean, deviation and all values of several seed ranges."""
    summed = []
    for metric, first in found[0].items():
        values = tuple(figures[metric].value for figures in found)
        summed.append(
            dataclasses.replace(
                first,
                value=float(np.mean(values)),
                spread=float(np.std(values, ddof=1)),
                ranges=values,
                seeds=(first.seeds[0], first.seeds[1] * len(values)),
            )
        )
    return summed


def _first(images: Images, count: int) -> np.ndarray:
    """The first images, uint8 [n, H, W, C]."""
    parts, there = [], 0
    for block in images.blocks(0):
        parts.append(block[: count - there])
        there += len(parts[-1])
        if there >= count:
            break
    return np.concatenate(parts)


def _copies(config, pixels, is_forced, known, say):
    """[the figure of copies], said; [] where they are not looked for, which is said too."""
    if config is None or pixels.shape[1:] != config.image_shape:
        say("Copies: not looked for, there are no training images of this size")
        return []
    train, test = run_source(config, "train"), run_source(config, "test")
    cost = of_copies.work(config, train, len(pixels), test.num_examples)
    if cost > of_copies.LARGEST_WORK and not is_forced:
        say(
            f"Copies: not looked for among {train.num_examples} training images, which takes "
            "long; --copies=always does it"
        )
        return []
    copies = of_copies.find_copies(config, train, test, pixels)
    say(of_copies.sentence(copies))
    return [of_copies.as_figure(copies, **known, time=_now())]


def _now():
    return time.strftime("%Y-%m-%d %H:%M:%S")
