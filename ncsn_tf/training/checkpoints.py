"""Checkpoints of a run as files: where the newest is, the network in it, a network as a run."""

import contextlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from ncsn_tf.errors import UserError
from ncsn_tf.settings.config import Config
from ncsn_tf.training.run_network import build_network

FOLDER = "checkpoints"


class LoadedNetwork(NamedTuple):
    """The network of a checkpoint.

    Attributes:
        network: the score network.
        config: its `Config`.
        step: training steps done.
        is_average: whether the weights are an average.
    """

    network: keras.Model
    config: Config
    step: int
    is_average: bool


class Run(NamedTuple):
    """A run whose newest checkpoint was read.

    Attributes:
        run_dir: the run's folder.
        path: the checkpoint.
        network, config, step, is_average: those of `LoadedNetwork`.
    """

    run_dir: Path
    path: str
    network: keras.Model
    config: Config
    step: int
    is_average: bool

    @property
    def weights(self) -> str:
        """What the weights are, in words."""
        return "averaged weights" if self.is_average else "weights"


def open_run(workdir: str | PathLike = "", average: bool = True) -> Run:
    """The newest checkpoint of a run, its network built under the current distribution strategy.

    Args:
        workdir: the run's folder; empty is the newest run in runs/.
        average: take the averaged weights where the run kept an average.

    Raises:
        UserError: no run, no checkpoint, or a damaged one.

    `open_run("runs/mnist").network(x, levels)` is then the score.
    """
    run_dir = find_run(workdir)
    path = latest(run_dir)
    return Run(run_dir, path, *load_network(path, average))


def latest(run_dir: str | PathLike) -> str:
    """Path of a run's newest checkpoint.

    Raises:
        UserError: when there is none.
    """
    path = tf.train.latest_checkpoint(str(Path(run_dir) / FOLDER))
    if path is None:
        raise UserError(f"{run_dir} holds no checkpoint: train first, or name another --workdir")
    return path


def newest_run(runs: str | PathLike = "runs") -> Path:
    """The run below `runs` whose checkpoints were written to last.

    Raises:
        UserError: when there is none.
    """
    states = sorted(
        Path(runs).glob(f"*/{FOLDER}/checkpoint"), key=lambda path: path.stat().st_mtime
    )
    if not states:
        raise UserError(f"no run in {runs}/: train first (train.py), or name one with --workdir")
    return states[-1].parent.parent


def find_run(workdir: str | PathLike = "") -> Path:
    """The run's folder that a user named; the newest run where none was named.

    Raises:
        UserError: none was named, and there is none.
    """
    return Path(workdir).expanduser() if workdir else newest_run()


def saved_config(path: str) -> Config:
    """The `Config` stored in a checkpoint."""
    with readable(path):
        text = tf.train.load_variable(path, "config/.ATTRIBUTES/VARIABLE_VALUE")
    return Config.from_json(text.decode())


def load_network(path: str, use_average: bool = True) -> LoadedNetwork:
    """The network of a checkpoint, built under the current distribution strategy.

    Args:
        path: a checkpoint, as from `latest`.
        use_average: take the averaged weights where the run kept an average.

    Raises:
        UserError: the checkpoint is damaged.
    """
    config = saved_config(path)
    average = use_average and config.ema_decay > 0
    network = build_network(config)
    with readable(path):
        part = {"average" if average else "network": network}
        status = tf.train.Checkpoint(**part).restore(path)
        status.assert_existing_objects_matched().expect_partial()
        step = int(tf.train.load_variable(path, "step/.ATTRIBUTES/VARIABLE_VALUE"))
    return LoadedNetwork(network, config, step, average)


def save_network(
    network: keras.Model, config: Config, step: int = 0, average: keras.Model | None = None
) -> str:
    """Write a network's weights as the checkpoint of a run that has done `step` steps.

    Args:
        network: the network.
        config: the run's `Config`; its `ema_decay` is positive if and only if there is an average.
        step: training steps done.
        average: the network with the averaged weights; None without an average.

    Returns:
        the path of the checkpoint.
    """
    config.save(config.run_dir / "config.json")
    parts = {
        "network": network,
        "step": tf.Variable(step, dtype=tf.int64),
        "config": tf.Variable(config.to_json(), dtype=tf.string),
    }
    if average is not None:
        parts["average"] = average
    checkpoint = tf.train.Checkpoint(**parts)
    folder = str(config.run_dir / FOLDER)
    manager = tf.train.CheckpointManager(checkpoint, folder, 1, checkpoint_name="step")
    return manager.save(checkpoint_number=step)


@contextlib.contextmanager
def readable(path: str) -> Iterator[None]:
    """What TensorFlow raises on a damaged or foreign checkpoint, as one line."""
    try:
        yield
    except (tf.errors.OpError, AssertionError, ValueError, LookupError) as error:
        raise UserError(
            f"checkpoint {path} cannot be read ({first_line(error)}); "
            "delete its files and its line in the file 'checkpoint' to use the one before"
        ) from error


def first_line(error: Exception) -> str:
    """The first line of what an error says; its type where it says nothing."""
    return (str(getattr(error, "message", error)).strip().splitlines() or [type(error).__name__])[0]
