"""The work of evaluate.py: a run's likelihood and loss on its data."""

import dataclasses
import math
from pathlib import Path

from ncsn_tf.config import LARGEST_EXACT
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.options import option, show

FOLDER = "evaluation"
# What decides an image's likelihood, beside the checkpoint.
_DECISIVE = (
    "split",
    "seed",
    "divergence",
    "num_probes",
    "num_dequantizations",
    "ode_tolerance",
)


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """The flags of evaluate.py."""

    bits_per_dim: bool = option(False, "likelihood, an upper bound on bits/dim", "what")
    test_loss: bool = option(False, "mean loss, as training reports it", "what")
    workdir: str = option("", "the run; empty is the newest in runs/", "source")
    average: bool = option(True, "the averaged weights, where the run has them", "source")
    split: str = option("test", "of the run's data set", "data", choices=("test", "train"))
    num_images: int = option(
        0, "the first of a fixed shuffled order; 0 is all of them", "data", least=0
    )
    data_dir: str = option("", "where the data are; empty is the run's", "data")
    batch_size: int = option(
        64, "images between two savings; changes no result", "likelihood", least=1
    )
    divergence: str = option(
        "rademacher",
        "probes of Hutchinson's estimator, or exact: tiny images",
        "likelihood",
        choices=("rademacher", "gaussian", "exact"),
    )
    num_probes: int = option(1, "probes an image", "likelihood", least=1)
    num_dequantizations: int = option(
        1, "times each image is dequantised and measured", "likelihood", least=1
    )
    ode_tolerance: float = option(
        1e-4, "relative and absolute tolerance of the ODE", "likelihood", above=0
    )
    seed: int = option(0, "image i has seed + i: probes, dequantisation", "likelihood", least=0)
    out: str = option(
        "", "file; empty is <workdir>/evaluation/bits_per_dim.json, beside it .npz", "likelihood"
    )

    def validate(self):
        """Raise a ConfigError for flags that contradict each other."""
        if not (self.bits_per_dim or self.test_loss):
            raise ConfigError("say what to measure: --bits_per_dim, --test_loss or both")
        if self.divergence == "exact" and self.num_probes > 1:
            raise ConfigError(
                f"{show('num_probes', self.num_probes)} must be 1: --divergence=exact has no probes"
            )
        if self.seed >= 2**62:
            raise ConfigError(f"{show('seed', self.seed)} must be below 2**62")
        if self.out and not self.out.endswith(".json"):
            raise ConfigError(f"{show('out', self.out)} must end in .json")


def evaluate(options, say=print):
    """Measure what the options ask for, say it, and write the likelihoods.

    Args:
        options: `EvaluateOptions`, validated.
        say: takes each line of the answer.

    Returns:
        {"bits_per_dim": what the .json file holds, "test_loss": float}, of what was asked for.

    Raises:
        ConfigError: settings with which this run cannot be measured, or other ones than those of
            the file that would be continued.
        UserError: no run, no checkpoint, no data, a likelihood that is not finite, or a place that
            cannot be written.
    """
    from ncsn_tf import checkpoints
    from ncsn_tf.sources import load_source

    run_dir = Path(options.workdir).expanduser() if options.workdir else checkpoints.newest_run()
    path = checkpoints.latest(run_dir)
    config = checkpoints.saved_config(path)
    if options.bits_per_dim:
        _check_likelihood(options, config)
    network, config, step, is_average = checkpoints.load_network(path, options.average)
    say(f"Evaluating {run_dir}, {'averaged weights' if is_average else 'weights'} of step {step}")
    source = load_source(
        config.dataset,
        options.split,
        data_dir=options.data_dir or config.data_dir,
        image_size=config.image_size,
        channels=config.channels,
        crop_size=config.crop_size,
    )
    num_images = min(options.num_images or source.num_examples, source.num_examples)
    results = {}
    if options.test_loss:
        results["test_loss"] = _test_loss(network, config, source, num_images, options, say)
    if options.bits_per_dim:
        about = {"step": step, "weights": "average" if is_average else "raw"}
        about |= {"dataset": config.dataset, "num_examples": source.num_examples}
        about |= {"sampling_tile": config.sampling_tile}
        about |= {name: getattr(options, name) for name in _DECISIVE}
        target = Path(options.out).expanduser() if options.out else None
        from ncsn_tf.likelihood_record import Record, sentence

        record = Record(target or run_dir / FOLDER / "bits_per_dim.json", about)
        measure(network, config, source, num_images, options, record)
        results["bits_per_dim"] = summary = record.summary(num_images)
        say(sentence(summary))
        say(f"Wrote {record.target}")
    return results


