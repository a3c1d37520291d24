"""Snapshots of a run's averages by powers of time, from which averages of any length are made.

<run>/averages/step-N.npz, one every `--ema_every` steps. None is removed: the more, the nearer.
"""

import json
import re
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from ncsn_tf.backend.compat import raw_variables
from ncsn_tf.errors import UserError, inform
from ncsn_tf.files import digest, read_arrays, remove_leftovers, save_arrays
from ncsn_tf.settings.averages import LONGEST, SHORTEST
from ncsn_tf.training.checkpoint_files import names
from ncsn_tf.training.state import TrainingState, copies

FOLDER = "averages"
_FILE = re.compile(r"step-(0|[1-9][0-9]*)\.npz")
_WHAT = "a snapshot of averages"
_HALF = np.finfo(np.float16).max


class About(NamedTuple):
    """What a snapshot says of its averages.

    Attributes:
        step: training steps done.
        updates: those of them that changed the weights: the time of the averages.
        lengths: the relative length of each.
        layout: of the weights in a vector, see `layout_of`.
    """

    step: int
    updates: int
    lengths: tuple[float, ...]
    layout: str


def layout_of(network: keras.layers.Layer) -> str:
    """A digest of the shapes of a network's trainable weights, in their order.

    Example:
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 2))
        >>> layout_of(layer) == digest([b"[[2, 3], [3]]"])
        True
    """
    shapes = [variable.shape.as_list() for variable in raw_variables(network)]
    return digest([json.dumps(shapes).encode()])


def path_of(run_dir: str | PathLike, step: int) -> Path:
    """The file of a step, whether it is there or not."""
    return Path(run_dir) / FOLDER / f"step-{step}.npz"


def listed(run_dir: str | PathLike) -> list[int]:
    """The steps of which there are snapshots, in their order; none where there is no folder.

    Example:
        >>> listed("runs/none")
        []
    """
    found = map(_FILE.fullmatch, names(Path(run_dir) / FOLDER))
    return sorted(int(match[1]) for match in found if match)


def write(run_dir: str | PathLike, state: TrainingState) -> None:
    """Write a snapshot of a run's averages; it appears whole. Before the first update there is
    none.

    Weights take two bytes each: rounding them changes each by 0.05 % at most, and one that is
    smaller than 6e-5 by 3e-8. Of weights that are too large for that all take four.

    Raises:
        UserError: it cannot be written; the earlier ones are intact.
    """
    step = int(state.step.numpy())
    updates = step - int(state.skipped_steps.numpy())
    if updates < 1:
        return
    vectors = np.stack(
        [copies(average.vector)[0].numpy() for average in state.power_averages.values()]
    )
    dtype = np.float16 if np.abs(vectors).max() <= _HALF else np.float32
    arrays = {
        "about": np.array([step, updates], np.int64),
        "lengths": np.array([*state.power_averages], np.float64),
        "layout": np.array(layout_of(state.network)),
        "averages": vectors.astype(dtype),
    }
    save_arrays(path_of(run_dir, step), arrays)


def read_about(run_dir: str | PathLike, step: int) -> About:
    """What the snapshot of a step says of itself; its averages are not read.

    Raises:
        UserError: it is not there, damaged, or something else; one line.
    """
    path = path_of(run_dir, step)
    arrays = read_arrays(path, ["about", "lengths", "layout"], _WHAT)
    about, lengths, layout = arrays["about"], arrays["lengths"], arrays["layout"]
    is_one = about.shape == (2,) and about.dtype == np.int64 and lengths.ndim == 1
    is_one = is_one and lengths.dtype == np.float64 and about[0] == step
    is_one = is_one and len(lengths) > 0 and 1 <= about[1] <= step
    # A number that is none is within no bounds.
    if not (is_one and np.all((lengths >= SHORTEST) & (lengths <= LONGEST))):
        raise UserError(f"{path} is not {_WHAT} of step {step}")
    return About(step, int(about[1]), tuple(lengths.tolist()), str(layout))


def check_layout(
    run_dir: str | PathLike, about: About, layout: str, whose: str = "the run's checkpoints"
) -> None:
    """Raise a UserError unless a snapshot is of the network of a layout.

    Args:
        about: of the snapshot.
        layout: see `layout_of`.
        whose: what has that layout, for the error.
    """
    if about.layout != layout:
        raise UserError(f"{path_of(run_dir, about.step)} is of another network than {whose}")


def read(run_dir: str | PathLike, about: About) -> np.ndarray:
    """The averages of a snapshot.

    Returns:
        float16 or float32 [lengths, P].

    Raises:
        UserError: it is damaged; one line.
    """
    path = path_of(run_dir, about.step)
    vectors = read_arrays(path, ["averages"], _WHAT)["averages"]
    is_float = vectors.dtype in (np.float16, np.float32)
    if not is_float or vectors.ndim != 2 or len(vectors) != len(about.lengths):
        raise UserError(f"{path} is not {_WHAT} of step {about.step}")
    return vectors


def remove_after(run_dir: str | PathLike, step: int) -> None:
    """Remove the snapshots after the step at which a run goes on; for who holds the run's lock.

    They are of training that is done again: from an earlier checkpoint, or from the start.

    Raises:
        UserError: one cannot be removed.
    """
    later = [other for other in listed(run_dir) if other > step]
    for other in later:
        path = path_of(run_dir, other)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{path} cannot be removed: {error.strerror}") from None
    if later:
        inform(f"Averages of {len(later)} steps after step {step} are removed: it goes on there")
    remove_leftovers(Path(run_dir) / FOLDER)
