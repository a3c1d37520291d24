"""The checkpoints of a run as it trains: what is in them, written and resumed."""

import tensorflow as tf

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.settings.config import Config, differences
from ncsn_tf.training.checkpoints import FOLDER, first_line, readable, saved_config
from ncsn_tf.training.state import TrainingState


class RunCheckpoints:
    """The checkpoints of one run: weights, their average, optimizer, counters and config.

    The place in the data is the step: batches are a function of it (see `data`).

    Args:
        state: the run's `TrainingState`, built.
        config: the run's `Config`.
    """

    def __init__(self, state: TrainingState, config: Config):
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

    def restore(self) -> bool:
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
        with readable(path):
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

    def save(self) -> str:
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
                f"{first_line(error)}; the earlier ones are intact"
            ) from None
