"""`ncsn evaluate --every_checkpoint`: which of a run's checkpoints is the best."""

from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf

from ncsn_tf.errors import UserError, inform, warn
from ncsn_tf.evaluation.quality.figure import Figure
from ncsn_tf.evaluation.quality.history import publish
from ncsn_tf.evaluation.quality.online import DivergedError
from ncsn_tf.evaluation.tuning.bench import Bench, measured
from ncsn_tf.evaluation.tuning.record import Trials, weights_digest
from ncsn_tf.evaluation.tuning.table import best_of, table
from ncsn_tf.files import check_place, hold
from ncsn_tf.settings.chain import change_chain
from ncsn_tf.settings.sampler_choice import tell_choice
from ncsn_tf.training import best_files, checkpoint_files
from ncsn_tf.training.checkpoint_choice import named
from ncsn_tf.training.checkpoints import open_run
from ncsn_tf.training.run_lock import run_lock
from ncsn_tf.training.run_sampler import chain_settings, sampler_of


def rank_checkpoints(
    run_dir: Path,
    bench: Bench,
    strategy: tf.distribute.Strategy,
    *,
    chain: Mapping[str, object],
    average: bool = True,
    keep_best: bool = False,
    say: Callable[[str], object] = print,
) -> dict[str, list[Figure]]:
    """Draw and measure with each checkpoint of a run that is there, and say which is the best.

    Every checkpoint has the same seeds. What was measured is in
    <run>/evaluation/checkpoints-DIGEST.json, from which the same command goes on. The figures go to
    metrics.jsonl and TensorBoard too.

    Args:
        run_dir: the run's folder.
        bench: what draws and measures.
        strategy: under which networks are built.
        chain: settings of the chain that replace the run's, see `change_chain`.
        average: take the averaged weights where the run has them.
        keep_best: also make the best one the run's best checkpoint.
        say: called with each line.

    Returns:
        {step in words: its figures, [] where the chains diverged}.

    Raises:
        ConfigError: settings that the run's sampler cannot have.
        UserError: no checkpoint can be read, or a place cannot be written.
    """
    found, trials = {}, None
    for step in _steps(run_dir):
        try:
            with strategy.scope():
                run = open_run(run_dir, average, step)
        except UserError as error:
            warn(f"left out: {error}")
            continue
        config = change_chain(run.config, **chain)
        if not found:
            tell_choice(chain, config)
        settings = {**bench.about(), "chain": chain_settings(config), "average": run.is_average}
        trials = Trials(run_dir, "checkpoints", settings)
        name = f"{step}-{weights_digest(run)}"
        check_place(trials.path)
        lock = trials.path.with_name(f"{trials.path.name}.lock")
        with hold(lock, f"{trials.path} is being written", "let it end"):
            if name in trials.tried:
                inform(f"step {step} is measured already, in {trials.path}")
            else:
                try:
                    with strategy.scope():
                        sampler = sampler_of(run.network, config)
                    figures = bench(run.network, config, run.step, run.is_average, sampler)
                except DivergedError:
                    figures = []
                if figures:
                    publish(run_dir, figures)
                trials.add(name, figures)
                said = ", ".join(map(str, figures)) or "the chains diverged"
                inform(f"step {step}: {said}")
        found[str(step)] = trials.tried[name]
    if not found:
        raise UserError(f"{run_dir} has no checkpoint that can be read: train first")
    for line in table("step", found):
        say(line)
    best = best_of(found)
    if best is None:
        raise UserError("the chains of every checkpoint diverged: train for longer")
    say(f"Best: --checkpoint={best}  ({found[best][0]})")
    if keep_best:
        with run_lock(run_dir):
            path = best_files.copy_best(named(run_dir, best), run_dir, measured(found[best][0]))
        say(f"Kept as {Path(path).parent}: --checkpoint=best")
    say(f"Wrote {trials.path}")
    return found


def _steps(run_dir):
    """The steps of the checkpoints that are there, the best one's too."""
    paths = {*checkpoint_files.listed(run_dir), best_files.path_of(run_dir)} - {None}
    return sorted({int(path.rpartition("-")[2]) for path in paths})
