"""The work of `ncsn evaluate --every_checkpoint` and `--sweep`, on a run that is named."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from ncsn_tf.evaluation.quality.figure import Figure
from ncsn_tf.evaluation.tuning.bench import Bench
from ncsn_tf.evaluation.tuning.ranking import rank_checkpoints
from ncsn_tf.evaluation.tuning.sweep import sweep_chain
from ncsn_tf.settings.checkpoint import NEWEST
from ncsn_tf.settings.sweep import Sweep
from ncsn_tf.training.checkpoint_choice import find_run
from ncsn_tf.training.checkpoints import open_config, open_run
from ncsn_tf.training.run_data import with_places


def tune(
    workdir: str | os.PathLike,
    strategy: tf.distribute.Strategy,
    metrics: Sequence[str],
    num_samples: int,
    *,
    sweep: str = "",
    checkpoint: str | int = NEWEST,
    average: bool = True,
    keep_best: bool = False,
    place: str | os.PathLike | None = None,
    chain: Mapping[str, object],
    data_dir: str = "",
    cache_dir: str = "",
    **bench: object,
) -> dict[str, list[Figure]]:
    """Rank the checkpoints of a run, or sweep over a setting of its chain.

    Args:
        workdir: the run's folder; empty is the newest in runs/.
        strategy: under which networks are built.
        metrics, num_samples: see `Bench`.
        sweep: see `Sweep.parse`; empty ranks the checkpoints.
        checkpoint: which one is swept with, see `open_run`.
        average: take the averaged weights where the run has them.
        keep_best: see `rank_checkpoints`.
        place: the folder in which a sweep is kept; None is the run's.
        chain: settings of the chain that replace the run's.
        data_dir, cache_dir: see `with_places`.
        **bench: the other arguments of `Bench`.

    Returns:
        {step or value in words: its figures, [] where the chains diverged}.

    Raises:
        ConfigError, UserError: as of `rank_checkpoints` and `sweep_chain`.
    """

    def make_bench(config):
        return Bench(with_places(config, data_dir, cache_dir), metrics, num_samples, **bench)

    if not sweep:
        run_dir = find_run(workdir)
        config = open_config(run_dir)
        print(f"Evaluating every checkpoint of {run_dir}")
        given = {"chain": chain, "average": average, "keep_best": keep_best}
        return rank_checkpoints(run_dir, make_bench(config), strategy, **given)
    with strategy.scope():
        run = open_run(workdir, average, checkpoint)
    print(f"Evaluating {run.run_dir}, {run.origin}")
    return sweep_chain(
        run if place is None else run._replace(run_dir=Path(place)),
        Sweep.parse(sweep),
        lambda: make_bench(run.config),
        strategy,
        chain=chain,
    )
