"""A run's own training step on synthetic images, for the measurements that need one."""

import tensorflow as tf

from ncsn_tf.settings.config import Config
from ncsn_tf.training.state import TrainingState
from ncsn_tf.training.step import TrainingStep


class SyntheticTraining:
    """`TrainingStep` on one fixed batch of uniform noise, each replica's share on its device.

    Args:
        config: the run's `Config`.
        strategy: the distribution strategy.
    """

    def __init__(self, config: Config, strategy: tf.distribute.Strategy):
        config.check_replicas(strategy.num_replicas_in_sync)
        self.state = TrainingState(config, strategy)
        self.step_fn = TrainingStep(self.state, config, strategy)
        share = config.batch_size // strategy.num_replicas_in_sync
        self.images = strategy.experimental_distribute_values_from_function(
            lambda context: tf.random.stateless_uniform(
                [share, *config.image_shape], [context.replica_id_in_sync_group, 0]
            )
        )

    def trace(self) -> tf.compat.v1.GraphDef:
        """Build the step's graph, without running it. Returns its GraphDef."""
        return self.step_fn.run.get_concrete_function(self.images).graph.as_graph_def()

    def step(self, images: object = None) -> None:
        """One step, to its end; on the fixed batch, or on the one given."""
        self.step_fn.run(self.images if images is None else images)
        self.state.step.numpy()  # waits for the device

    def check(self) -> None:
        """Raise a ValueError if steps were skipped: those did not do the whole work."""
        skipped = int(self.state.skipped_steps.numpy())
        if skipped:
            raise ValueError(f"{skipped} steps were not finite: their times mean nothing")
