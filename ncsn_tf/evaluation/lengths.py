"""The test loss of a run's averages of several lengths, recorded as figures of quality are."""

import os
import time
from collections.abc import Callable, Sequence

from ncsn_tf.evaluation.measure import measure_test_loss
from ncsn_tf.evaluation.quality.figure import Figure
from ncsn_tf.evaluation.quality.history import publish
from ncsn_tf.settings.checkpoint import NEWEST
from ncsn_tf.training.averages import open_weights
from ncsn_tf.training.run_data import run_source, with_places


def measure_lengths(
    workdir: str | os.PathLike,
    lengths: Sequence[float],
    *,
    checkpoint: str | int = NEWEST,
    split: str = "test",
    num_images: int = 0,
    data_dir: str = "",
    cache_dir: str = "",
    say: Callable[[str], object] = print,
) -> dict[float, Figure]:
    """Measure the loss of training with averages of the weights, and add it to metrics.jsonl.

    Args:
        workdir: the run's folder; empty is the newest in runs/.
        lengths: relative lengths of the averages, see `training.averages`.
        checkpoint, split, num_images, data_dir, cache_dir, say: see `measure.evaluate_run`.

    Returns:
        {length: its figure}.

    Raises:
        ConfigError, UserError: as of `averages.open_weights`, no data, or a place that cannot be
            written.
    """
    found, source = {}, None
    for length in lengths:
        run = open_weights(workdir, True, checkpoint, length)
        config = with_places(run.config, data_dir, cache_dir)
        if source is None:
            source = run_source(config, split)
        most = min(num_images or source.num_examples, source.num_examples)
        loss, count = measure_test_loss(run.network, config, source, num_images=most)
        found[length] = Figure(
            f"Loss-{split}",
            "test_loss",
            loss,
            num_samples=count,
            reference=split,
            weights=run.kind,
            length=run.length,
            step=run.step,
            time=time.strftime("%Y-%m-%d %H:%M:%S"),
        )
        publish(run.run_dir, [found[length]])
        say(f"Loss {loss:.3f} over {count} {split} images, {run.origin}")
    return found