def measure(network, config, source, num_images, options, record):
    """Add to the record what it lacks of the first images' likelihoods.

    Args:
        network: score network.
        config: the run's `Config`: noise levels and tile.
        source: `data.Source` of at least `num_images` images.
        options: `EvaluateOptions`.
        record: `Record`.

    Raises:
        UserError: a likelihood is not finite.
    """
    import numpy as np
    import tensorflow as tf
    from tqdm import tqdm

    from ncsn_tf import likelihood
    from ncsn_tf.compat import read_weights
    from ncsn_tf.data import load_pixels
    from ncsn_tf.samplers import make_sigmas, score_jumps

    sigmas = make_sigmas(config)
    size = math.prod(config.image_shape)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *config.image_shape], tf.uint8),
            tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([], tf.int32),
        ],
        autograph=False,
    )
    def compute(pixels, seeds, repeat):
        counters = (repeat, 0)
        log_probs, evaluations = likelihood.log_likelihood(
            read_weights(network),
            likelihood.dequantize(pixels, seeds, counters),
            seeds,
            sigmas,
            options.divergence,
            options.num_probes,
            options.ode_tolerance,
            counters,
            tile=config.sampling_tile,
            jumps=score_jumps(config),
        )
        return likelihood.bits_per_dim(log_probs, size), evaluations

    first = min(len(record.bits), num_images)
    with tqdm(total=num_images, initial=first, disable=None, unit="image") as bar:
        pixels = load_pixels(source, num_images) if first < num_images else None
        for start in range(first, num_images, options.batch_size):
            stop = min(start + options.batch_size, num_images)
            seeds = tf.constant(options.seed + np.arange(start, stop), tf.int64)
            repeats = [
                compute(tf.constant(pixels[start:stop]), seeds, tf.constant(repeat))
                for repeat in range(options.num_dequantizations)
            ]
            bits, evaluations = (
                np.stack([part.numpy() for part in parts], 1)
                for parts in zip(*repeats, strict=True)
            )
            spoilt = start + np.flatnonzero(~np.isfinite(bits).all((1, 2)))
            if len(spoilt):
                raise UserError(
                    f"the likelihood of image {spoilt[0]} is not finite: the scores overflow along "
                    "its flow; try a smaller --ode_tolerance, with another --out: results of "
                    "different tolerances do not share a file"
                )
            record.add(bits, evaluations)
            bar.update(stop - start)
            bar.set_postfix_str(f"{record.summary(stop)['bits_per_dim']:.4f} bits/dim")
    record.write_summary(num_images)


def _check_likelihood(options, config):
    """Raise a ConfigError for a run whose likelihood cannot be had so."""
    if config.num_levels < 2:
        raise ConfigError("--bits_per_dim needs a run with at least two noise levels")
    size = math.prod(config.image_shape)
    if options.divergence == "exact" and size > LARGEST_EXACT:
        raise ConfigError(
            f"--divergence=exact must be rademacher or gaussian for images of {size} numbers: it "
            f"takes as many backward passes at each evaluation, and is for {LARGEST_EXACT} at most"
        )


def _test_loss(network, config, source, num_images, options, say):
    """Mean loss over whole batches of the run's size; only fewer images than one are repeated."""
    from ncsn_tf.hooks import TestLoss

    num_batches = max(1, num_images // config.batch_size)
    loss = TestLoss(network, source, dataclasses.replace(config, eval_batches=num_batches))
    value = loss.compute()
    say(f"Loss {value:.3f} over {len(loss.batches) * config.batch_size} {options.split} images")
    return value
