"""The figures of a run: `metrics.jsonl` in its folder, a line each, and TensorBoard's curves."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from ncsn_tf.errors import UserError, warn
from ncsn_tf.evaluation.quality.figure import Figure
from ncsn_tf.files import hold
from ncsn_tf.training import reporter

NAME = "metrics.jsonl"
TAG = "quality"
_PATIENCE = 20.0  # seconds: a line is written in much less
_PAUSE = 0.1


def append(run_dir: str | os.PathLike, figures: Sequence[Figure]) -> None:
    """Add figures to a run's metrics.jsonl.

    The lines are one write at the end of the file, which readers see whole or not at all, made by
    one process at a time.

    Raises:
        UserError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     append(folder, [Figure("FID-5k", "fid", 12.5, step=10)])
        ...     [figure.value for figure in read(folder)]
        [12.5]
    """
    path = Path(run_dir) / NAME
    lines = "".join(json.dumps(figure.to_dict(), allow_nan=False) + "\n" for figure in figures)
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with hold(path.with_name(f"{NAME}.lock"), f"{path} is being written", "try again"):
                _append(path, lines.encode())
            return
        except _WriteError:
            raise
        except UserError:
            if time.monotonic() > end or not os.access(path.parent, os.W_OK):
                raise
            time.sleep(_PAUSE)


class _WriteError(UserError):
    """The file itself cannot be written: no other process is in the way."""


def _append(path, content):
    try:
        with open(path, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a line that a crash has cut
                    content = b"\n" + content
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _WriteError(f"{path} cannot be written: {error.strerror}") from None


def read(run_dir: str | os.PathLike) -> list[Figure]:
    """The figures in a run's metrics.jsonl, in their order; none where there is no file.

    Damaged lines are passed over, which is said.

    Raises:
        UserError: the file cannot be read.
    """
    path = Path(run_dir) / NAME
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    figures, damaged = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            figures.append(Figure.from_dict(json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            damaged.append(number)
    if damaged:
        shown = ", ".join(map(str, damaged[:5])) + (", ..." if len(damaged) > 5 else "")
        lines = "line" if len(damaged) == 1 else "lines"
        warn(f"{path}: {lines} {shown} damaged, left out")
    return figures


def publish(run_dir: str | os.PathLike, figures: Sequence[Figure]) -> None:
    """`append`, and a point of TensorBoard's curve `quality/NAME` for each figure with a step.

    Those of averages of several lengths have one step, and are no curve.

    Raises:
        UserError: the files cannot be written.
    """
    append(run_dir, figures)
    curves = [figure for figure in figures if figure.step is not None and figure.length is None]
    if not curves:
        return
    writer = reporter.open_writer(Path(run_dir) / reporter.FOLDER)
    with reporter.writable(Path(run_dir) / reporter.FOLDER):
        for figure in curves:
            with writer.as_default(step=figure.step):
                tf.summary.scalar(f"{TAG}/{figure.name}", figure.value)
        writer.close()
