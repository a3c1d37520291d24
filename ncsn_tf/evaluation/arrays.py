"""Likelihood and loss of images that are arrays: `ncsn evaluate` for a notebook."""

import os
import tempfile
from pathlib import Path

import numpy as np

from ncsn_tf.data.source import from_arrays
from ncsn_tf.errors import ConfigError
from ncsn_tf.evaluation.bits import measure_bits_per_dim
from ncsn_tf.evaluation.measure import measure_test_loss
from ncsn_tf.evaluation.record import Record
from ncsn_tf.settings.checkpoint import NEWEST
from ncsn_tf.training.averages import open_weights


def evaluate(
    images: np.ndarray,
    workdir: str | os.PathLike = "",
    *,
    bits_per_dim: bool = True,
    checkpoint: str | int = NEWEST,
    average: bool = True,
    ema: float | None = None,
    num_probes: int = 1,
    ode_tolerance: float = 1e-4,
    seed: int = 0,
) -> dict[str, float]:
    """Measure a run's network on images.

    Args:
        images: [N, H, W] or [N, H, W, C] of the run's size; uint8, or float in [0, 1].
        workdir: the run's folder; "" is the newest in runs/.
        bits_per_dim: whether to measure the likelihood beside the loss; it takes the longer time.
        checkpoint: "newest", "best" or a step.
        average: take the averaged weights where the run has them.
        ema: the average of this relative length instead, of a run with `ema_power`.
        num_probes, ode_tolerance, seed: of the likelihood, see `measure_bits_per_dim`.

    Returns:
        {"test_loss": the loss of training}, and of the likelihood {"bits_per_dim",
        "standard_error", "num_images", "evaluations", ...}.

    Raises:
        ValueError: arrays that are not images, or not of the run's size.
        UserError: no run, no checkpoint, or a likelihood that is not finite.

    Example:
        >>> images = np.random.default_rng(0).random([16, 8, 8])
        >>> results = evaluate(images, "runs/digits", bits_per_dim=False)
        >>> results["test_loss"] > 0
        True
    """
    source = from_arrays(images)
    run = open_weights(workdir, average, checkpoint, ema)
    if source.image_shape != run.config.image_shape:
        raise ConfigError(
            f"the images have the shape {source.image_shape}, those of {run.run_dir} "
            f"{run.config.image_shape}"
        )
    count = source.num_examples
    loss, _ = measure_test_loss(run.network, run.config, source, num_images=count)
    results = {"test_loss": loss}
    if bits_per_dim:
        choices = {"num_probes": num_probes, "num_dequantizations": 1}
        with tempfile.TemporaryDirectory() as folder:
            record = Record(Path(folder) / "bits_per_dim.json", choices)
            measure_bits_per_dim(
                run.network,
                run.config,
                source,
                record,
                num_images=count,
                ode_tolerance=ode_tolerance,
                seed=seed,
                **choices,
            )
            results |= record.summary(count)
    return results
