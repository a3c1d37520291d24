"""Checkpoints of a run: which one is opened, the network in it, a network as a run."""

import dataclasses
import os
import time
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from ncsn_tf.errors import UserError
from ncsn_tf.files import user_path
from ncsn_tf.settings.checkpoint import BEST, NEWEST, step_of
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import show
from ncsn_tf.training import best_files, checkpoint_files, checkpoint_reading
from ncsn_tf.training.checkpoint_reading import UnreadableError, read_tensors, readable
from ncsn_tf.training.run_network import build_network

_MOST_SHOWN = 12  # steps, in a message


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
        raise _no_checkpoint(run_dir)
    raise UserError(
        f"{show('checkpoint', checkpoint)}: {run_dir} has {lacks}; there are {there(run_dir)}"
    )


def there(run_dir: str | PathLike) -> str:
    """Which checkpoints a run has, in words: "steps 100, 200 and best, of step 100"."""
    steps = [path.rpartition("-")[2] for path in reversed(checkpoint_files.listed(run_dir))]
    if len(steps) > _MOST_SHOWN:
        steps = [*steps[: _MOST_SHOWN - 2], "...", steps[-1]]
    words = [f"step{'s'[: len(steps) > 1]} {', '.join(steps)}"] if steps else []
    best = best_files.path_of(run_dir)
    if best is not None:
        words.append(f"best, of step {best.rpartition('-')[2]}")
    return " and ".join(words) or "none"


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
