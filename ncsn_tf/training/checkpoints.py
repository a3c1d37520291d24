"""Checkpoints of a run: which one is opened, the network in it, a network as a run."""

import dataclasses
import os
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from ncsn_tf.backend.blank_weights import blank_weights
from ncsn_tf.errors import UserError
from ncsn_tf.settings.checkpoint import NEWEST, no_checkpoint
from ncsn_tf.settings.config import Config
from ncsn_tf.training import best_files, checkpoint_files, checkpoint_reading
from ncsn_tf.training.checkpoint_choice import find_run, named, there
from ncsn_tf.training.checkpoint_reading import UnreadableError, read_tensors, readable
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
    """A run of which a checkpoint was read.

    Attributes:
        run_dir: the run's folder.
        path: the checkpoint.
        network, config, step, is_average: those of `LoadedNetwork`.
        length: relative length of the average that `training.averages` has made; None of others.
    """

    run_dir: Path
    path: str
    network: keras.Model
    config: Config
    step: int
    is_average: bool
    length: float | None = None

    @property
    def kind(self) -> str:
        """What the weights are, as figures and exports record it."""
        if self.length is not None:
            return f"average of length {self.length:g}"
        return "average" if self.is_average else "raw"

    @property
    def weights(self) -> str:
        """What the weights are, in words."""
        if self.length is not None:
            return self.kind
        return "averaged weights" if self.is_average else "weights"

    @property
    def origin(self) -> str:
        """Which weights these are, in words: "weights of step 200", and what they compute in."""
        is_best = Path(self.path).parent == best_files.folder_of(self.run_dir)
        return f"{self.weights} of step {self.step}{', the best' * is_best}{self.arithmetic}"

    @property
    def arithmetic(self) -> str:
        """What the network computes in, in words after others; "" for float32, which is usual."""
        precision = self.config.precision
        return "" if precision == "float32" else f", in {precision} as it was trained"


def open_run(
    workdir: str | PathLike = "", average: bool = True, checkpoint: str | int = NEWEST
) -> Run:
    """A checkpoint of a run, its network built under the current strategy.

    Args:
        workdir: the run's folder; empty is the newest run in runs/.
        average: take the averaged weights where the run kept an average.
        checkpoint: "newest", the newest one that is intact: damaged ones are named in a warning,
            and left as they are; "best", the one that training kept by a figure of quality; or a
            step.

    Raises:
        ConfigError: `checkpoint` is something else.
        UserError: no run, no such checkpoint, or none that can be read.

    `open_run("runs/mnist").network(x, levels)` is then the score.
    """
    run_dir = find_run(workdir)
    path, loaded = _read(run_dir, checkpoint, lambda path: load_network(path, average))
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


def _read(run_dir, checkpoint, read):
    """(path, read(path)) of the checkpoint that was asked for."""
    if checkpoint == NEWEST:
        return _newest(run_dir, read)
    while True:
        path = named(run_dir, checkpoint)
        try:
            return path, read(path)
        except UnreadableError as error:
            if os.path.lexists(f"{path}.index"):
                # Nobody who names a checkpoint means another one.
                raise UserError(
                    f"checkpoint {path} cannot be read ({error.cause}): name another one with "
                    f"--checkpoint; there are {there(run_dir)}"
                ) from None
            # Training has removed it meanwhile: a better one may have its place.


def _newest(run_dir, read):
    """(path, read(path)) of a run's newest intact checkpoint."""
    found = checkpoint_reading.newest_intact(run_dir, read)
    if found is None:
        raise no_checkpoint(run_dir)
    checkpoint_reading.pass_over(found.damaged)
    return found.path, found.content


def saved_config(path: str) -> Config:
    """The `Config` stored in a checkpoint, its precision `settled`."""
    with readable(path) as plain:
        text = tf.train.load_variable(plain, "config/.ATTRIBUTES/VARIABLE_VALUE")
    return _of_a_run(Config.from_json(text.decode()))


def _of_a_run(config):
    """The `Config` that a run has: which arithmetic is its own is not left open."""
    return dataclasses.replace(config, precision=config.settled().precision)


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
    with blank_weights():
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
    config = _of_a_run(config)
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
