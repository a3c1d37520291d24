"""Everything that a training run changes: weights, their average, the optimizer, the counters."""

import keras
import tensorflow as tf

from ncsn_tf.compat import build_optimizer
from ncsn_tf.flat import FlatWeights
from ncsn_tf.networks import NCSN, NCSNv2
from ncsn_tf.optimizers import make_optimizer
from ncsn_tf.schedule import geometric_sigmas


def build_network(config, recompute=False):
    """The `NCSN` or `NCSNv2` of a run, with fresh weights: every command builds it here."""
    shape, features = config.image_shape, config.features
    options = {"recompute": recompute, "dtype": config.precision}
    if config.model == "ncsnv2":
        sigmas = geometric_sigmas(config.sigma_begin, config.sigma_end, config.num_levels)
        return NCSNv2(shape, features, sigmas, config.depth, **options)
    return NCSN(shape, features, config.num_levels, **options)


class TrainingState:
    """The variables of a run.

    Args:
        config: the run's `Config`.
        strategy: the distribution strategy under which the weights are created.

    Attributes:
        network: the network being trained.
        weights: its weights as one vector.
        is_flat: whether the optimizer works on that vector, or else on the network's own weights.
        optimized: the variables that the optimizer works on.
        evaluation_network: what test loss, samples and export use: the network whose weights are
            the exponential moving average (after `refresh_average`), or `network` without one.
        step: int64, training steps done, skipped ones included.
        bad_steps: int64, skipped steps since the last good one.
        worst_bad_steps: int64, the longest such row since the run was started or resumed.
        skipped_steps: int64, all skipped steps of the run.
    """

    def __init__(self, config, strategy):
        keras.utils.set_random_seed(config.seed)
        with strategy.scope():
            self.network = build_network(config, config.recompute)
            self.weights = FlatWeights(self.network)
            self.optimizer, self.is_flat = make_optimizer(config)
            self.optimized = (
                [self.weights.weight] if self.is_flat else self.network.trainable_variables
            )
            build_optimizer(self.optimizer, self.optimized)
            self.average = None
            self.evaluation_network = self.network
            if config.ema_decay:
                self.average = FlatWeights(self.network)
                self.evaluation_network = build_network(config)
        self.step = tf.Variable(0, dtype=tf.int64, name="step")
        self.bad_steps = tf.Variable(0, dtype=tf.int64, name="bad_steps")
        self.worst_bad_steps = tf.Variable(0, dtype=tf.int64, name="worst_bad_steps")
        self.skipped_steps = tf.Variable(0, dtype=tf.int64, name="skipped_steps")
        self.weights.copy_from(self.network)
        if self.average is not None:
            self.average.copy_from(self.network)
            self._refresh = tf.function(
                lambda: self.average.copy_to(self.evaluation_network), autograph=False
            )
            self.refresh_average()

    def refresh_average(self):
        """Give the evaluation network the current average of the weights."""
        if self.average is not None:
            self._refresh()

    def flatten(self):
        """Give the flat copies the networks' weights, after those were restored."""
        self.weights.copy_from(self.network)
        if self.average is not None:
            self.average.copy_from(self.evaluation_network)
