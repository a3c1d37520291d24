"""The likelihood and the loss of a run's network on images of its data set."""

import dataclasses
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ncsn_tf.backend.choices import LARGEST_EXACT
from ncsn_tf.backend.compat import raw_variables
from ncsn_tf.data.batches import Source
from ncsn_tf.errors import ConfigError
from ncsn_tf.evaluation.bits import measure_bits_per_dim
from ncsn_tf.evaluation.record import Record, sentence
from ncsn_tf.files import hold, user_path
from ncsn_tf.settings.checkpoint import NEWEST
from ncsn_tf.settings.config import Config
from ncsn_tf.training.averages import open_weights
from ncsn_tf.training.hooks import TestLoss
from ncsn_tf.training.run_data import run_source, with_places

FOLDER = "evaluation"


def evaluate_run(
    workdir: str | os.PathLike = "",
    *,
    bits_per_dim: bool = False,
    test_loss: bool = False,
    checkpoint: str | int = NEWEST,
    average: bool = True,
    ema: float | None = None,
    split: str = "test",
    num_images: int = 0,
    data_dir: str = "",
    cache_dir: str = "",
    batch_size: int = 64,
    divergence: str = "rademacher",
    num_probes: int = 1,
    num_dequantizations: int = 1,
    ode_tolerance: float = 1e-4,
    seed: int = 0,
    out: str | os.PathLike = "",
    place: str | os.PathLike | None = None,
    say: Callable[[str], object] = print,
) -> dict:
    """Measure a run's network, say it, and write the likelihoods.

    Args:
        workdir: the run's folder; empty is the newest in runs/.
        bits_per_dim: measure the likelihood.
        test_loss: measure the loss that the network was trained with.
        checkpoint: "newest", "best" or a step.
        average: take the averaged weights where the run has them.
        ema: the relative length of the average to take instead, see `averages.open_weights`.
        split: "test" or "train", of the run's data set.
        num_images: the first of a fixed shuffled order; 0 is all of them.
        data_dir: where the data are; empty is where the run has them from.
        cache_dir: where large data sets are kept decoded; empty is the run's.
        batch_size: images between two savings of likelihoods; changes no result.
        divergence, num_probes, num_dequantizations, ode_tolerance, seed: of the likelihood, see
            `measure_bits_per_dim`.
        out: the .json file of the likelihoods; empty is evaluation/bits_per_dim.json in `place`.
        place: a folder; None is the run's.
        say: called with each line of the answer.

    Returns:
        {"bits_per_dim": what the .json file holds, "test_loss": float}, of what was asked for.

    Raises:
        ConfigError: settings with which this run cannot be measured, or other ones than those of
            the file that would be continued.
        UserError: no run, no checkpoint, no data, a likelihood that is not finite, or a place that
            cannot be written.
    """
    run = open_weights(workdir, average, checkpoint, ema)
    network, config = run.network, run.config
    if bits_per_dim:
        _check_likelihood(config, divergence)
    say(f"Evaluating {run.run_dir}, {run.origin}")
    config = with_places(config, data_dir, cache_dir)
    source = run_source(config, split)
    num_images = min(num_images or source.num_examples, source.num_examples)
    results = {}
    if test_loss:
        loss, count = measure_test_loss(network, config, source, num_images=num_images)
        say(f"Loss {loss:.3f} over {count} {split} images{_of_labels(config, source)}")
        results["test_loss"] = loss
    if bits_per_dim:
        choices = {
            "seed": seed,
            "divergence": divergence,
            "num_probes": num_probes,
            "num_dequantizations": num_dequantizations,
            "ode_tolerance": ode_tolerance,
        }
        decisive = {
            "step": run.step,
            "weights": run.kind,
            "network": _fingerprint(network),
            "dataset": config.dataset,
            "num_examples": source.num_examples,
            "sampling_tile": config.sampling_tile,
            "split": split,
        }
        if config.num_classes:  # of others it would be a setting that no older record has
            decisive["labels"] = source.labels is not None
        target = user_path(out) if out else Path(place or run.run_dir, FOLDER, "bits_per_dim.json")
        lock = target.with_name(f"{target.name}.lock")
        with hold(lock, f"{target} is being written", "name another --out") as check:
            record = Record(target, decisive | choices, check)
            num_images = measure_bits_per_dim(
                *(network, config, source, record),
                num_images=num_images,
                batch_size=batch_size,
                **choices,
            )
        results["bits_per_dim"] = summary = record.summary(num_images)
        say(f"{sentence(summary)}{_of_labels(config, source)}")
        say(f"Wrote {record.target}")
    return results


def _of_labels(config, source):
    """What is said of the labels with which a class-conditional network was measured."""
    if not config.num_classes:
        return ""
    return ", with no label" if source.labels is None else ", with their labels"


def measure_test_loss(
    network: Callable, config: Config, source: Source, *, num_images: int
) -> tuple[float, int]:
    """The loss of training, on images with the same noise each time.

    Args:
        network: score network.
        config: the run's `Config`: objective, noise levels and batch size.
        source: of at least `num_images` images.
        num_images: the first of a fixed shuffled order, of which whole batches are taken. Only
            where they are fewer than a batch some are repeated, to fill it.

    Returns:
        (mean loss, how many images it is the mean of).
    """
    num_batches = max(1, num_images // config.batch_size)
    loss = TestLoss(network, source, dataclasses.replace(config, eval_batches=num_batches))
    return loss.compute(), len(loss.batches) * config.batch_size


def _fingerprint(network):
    """A number of a network's weights: a run that was trained anew has others at the same step."""
    number = 0
    for variable in raw_variables(network):
        number = zlib.crc32(np.ascontiguousarray(variable.numpy()).tobytes(), number)
    return number


def _check_likelihood(config, divergence):
    """Raise a ConfigError for a run whose likelihood cannot be had so."""
    if config.num_levels < 2:
        raise ConfigError("--bits_per_dim needs a run with at least two noise levels")
    size = math.prod(config.image_shape)
    if divergence == "exact" and size > LARGEST_EXACT:
        raise ConfigError(
            f"--divergence=exact must be rademacher or gaussian for images of {size} numbers: it "
            f"takes as many backward passes at each evaluation, and is for {LARGEST_EXACT} at most"
        )
