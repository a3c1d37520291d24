"""Networks whose weights are an average of any length, made from the snapshots of a run."""

from os import PathLike

import numpy as np
import tensorflow as tf

from ncsn_tf.backend.compat import raw_variables
from ncsn_tf.errors import UserError
from ncsn_tf.settings.averages import check_length
from ncsn_tf.settings.checkpoint import BEST, NEWEST, step_of
from ncsn_tf.settings.options import show
from ncsn_tf.training import average_files
from ncsn_tf.training.average_summary import bounds_in_words, chosen, profiles
from ncsn_tf.training.checkpoint_choice import find_run, named, steps_in_words
from ncsn_tf.training.checkpoints import Run, open_run
from ncsn_tf.training.power_average import LARGEST_ERROR, fit, gamma_of
from ncsn_tf.training.state import split


def average_of(workdir: str | PathLike, sigma_rel: float, step: int | None = None) -> Run:
    """The network of a run whose weights are their average of a relative length.

    Args:
        workdir: the run's folder; empty is the newest in runs/. It was trained with `--ema_power`.
        sigma_rel: the relative length: the deviation of its profile, as a share of the time.
        step: the step at which it ends, of which there is a snapshot; None is the newest.

    Returns:
        a `Run`, of which `network` is the network and `length` the relative length.

    Raises:
        ConfigError: a length that no average can have.
        UserError: the run has no snapshots, not of that step, too few for such a length, or
            damaged ones; one line.

    `average_of("runs/mnist", 0.1).network(x, levels)` is then the score.
    """
    return open_weights(workdir, True, NEWEST if step is None else step, sigma_rel)


def open_weights(
    workdir: str | PathLike = "",
    average: bool = True,
    checkpoint: str | int = NEWEST,
    ema: float | None = None,
) -> Run:
    """`open_run`, or of a length the average of that length: what commands open.

    Args:
        workdir, average: see `open_run`.
        checkpoint: see `open_run`; with `ema`, a step is one of which there is a snapshot, and
            "newest" the newest snapshot.
        ema: the relative length of the average; None takes the weights of the checkpoint.

    Raises:
        ConfigError, UserError: as of `open_run`, and of `average_of`.
    """
    if ema is None:
        return open_run(workdir, average, checkpoint)
    check_length(ema)
    run_dir = find_run(workdir)
    step = _step(run_dir, checkpoint, ema)
    # What is not trained, and the settings, are the same in all checkpoints of a run.
    run = open_run(run_dir)
    if not run.config.ema_power:  # the files are another run's, which was in this folder
        raise _none(run_dir, ema)
    vector = _average(run_dir, step, ema, average_files.layout_of(run.network))
    variables = raw_variables(run.network)
    for variable, piece in zip(variables, split(tf.constant(vector), variables), strict=True):
        variable.assign(piece)
    path = str(average_files.path_of(run_dir, step))
    return run._replace(path=path, step=step, is_average=True, length=float(ema))


def _step(run_dir, checkpoint, ema):
    """The step that was asked for; there is a snapshot of it."""
    steps = average_files.listed(run_dir)
    if not steps:
        raise _none(run_dir, ema)
    if checkpoint == NEWEST:
        return steps[-1]
    if checkpoint == BEST:
        step = int(named(run_dir, BEST).rpartition("-")[2])
    else:
        step = step_of(checkpoint)
    if step not in steps:
        which = show("checkpoint", checkpoint)
        which += f", of step {step}" if checkpoint == BEST else ""
        raise UserError(
            f"{which}: {run_dir} has averages of {steps_in_words(steps)} (train.py --ema_every)"
        )
    return step


def _none(run_dir, ema):
    return UserError(
        f"{show('ema', ema)}: {run_dir} has no averages: they are made of the snapshots that "
        "train.py writes with --ema_power=0.05,0.1"
    )


def _average(run_dir, step, length, layout):
    """float32 [P]: the average of a length at a step, of which there is a snapshot."""
    steps = chosen([other for other in average_files.listed(run_dir) if other <= step])
    abouts = [average_files.read_about(run_dir, other) for other in steps]
    for about in abouts:
        average_files.check_layout(run_dir, about, layout)
    known = profiles(abouts)
    updates = abouts[-1].updates
    found = fit(known, [(updates, gamma_of(length))])
    if found.errors[0] > LARGEST_ERROR:
        shortest, longest = bounds_in_words(known, updates)
        raise UserError(
            f"{show('ema', length)} must be from {shortest} to {longest}: the "
            f"{len(steps)} snapshot{'s'[: len(steps) > 1]} of {run_dir} up to step "
            f"{step} give no shorter or longer average"
        )
    total, shares = 0.0, found.shares[:, 0]
    for about in abouts:
        own, shares = np.split(shares, [len(about.lengths)])
        total = total + own @ average_files.read(run_dir, about).astype(np.float64)
    return np.asarray(total, np.float32)
