"""The checkpoints of a run as it trains: what is in them, written and resumed."""

from collections.abc import Callable

import tensorflow as tf

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.settings.config import Config, differences
from ncsn_tf.training import average_files, best_files, checkpoint_files, checkpoint_reading
from ncsn_tf.training.checkpoint_reading import readable
from ncsn_tf.training.checkpoints import saved_config
from ncsn_tf.training.state import TrainingState


class RunCheckpoints:
    """The checkpoints of one run: weights, their average, optimizer, counters and config.

    The place in the data is the step: batches are a function of it (see `data`).

    Args:
        state: the run's `TrainingState`, built.
        config: the run's `Config`.
        check: called before a checkpoint is written; raises a UserError if none may be.
    """

    def __init__(
        self, state: TrainingState, config: Config, check: Callable[[], None] = lambda: None
    ):
        self.state = state
        self.config = config
        self.check = check
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
        for number, average in enumerate(state.power_averages.values()):
            parts[f"power_average_{number}"] = average.vector
        self.checkpoint = tf.train.Checkpoint(**parts)

    def restore(self) -> bool:
        """Continue from the newest checkpoint that is intact; newer ones are set aside.

        Returns:
            whether there was a checkpoint.

        Raises:
            ConfigError: the run was started with other settings; every difference is listed.
            UserError: no checkpoint can be read, or the newest has not the state that this run
                keeps. Nothing is changed then.
        """
        found = checkpoint_reading.newest_intact(self.config.run_dir, self._read)
        if found is None:
            return False
        checkpoint_reading.set_aside(found.damaged)
        self.config_text.assign(self.config.to_json())
        self.state.flatten()
        return True

    def restore_step(self, step: int) -> None:
        """Continue from the checkpoint of a step, which another worker has found to be intact.

        Raises:
            ConfigError, UserError: as of `restore`.
        """
        self._read(checkpoint_files.path_of(self.config.run_dir, step))
        self.config_text.assign(self.config.to_json())
        self.state.flatten()

    def _read(self, path):
        changed = differences(saved_config(path), self.config.settled())
        if changed:
            raise ConfigError(
                f"{self.config.run_dir} was started with other settings ({'; '.join(changed)}); "
                "use the same flags to resume, or another --workdir"
            )
        with readable(path) as plain:
            status = self.checkpoint.restore(plain)
        try:
            status.assert_existing_objects_matched()
            status.assert_consumed()
        except AssertionError:
            raise UserError(
                f"checkpoint {path} cannot be resumed here: it holds weights without an optimizer, "
                "or the other package set wrote it (requirements.txt, requirements-addons.txt), "
                "whose optimizers keep other variables; sample.py and export read its weights"
            ) from None

    def save(self) -> str:
        """Write a checkpoint of this step, unless it exists. Returns its path."""
        step = int(self.state.step.numpy())
        self.state.refresh_average()
        written = checkpoint_files.listed(self.config.run_dir)[:1]
        if written and written[0].endswith(f"-{step}"):
            return written[0]
        self.check()
        return checkpoint_files.write(
            self.checkpoint, self.config.run_dir, step, self.config.keep_checkpoints
        )

    def save_averages(self) -> None:
        """Write a snapshot of the averages of `--ema_power` at this step."""
        self.check()
        average_files.write(self.config.run_dir, self.state)

    def save_best(self, figure: best_files.Measured) -> str:
        """Write this step as the best checkpoint, of that figure. Returns its path."""
        self.state.refresh_average()
        self.check()
        step = int(self.state.step.numpy())
        return best_files.write_best(self.checkpoint, self.config.run_dir, step, figure)
