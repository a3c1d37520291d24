"""Which run, and which of its checkpoints, is meant; nothing of them is read."""

import os
import time
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from ncsn_tf.errors import UserError
from ncsn_tf.files import user_path
from ncsn_tf.settings.checkpoint import BEST, no_checkpoint, step_of
from ncsn_tf.settings.options import show
from ncsn_tf.training import best_files, checkpoint_files

_MOST_SHOWN = 12  # steps, in a message


def find_run(workdir: str | PathLike = "") -> Path:
    """The run's folder that a user named; the newest run where none was named.

    Raises:
        UserError: none was named, and there is none.
    """
    return user_path(workdir) if workdir else newest_run()


def newest_run(runs: str | PathLike = "runs") -> Path:
    """The run below `runs` whose newest checkpoint was written last.

    Raises:
        UserError: when there is none.
    """
    newest = {}
    for name in checkpoint_files.names(runs):
        run_dir = Path(runs, name)
        try:
            listed = checkpoint_files.listed(run_dir)
        except UserError:  # a folder of somebody else's, such as lost+found
            continue
        for path in listed[:1]:
            try:
                newest[run_dir] = os.stat(f"{path}.index").st_mtime
            except FileNotFoundError:  # removed meanwhile, by the training of this run
                newest[run_dir] = time.time()
    if not newest:
        raise UserError(f"no run in {runs}/: train first (ncsn train), or name one with --workdir")
    return max(newest, key=newest.get)


def latest(run_dir: str | PathLike) -> str:
    """Path of a run's newest checkpoint, intact or not.

    Raises:
        UserError: when there is none.
    """
    for path in checkpoint_files.listed(run_dir):
        return path
    raise no_checkpoint(run_dir)


def named(run_dir: str | PathLike, checkpoint: str | int) -> str:
    """The path of the checkpoint of a step, or of the best one.

    Args:
        run_dir: the run's folder.
        checkpoint: "best", or a step.

    Raises:
        ConfigError: it is neither.
        UserError: there is no such checkpoint: one line, which says what there is.
    """
    best = best_files.path_of(run_dir)
    if checkpoint == BEST:
        if best is not None:
            return best
        lacks = "no best checkpoint, which train.py keeps with --metric_every"
    else:
        step = step_of(checkpoint)
        for path in filter(None, (*checkpoint_files.listed(run_dir), best)):
            if path.endswith(f"step-{step}"):
                return path
        lacks = f"no checkpoint of step {step}"
    if best is None and not checkpoint_files.listed(run_dir):
        raise no_checkpoint(run_dir)
    raise UserError(
        f"{show('checkpoint', checkpoint)}: {run_dir} has {lacks}; there are {there(run_dir)}"
    )


def there(run_dir: str | PathLike) -> str:
    """Which checkpoints a run has, in words: "steps 100, 200 and best, of step 100"."""
    steps = [path.rpartition("-")[2] for path in reversed(checkpoint_files.listed(run_dir))]
    words = [steps_in_words(steps)] if steps else []
    best = best_files.path_of(run_dir)
    if best is not None:
        words.append(f"best, of step {best.rpartition('-')[2]}")
    return " and ".join(words) or "none"


def steps_in_words(steps: Sequence[int | str]) -> str:
    """Steps, of many the first ones and the last.

    Example:
        >>> steps_in_words([5]), steps_in_words(range(20))
        ('step 5', 'steps 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..., 19')
    """
    shown = [str(step) for step in steps]
    if len(shown) > _MOST_SHOWN:
        shown = [*shown[: _MOST_SHOWN - 2], "...", shown[-1]]
    return f"step{'s'[: len(shown) > 1]} {', '.join(shown)}"
