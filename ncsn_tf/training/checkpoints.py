"""Checkpoints of a run: where the newest is, the network in it, a network as a run."""

import os
import time
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from ncsn_tf.errors import UserError
from ncsn_tf.files import user_path
from ncsn_tf.settings.config import Config
from ncsn_tf.training import checkpoint_files, checkpoint_reading
from ncsn_tf.training.checkpoint_reading import read_tensors, readable
from ncsn_tf.training.run_network import build_network


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
    """The newest intact checkpoint of a run, its network built under the current strategy.

    Damaged ones are named in a warning, and left as they are.

    Args:
        workdir: the run's folder; empty is the newest run in runs/.
        average: take the averaged weights where the run kept an average.

    Raises:
        UserError: no run, no checkpoint, or none that can be read.

    `open_run("runs/mnist").network(x, levels)` is then the score.
    """
    run_dir = find_run(workdir)
    path, loaded = _newest(run_dir, lambda path: load_network(path, average))
    return Run(run_dir, path, *loaded)


def open_config(workdir: str | PathLike = "") -> Config:
    """The settings of a run, of its newest intact checkpoint. Arguments and errors: `open_run`'s.

    Example:
        >>> open_config("runs/none")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        ncsn_tf.errors.UserError: runs/none holds no checkpoint: train first, or ...
    """

    def read(path):
        with readable(path) as plain:
            read_tensors(plain)
        return saved_config(path)

    return _newest(find_run(workdir), read)[1]


def _newest(run_dir, read):
    """(path, read(path)) of a run's newest intact checkpoint."""
    found = checkpoint_reading.newest_intact(run_dir, read)
    if found is None:
        raise _no_checkpoint(run_dir)
    checkpoint_reading.pass_over(found.damaged)
    return found.path, found.content


def latest(run_dir: str | PathLike) -> str:
    """Path of a run's newest checkpoint, intact or not.

    Raises:
        UserError: when there is none.
    """
    for path in checkpoint_files.listed(run_dir):
        return path
    raise _no_checkpoint(run_dir)


def _no_checkpoint(run_dir):
    return UserError(f"{run_dir} holds no checkpoint: train first, or name another --workdir")


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
        raise UserError(f"no run in {runs}/: train first (train.py), or name one with --workdir")
    return max(newest, key=newest.get)


def find_run(workdir: str | PathLike = "") -> Path:
    """The run's folder that a user named; the newest run where none was named.

    Raises:
        UserError: none was named, and there is none.
    """
    return user_path(workdir) if workdir else newest_run()


def saved_config(path: str) -> Config:
    """The `Config` stored in a checkpoint."""
    with readable(path) as plain:
        text = tf.train.load_variable(plain, "config/.ATTRIBUTES/VARIABLE_VALUE")
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
    part = "average" if average else "network"
    with readable(path) as plain:
        status = tf.train.Checkpoint(**{part: network}).restore(plain)
        status.assert_existing_objects_matched().expect_partial()
        step = int(tf.train.load_variable(plain, "step/.ATTRIBUTES/VARIABLE_VALUE"))
        read_tensors(plain, but=f"{part}/")  # as training reads them all
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
    return checkpoint_files.write(checkpoint, config.run_dir, step, keep=1)
