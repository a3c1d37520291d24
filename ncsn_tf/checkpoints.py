"""Checkpoints of a run: what is in them, how they are written, resumed and read."""

import contextlib
from pathlib import Path

import tensorflow as tf

from ncsn_tf.config import Config, differences
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.state import build_network

FOLDER = "checkpoints"


class RunCheckpoints:
    """The checkpoints of one run: weights, their average, optimizer, counters and config.

    The place in the data is the step: batches are a function of it (see `data`).

    Args:
        state: the run's `TrainingState`, built.
        config: the run's `Config`.
    """

    def __init__(self, state, config):
        self.state = state
        self.config = config
        self.folder = config.run_dir / FOLDER
        self.config_text = tf.Variable(config.to_json(), dtype=tf.string, name="config")
        parts = {
            "network": state.network,
            "optimizer": state.optimizer,
            "step": state.step,
            "skipped_steps": state.skipped_steps,
            "config": self.config_text,
        }
        if state.average is not None:
            parts["average"] = state.evaluation_network
        self.checkpoint = tf.train.Checkpoint(**parts)
        self.manager = tf.train.CheckpointManager(
            self.checkpoint, str(self.folder), config.keep_checkpoints, checkpoint_name="step"
        )

    def restore(self):
        """Continue from the newest checkpoint.

        Returns:
            whether there was one.

        Raises:
            ConfigError: the run was started with other settings; every difference is listed.
            UserError: the checkpoint is damaged, or has not the state that this run keeps.
        """
        path = self.manager.latest_checkpoint
        if path is None:
            return False
        changed = differences(saved_config(path), self.config)
        if changed:
            raise ConfigError(
                f"{self.config.run_dir} was started with other settings ({'; '.join(changed)}); "
                "use the same flags to resume, or another --workdir"
            )
        with _readable(path):
            status = self.checkpoint.restore(path)
        try:
            status.assert_existing_objects_matched()
            status.assert_consumed()
        except AssertionError:
            raise UserError(
                f"checkpoint {path} cannot be resumed here: it holds weights without an optimizer, "
                "or the other package set wrote it (requirements.txt, requirements-addons.txt), "
                "whose optimizers keep other variables; sample.py and export read its weights"
            ) from None
        self.config_text.assign(self.config.to_json())
        self.state.flatten()
        return True

    def save(self):
        """Write a checkpoint of this step, unless it exists. Returns its path."""
        step = int(self.state.step.numpy())
        self.state.refresh_average()
        latest = self.manager.latest_checkpoint
        if latest == str(self.folder / f"step-{step}"):
            return latest
        try:
            return self.manager.save(checkpoint_number=step)
        except tf.errors.OpError as error:
            raise UserError(
                f"the checkpoint of step {step} cannot be written to {self.folder}: "
                f"{_first_line(error)}; the earlier ones are intact"
            ) from None


def save_network(network, config, step=0, average=None):
    """Write a network's weights as the checkpoint of a run that has done `step` steps.

    Args:
        network: the network.
        config: the run's `Config`; its `ema_decay` is positive if and only if there is an average.
        step: training steps done.
        average: the network with the averaged weights; None without an average.
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


def latest(run_dir):
    """Path of a run's newest checkpoint.

    Raises:
        UserError: when there is none.
    """
    path = tf.train.latest_checkpoint(str(Path(run_dir) / FOLDER))
    if path is None:
        raise UserError(f"{run_dir} holds no checkpoint: train first, or name another --workdir")
    return path


def newest_run(runs="runs"):
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


def saved_config(path):
    """The `Config` stored in a checkpoint."""
    with _readable(path):
        text = tf.train.load_variable(path, "config/.ATTRIBUTES/VARIABLE_VALUE")
    return Config.from_json(text.decode())


def load_network(path, use_average=True):
    """The network of a checkpoint, built under the current distribution strategy.

    Args:
        path: a checkpoint, as from `latest`.
        use_average: take the averaged weights where the run kept an average.

    Returns:
        (network, its `Config`, the training step, whether the weights are an average).

    Raises:
        UserError: the checkpoint is damaged.
    """
    config = saved_config(path)
    average = use_average and config.ema_decay > 0
    network = build_network(config)
    with _readable(path):
        part = {"average" if average else "network": network}
        status = tf.train.Checkpoint(**part).restore(path)
        status.assert_existing_objects_matched().expect_partial()
        step = int(tf.train.load_variable(path, "step/.ATTRIBUTES/VARIABLE_VALUE"))
    return network, config, step, average


@contextlib.contextmanager
def _readable(path):
    """What TensorFlow raises on a damaged or foreign checkpoint, as one line."""
    try:
        yield
    except (tf.errors.OpError, AssertionError, ValueError, LookupError) as error:
        raise UserError(
            f"checkpoint {path} cannot be read ({_first_line(error)}); "
            "delete its files and its line in the file 'checkpoint' to use the one before"
        ) from error


def _first_line(error):
    return (str(getattr(error, "message", error)).strip().splitlines() or [type(error).__name__])[0]
