"""Everything that a training run changes: weights, their average, the optimizer, the counters."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from ncsn_tf.backend.blank_weights import blank_weights
from ncsn_tf.backend.compat import raw_variable, raw_variables
from ncsn_tf.backend.compat_optimizers import build_optimizer
from ncsn_tf.settings.averages import lengths_of
from ncsn_tf.settings.config import Config
from ncsn_tf.training.optimizers import make_optimizer
from ncsn_tf.training.power_average import gamma_of
from ncsn_tf.training.run_network import build_network


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
        power_averages: {relative length: the average of that length as one vector}, of
            `--ema_power`; see `power_average`.
        step: int64, training steps done, skipped ones included.
        bad_steps: int64, skipped steps since the last good one.
        worst_bad_steps: int64, the longest such row since the run was started or resumed.
        skipped_steps: int64, all skipped steps of the run.
    """

    def __init__(self, config: Config, strategy: tf.distribute.Strategy):
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
                with blank_weights():
                    self.evaluation_network = build_network(config)
                # What is not trained has no average: the frequencies of a Fourier embedding.
                fixed = (self.evaluation_network, self.network)
                for copy, own in zip(
                    *(network.non_trainable_variables for network in fixed), strict=True
                ):
                    copy.assign(own)
            self.power_averages = {
                length: FlatWeights(self.network)
                for length in lengths_of("ema_power", config.ema_power)
            }
        self.step = tf.Variable(0, dtype=tf.int64, name="step")
        self.bad_steps = tf.Variable(0, dtype=tf.int64, name="bad_steps")
        self.worst_bad_steps = tf.Variable(0, dtype=tf.int64, name="worst_bad_steps")
        self.skipped_steps = tf.Variable(0, dtype=tf.int64, name="skipped_steps")
        self.weights.copy_from(self.network)
        for average in self.power_averages.values():
            average.copy_from(self.network)
        if self.average is not None:
            self.average.copy_from(self.network)
            self._refresh = tf.function(
                lambda: self.average.copy_to(self.evaluation_network), autograph=False
            )
            # Not yet by the graph, which takes a second to trace: the first step waits for this.
            self.average.copy_to(self.evaluation_network)

    def refresh_average(self) -> None:
        """Give the evaluation network the current average of the weights."""
        if self.average is not None:
            self._refresh()

    def average_by_power(self, updates: tf.Tensor) -> None:
        """Move the averages of `power_averages` towards the weights of an update, the n-th."""
        for length, average in self.power_averages.items():
            average.move_towards(self.weights, power_fraction(gamma_of(length), updates))

    def flatten(self) -> None:
        """Give the flat copies the networks' weights, after those were restored."""
        self.weights.copy_from(self.network)
        if self.average is not None:
            self.average.copy_from(self.evaluation_network)


class FlatWeights(keras.layers.Layer):
    """The trainable weights of a network as one vector [P], in `trainable_variables`' order.

    An element-wise optimizer, the average of the weights and the sum of gradients over replicas
    then handle one variable instead of hundreds: the same numbers from a hundredth of the graph.

    Args:
        network: any layer; the vector is zeros until `copy_from`.

    Example:
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 2))
        >>> flat = FlatWeights(layer)
        >>> tuple(flat.vector.shape)
        (9,)
    """

    def __init__(self, network: keras.layers.Layer, **kwargs):
        super().__init__(**kwargs)
        size = sum(variable.shape.num_elements() for variable in raw_variables(network))
        self.weight = self.add_weight(
            name="weights", shape=(size,), initializer="zeros", dtype="float32"
        )
        self.vector = raw_variable(self.weight)

    def flatten(self, tensors: Sequence[tf.Tensor]) -> tf.Tensor:
        """Tensors of the weights' shapes -> [P]."""
        flat = tf.constant([-1])  # one operation of the graph, and not one a weight
        return tf.concat([tf.reshape(tensor, flat) for tensor in tensors], axis=0)

    def move_towards(self, other: "FlatWeights", fraction: float) -> None:
        """self + fraction * (other - self): a step of the exponential moving average."""
        for mine, theirs in zip(copies(self.vector), copies(other.vector), strict=True):
            # The difference and this: two passes over memory, where assign_add makes three.
            tf.raw_ops.ResourceApplyGradientDescent(
                var=mine.handle, alpha=fraction, delta=mine - theirs
            )

    def copy_from(self, network: keras.layers.Layer) -> None:
        """Set the vector to a network's weights, each replica from its own copy."""
        weights = [copies(variable) for variable in raw_variables(network)]
        for replica, vector in enumerate(copies(self.vector)):
            vector.assign(self.flatten([weight[replica] for weight in weights]))

    def copy_to(self, network: keras.layers.Layer) -> None:
        """Set a network's weights to the vector's pieces, each replica from its own copy."""
        weights = [copies(variable) for variable in raw_variables(network)]
        for replica, vector in enumerate(copies(self.vector)):
            with tf.device(vector.device):
                pieces = split(vector, [weight[replica] for weight in weights])
                for weight, piece in zip(weights, pieces, strict=True):
                    weight[replica].assign(piece)


def average_decay(decay: float, updates: tf.Tensor) -> tf.Tensor:
    """Decay of the weights' average at its n-th update: min(decay, (1 + n) / (10 + n)).

    The first weights, which are random, are soon forgotten.

    Args:
        decay: that of the end.
        updates: n, from 1.

    Source: the released code of Song et al. 2021 (arXiv:2011.13456).

    Example:
        >>> [round(float(average_decay(0.999, tf.constant(n))), 3) for n in (1, 8, 100_000)]
        [0.182, 0.5, 0.999]
    """
    count = tf.cast(updates, tf.float32)
    return tf.minimum(decay, (1.0 + count) / (10.0 + count))


def power_fraction(gamma: float, updates: tf.Tensor) -> tf.Tensor:
    """Share of the weights in an average by a power of time at its n-th update, see `decay` there.

    Args:
        gamma: the power.
        updates: n, from 1.

    Example:
        >>> [float(power_fraction(1.0, tf.constant(n))) for n in (1, 2)]
        [1.0, 0.75]
    """
    # In float32, 1 - 1/n would have lost most digits of 1/n where n is a million.
    count = tf.cast(updates, tf.float64)
    return tf.cast(-tf.math.expm1((gamma + 1.0) * tf.math.log1p(-1.0 / count)), tf.float32)


def split(vector: tf.Tensor, like: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The pieces of a vector [P], in the shapes of the tensors in `like`."""
    sizes = [tensor.shape.num_elements() for tensor in like]
    pieces = tf.split(vector, sizes)
    # Many weights have the same shape: it is an operation of the graph once.
    shapes = {shape: tf.constant(shape, tf.int32) for shape in {tuple(t.shape) for t in like}}
    return [
        tf.reshape(piece, shapes[tuple(tensor.shape)])
        for piece, tensor in zip(pieces, like, strict=True)
    ]


def copies(variable: tf.Variable) -> Sequence[tf.Variable]:
    """Each replica's copy of a variable; of one that is not replicated, itself."""
    return getattr(variable, "values", (variable,))
