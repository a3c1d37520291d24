"""Paths among the flags: homes in place of `~`, and inputs, which must be there before the work."""

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any

from ncsn_tf.errors import UserError
from ncsn_tf.files import user_path
from ncsn_tf.settings.checkpoint import no_checkpoint
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import ANY_NAME, show

_IN_MEMORY = {"digits", "robohash_cats"}  # data sets that no folder is needed for
# What another one is read from, where that is no folder alone.
_KINDS = {"image_folder": "a folder, nor a .zip or a .tar", "arrays": "a .npy or an .npz"}


def with_homes(dataclass_type: type, values: dict[str, Any]) -> dict[str, Any]:
    """The values, which are right, with homes in place of the `~` of paths.

    Example:
        >>> from ncsn_tf.settings.options import option
        >>> @dataclasses.dataclass(frozen=True)
        ... class Options:
        ...     out: str = option("", "a file", group="output", path=True)
        >>> with_homes(Options, {"out": "a.png"})
        {'out': 'a.png'}
    """
    paths = [field.name for field in dataclasses.fields(dataclass_type) if field.metadata["path"]]
    # Others stay as they were typed: ./newest is a folder where "newest" has its own meaning.
    paths = [name for name in paths if (values[name] or "").startswith("~")]
    homes = {name: str(user_path(values[name])) for name in paths}
    return values | homes


def check_inputs(options: Any) -> None:
    """Check that what the flags name to be read is there.

    Args:
        options: an instance of a dataclass whose fields were made with `option`; its values are
            right.

    Raises:
        UserError: a file or folder is not there; one line that names the flag.

    Example:
        >>> from ncsn_tf.settings.options import option
        >>> @dataclasses.dataclass(frozen=True)
        ... class Options:
        ...     mask: str = option("right", "part to fill", "what", path=True, reads=("right",))
        >>> check_inputs(Options())
        >>> check_inputs(Options("none.png"))
        Traceback (most recent call last):
        ncsn_tf.errors.UserError: --mask=none.png is not a file or a folder, nor one of right
    """
    for field in dataclasses.fields(options):
        names, value = field.metadata["reads"], getattr(options, field.name)
        if names is None or not value or _is_name(value, names):
            continue
        if not os.path.exists(user_path(value)):
            others = "" if names in (ANY_NAME, ()) else f", nor one of {', '.join(names)}"
            raise UserError(f"{show(field.name, value)} is not a file or a folder{others}")


def _is_name(value, names):
    if names == ANY_NAME:
        return os.sep not in value and not Path(value).suffix
    return value in names


def check_data_dir(dataset: str, data_dir: str) -> None:
    """Check that the files of a data set are there where a user says so.

    Raises:
        UserError: they are not.

    Example:
        >>> check_data_dir("mnist", ".")
        >>> check_data_dir("image_folder", "none")
        Traceback (most recent call last):
        ncsn_tf.errors.UserError: --data_dir=none is not a folder, nor a .zip or a .tar
    """
    _check_data_dir({dataset}, data_dir)


def check_run(workdir: str | os.PathLike, data_dir: str = "") -> None:
    """Check that a run that is to be read is there, and its data where a user says so.

    Args:
        workdir: the run's folder; empty is the newest in runs/, which is not looked for here.
        data_dir: another place of its data; empty is the run's own, which is not checked.

    Raises:
        UserError: they are not.

    Example:
        >>> check_run("runs/none")
        Traceback (most recent call last):
        ncsn_tf.errors.UserError: runs/none holds no checkpoint: train first, or name another ...
    """
    run_dir = user_path(workdir)
    if workdir and not run_dir.is_dir():
        raise no_checkpoint(run_dir)
    if data_dir:
        _check_data_dir(_datasets([run_dir] if workdir else Path("runs").glob("*")), data_dir)


def _datasets(runs):
    """The data sets of runs, as far as their settings can be read."""
    found = set()
    for run_dir in runs:
        with contextlib.suppress(UserError):  # said later, of the run that is read
            found.add(Config.load(run_dir / "config.json").dataset)
    return found


def _check_data_dir(datasets, data_dir):
    """`check_data_dir` of a data set that is one of these; none is one that is not known."""
    if not datasets or datasets & _IN_MEMORY or not data_dir:
        return
    if "://" not in data_dir and not os.path.exists(user_path(data_dir)):  # TFDS reads gs://bucket
        kinds = {_KINDS.get(dataset, "a folder") for dataset in datasets}
        kind = kinds.pop() if len(kinds) == 1 else "a file or a folder"
        raise UserError(f"{show('data_dir', data_dir)} is not {kind}")
