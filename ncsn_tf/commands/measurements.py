"""What `ncsn evaluate` does once its flags are read.

It imports the work, and `evaluate` imports it then. In each function `workdir` is the run's folder,
empty for the newest, and `place` the folder of what is written, None for the run's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ncsn_tf.commands.evaluate_options import EvaluateOptions
from ncsn_tf.commands.quality_options import NEWEST, NUM_SAMPLES, OF_REQUESTS
from ncsn_tf.commands.tuning_options import METRICS
from ncsn_tf.commands.tuning_options import NUM_SAMPLES as TUNING_SAMPLES
from ncsn_tf.errors import ConfigError
from ncsn_tf.evaluation.lengths import measure_lengths
from ncsn_tf.evaluation.measure import evaluate_run
from ncsn_tf.evaluation.quality.measure import evaluate_quality, run_of_samples
from ncsn_tf.evaluation.quality.sides import draw_shard
from ncsn_tf.evaluation.tuning.run import tune
from ncsn_tf.evaluation.tuning.table import table
from ncsn_tf.files import user_path
from ncsn_tf.generation.drawing import Drawing, open_drawing
from ncsn_tf.generation.shards import Shard
from ncsn_tf.serving.export_origin import Export, newest_export, run_of_export
from ncsn_tf.settings.chain import CHAIN_SETTINGS
from ncsn_tf.settings.options import show, values_of
from ncsn_tf.training.run_data import with_places

if TYPE_CHECKING:
    import tensorflow as tf

_TOLERANCE = 1e-4
_LIKELIHOOD = (
    *("bits_per_dim", "test_loss", "checkpoint", "average", "num_images", "data_dir"),
    *("cache_dir", "batch_size", "divergence", "num_probes", "num_dequantizations", "seed", "out"),
)
_TUNING = (
    *("sweep", "checkpoint", "average", "keep_best", "seed", "features", "inception"),
    *("num_images", "batch_size", "data_dir", "cache_dir", "label", "guidance"),
)
_QUALITY = (
    *("features", "inception", "seed", "num_seed_ranges", "num_images", "reference", "pairs"),
    *("copies", "cache_dir", "samples"),
)


def measure_likelihood(
    options: EvaluateOptions, workdir: str | os.PathLike, place: Path | None
) -> None:
    """Bits per dimension and test loss."""
    split = options.split or "test"
    if options.ema and options.test_loss:
        where = values_of(options, ("checkpoint", "num_images", "data_dir", "cache_dir"))
        losses = measure_lengths(workdir, options.lengths, split=split, **where)
        tried = {f"{length:g}": [figure] for length, figure in losses.items()}
        print(*table("length", tried), sep="\n")
    if options.bits_per_dim or not options.ema:
        given = values_of(options, _LIKELIHOOD)
        given["test_loss"] &= not options.ema
        given["ema"] = options.lengths[0] if options.ema else None
        tolerance = options.ode_tolerance or _TOLERANCE
        evaluate_run(workdir, place=place, **given, split=split, ode_tolerance=tolerance)


def tune_chain(
    options: EvaluateOptions,
    workdir: str | os.PathLike,
    place: Path | None,
    strategy: tf.distribute.Strategy,
) -> None:
    """Checkpoints that are ranked, or settings of the chain that are tried."""
    tune(
        workdir,
        strategy,
        options.names if options.metrics else METRICS,
        options.num_samples or TUNING_SAMPLES,
        place=place,
        chain=values_of(options, CHAIN_SETTINGS),
        split=options.split or "train",
        **values_of(options, _TUNING),
    )


def measure_quality(
    options: EvaluateOptions,
    workdir: str | os.PathLike,
    place: Path | None,
    strategy: tf.distribute.Strategy,
) -> None:
    """Figures of quality: of samples that are drawn, or that are there."""
    run_dir, config, drawings = _open(options, workdir, place, strategy)
    if config is not None:
        config = with_places(config, options.data_dir, options.cache_dir)
    num_samples = options.num_samples or (0 if options.samples else NUM_SAMPLES)
    tried = {}
    for ema, drawing in drawings.items():
        if options.shard:
            shard = Shard.parse(options.shard)
            files = draw_shard(drawing, run_dir, shard, options.seed, options.seeds_in_all)
            print(f"Drew shard {shard.index} of {shard.count}: {len(files)} files")
            continue
        if ema is not None:
            print(f"Average of length {ema:g}:")
        figures = evaluate_quality(
            options.names,
            run_dir=run_dir,
            config=config,
            drawing=drawing,
            num_samples=num_samples,
            classes=() if drawing is None or drawing.labels is None else drawing.labels.some,
            split=options.split or "train",
            **values_of(options, _QUALITY),
        )
        if ema is not None:
            tried[f"{ema:g}"] = [figure for figure in figures if figure.metric != "copies"]
    if tried:
        print(*table("length", tried), sep="\n")


def _open(options, workdir, place, strategy):
    """(the run's folder, its `Config`, {length of an average: the `Drawing` of its samples})."""
    if options.samples:
        run_dir, config = run_of_samples(options.workdir, bool(options.reference))
        drawings = {None: None}
    elif options.saved_model:
        is_newest = options.saved_model == NEWEST
        folder = newest_export(options.workdir) if is_newest else options.saved_model
        given = values_of(options, (*OF_REQUESTS, "batch_size", "label", "guidance"))
        export = Export(folder, **given, all_classes=True)
        run_dir = user_path(options.workdir) if options.workdir else run_of_export(export.path)
        if run_dir is None:
            raise ConfigError(
                f"{show('saved_model', options.saved_model)} lies in no run: name a folder for "
                "samples and figures with --workdir"
            )
        config, about = export.metadata.config, export.metadata
        known = {"sampler": export.chain(), "weights": about.weights, "step": about.training_step}
        drawings = {None: Drawing(export, config, {**known, "source": str(export.path)})}
    else:
        chain = values_of(options, CHAIN_SETTINGS)
        given = values_of(options, ("checkpoint", "average", "batch_size", "label", "guidance"))
        drawings = {}
        for ema in options.lengths or (None,):
            with strategy.scope():
                drawings[ema], run = open_drawing(workdir, **given, ema=ema, chain=chain)
            print(f"Evaluating {run.run_dir}, {run.origin}")
            run_dir, config = place or run.run_dir, drawings[ema].config
    return run_dir, config, drawings
