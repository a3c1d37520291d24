"""One process at a time writes the checkpoints of a run: <run>/.lock says which."""

import contextlib
from collections.abc import Callable
from os import PathLike
from pathlib import Path

from ncsn_tf.files import hold

NAME = ".lock"


def run_lock(run_dir: str | PathLike) -> contextlib.AbstractContextManager[Callable[[], None]]:
    """Hold a run's folder while the body runs: what `files.hold` yields and raises.

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder, run_lock(folder):
        ...     os.listdir(folder)
        ['.lock']
    """
    instead = "name another --workdir"
    return hold(Path(run_dir) / NAME, f"{run_dir} is being trained", instead)
