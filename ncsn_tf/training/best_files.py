"""The best checkpoint of a run: its files, and the figure by which it was chosen.

<run>/checkpoints/best/step-N.index, step-N.data-00000-of-00001, step-N.figure.json

It lies apart from the last ones, which are removed by their number.
"""

import json
import math
import os
import shutil
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from ncsn_tf.errors import UserError
from ncsn_tf.files import sync, write_atomically
from ncsn_tf.training import checkpoint_files

FOLDER = "best"
_ENDING = ".figure.json"


class Measured(NamedTuple):
    """A figure of a checkpoint's quality.

    Attributes:
        name: what it is, in words that tell it from others: "FID-5k".
        value: the number; not a number where none could be had.
        is_lower_better: whether the lower of two is the better one.
        about: what decides it besides the weights, as JSON can hold it. Only figures of one name
            and equal `about` are compared.
    """

    name: str
    value: float
    is_lower_better: bool
    about: dict[str, object]

    def is_better_than(self, other: "Measured | None") -> bool:
        """Whether a checkpoint of this figure is the better one; equals are not.

        Example:
            >>> Measured("FID", 3.0, True, {}).is_better_than(Measured("FID", 4.0, True, {}))
            True
            >>> Measured("IS", 3.0, False, {}).is_better_than(Measured("IS", 4.0, False, {}))
            False
            >>> Measured("FID", float("nan"), True, {}).is_better_than(None)
            False
        """
        if not math.isfinite(self.value):
            return False
        if other is None or not math.isfinite(other.value):
            return True
        return self.value < other.value if self.is_lower_better else self.value > other.value

    def is_like(self, other: "Measured") -> bool:
        """Whether the two can be compared."""
        mine, others = (figure._replace(value=0.0)._asdict() for figure in (self, other))
        return _text(mine) == _text(others)


def _text(figure):
    """A figure's fields as JSON, which makes lists of tuples."""
    return json.dumps(figure, indent=2, sort_keys=True) + "\n"


def folder_of(run_dir: str | PathLike) -> Path:
    """The folder of a run's best checkpoint."""
    return Path(run_dir) / checkpoint_files.FOLDER / FOLDER


def path_of(run_dir: str | PathLike) -> str | None:
    """The path of a run's best checkpoint; None where there is none.

    There are two for the moment in which one replaces the other: the later written one counts.
    """
    return max(checkpoint_files.listed_in(folder_of(run_dir)), key=_written_at, default=None)


def _written_at(path):
    try:
        return os.stat(f"{path}.index").st_mtime_ns
    except FileNotFoundError:  # replaced meanwhile
        return 0


def read_figure(path: str) -> Measured:
    """The figure of a best checkpoint.

    Args:
        path: the checkpoint, as from `path_of`.

    Raises:
        UserError: it cannot be read.
    """
    file = path + _ENDING
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
        figure = Measured(*(content[name] for name in Measured._fields))
        kinds = (str, (int, float), bool, dict)
        if not all(isinstance(*pair) for pair in zip(figure, kinds, strict=True)):
            raise ValueError("it is not the figure of a checkpoint")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    return figure


def write_best(
    checkpoint: tf.train.Checkpoint, run_dir: str | PathLike, step: int, figure: Measured
) -> str:
    """Write a run's best checkpoint; then the one before it is removed.

    Args:
        checkpoint: what is written.
        run_dir: the run's folder.
        step: training steps done.
        figure: the figure by which it is the best.

    Returns:
        its path.

    Raises:
        UserError: it cannot be written; the one before is intact.
    """
    path = checkpoint_files.write_into(
        checkpoint, folder_of(run_dir), step, lambda path: _write_figure(path, figure)
    )
    _keep_only(path)
    return path


def copy_best(path: str, run_dir: str | PathLike, figure: Measured) -> str:
    """Make a checkpoint of a run its best one, by a copy. The rest is as of `write_best`."""
    folder, name = folder_of(run_dir), os.path.basename(path)
    new = str(folder / name)
    if os.path.dirname(path) == str(folder):
        _write_figure_file(path, figure)
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        parts = []
        for file in checkpoint_files.files_of(path):
            partial = str(folder / checkpoint_files.PARTIAL) + os.path.basename(file)
            shutil.copyfile(file, partial)
            sync(partial)
            parts.append((partial, new + file[len(path) :]))
        _write_figure(new, figure)
        for partial, target in sorted(parts, key=lambda part: part[1].endswith(".index")):
            os.replace(partial, target)
        sync(folder)
    except OSError as error:
        checkpoint_files.remove_unfinished(folder)
        raise UserError(
            f"{path} cannot be copied to {folder}: {error.strerror}; the best one is intact"
        ) from None
    _keep_only(new)
    return new


def _write_figure(path, figure):
    """The figure of a checkpoint that is about to be put in place."""
    # One of the same step, of another metric or machine, goes: no index may stand over files that
    # are not its own.
    checkpoint_files.remove(path)
    _write_figure_file(path, figure)


def _write_figure_file(path, figure):
    text = _text(figure._asdict())
    write_atomically(path + _ENDING, lambda file: file.write_text(text, encoding="utf-8"))


def _keep_only(path):
    """Remove the best checkpoints that are not the best any more."""
    folder = Path(path).parent
    checkpoint_files.write_state(folder, [path])
    for other in checkpoint_files.listed_in(folder):
        if other != path:
            checkpoint_files.remove(other)


def remove_remains(run_dir: str | PathLike) -> None:
    """Remove what killed processes left beside the best checkpoint; for who holds the lock."""
    best = path_of(run_dir)
    if best is not None:
        _keep_only(best)
    checkpoint_files.remove_unfinished(folder_of(run_dir))
