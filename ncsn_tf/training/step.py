"""The compiled training step: the objective, Adam, the average of the weights."""

import functools

import tensorflow as tf

from ncsn_tf.backend.compat import raw_variable, raw_variables
from ncsn_tf.backend.compat_optimizers import apply_gradients
from ncsn_tf.backend.devices import is_cpu
from ncsn_tf.backend.tiles import PARALLEL_TILES, training_tile
from ncsn_tf.settings.config import Config
from ncsn_tf.training.dropout import dropout_noise
from ncsn_tf.training.objective import objective_of
from ncsn_tf.training.optimizers import clip_share, warmed_up
from ncsn_tf.training.run_labels import dropped, labelling
from ncsn_tf.training.state import TrainingState, average_decay, copies, split


class TrainingStep:
    """One step on one global batch, under the distribution strategy; nothing returns to the host.

    Every random number is a function of (seed, step, index of the example in the global batch), so
    that neither the number of replicas nor an interruption changes the run. A step whose loss or
    gradient is not finite leaves the weights and the optimizer as they were and is counted.

    Args:
        state: a `TrainingState`.
        config: its `Config`.
        strategy: the distribution strategy the state was made under.
    """

    def __init__(self, state: TrainingState, config: Config, strategy: tf.distribute.Strategy):
        self.state = state
        self.config = config
        self.strategy = strategy
        self.objective = objective_of(config)
        self.totals = Totals(config.num_levels)
        self.jit_compile = config.settled().jit_compile
        self.gradients = tf.function(
            self._gradients, jit_compile=self.jit_compile or None, autograph=False
        )
        self.run = tf.function(self._run, autograph=False)
        self.run_many = tf.function(self._run_many, autograph=False)

    def _run_many(self, batches, count):
        """The next `count` batches of an iterator, one step each, in one call."""

        def step(index):
            self._run(next(batches))
            return (index + 1,)

        tf.while_loop(lambda index: index < count, step, (0,), parallel_iterations=1)

    def _run(self, batch):
        images, *labels = batch if self.config.num_classes else (batch,)
        step = self.state.step.read_value()
        gradient, loss, level_losses, level_counts = (
            self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
            for value in self.strategy.run(self._replica_gradients, args=(images, step, *labels))
        )
        norm = tf.sqrt(2.0 * tf.nn.l2_loss(gradient))
        good = tf.math.is_finite(loss) & tf.math.is_finite(norm)
        tf.cond(good, lambda: self._update(gradient, norm), lambda: None)
        self.state.step.assign_add(1)
        self._count(good)
        self.totals.add(good, loss, norm, level_losses, level_counts)

    def _replica_gradients(self, images, step, labels=None):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        size = images.shape[0]
        return self.gradients(images, replica * size + tf.range(size), step, labels)

    def _gradients(self, images, positions, step, labels=None):
        """`_tile_gradients` of a replica's share of the batch, summed over its tiles.

        Tiles are computed side by side on a CPU's cores, which keeps them busier than many cores at
        one operation do; they are added in their order, whatever finishes first.
        """
        size = images.shape[0]
        tile = training_tile(
            size,
            self.config.features,
            is_cpu(self.strategy),
            self.config.training_tile,
            self.jit_compile,
        )
        if tile == size:
            return self._tile_gradients(images, positions, step, labels)
        images = tf.reshape(images, [-1, tile, *self.config.image_shape])
        positions = tf.reshape(positions, [-1, tile])
        tiles = None if labels is None else tf.reshape(labels, [-1, tile])

        def add(index, *sums):
            labels = None if tiles is None else tiles[index]
            parts = self._tile_gradients(images[index], positions[index], step, labels)
            return index + 1, *(total + part for total, part in zip(sums, parts, strict=True))

        by_level = tf.zeros([self.config.num_levels])
        sums = (tf.zeros_like(self.state.weights.vector), tf.zeros([]), by_level, by_level)
        _, *sums = tf.while_loop(
            lambda index, *_: index < size // tile,
            add,
            (0, *sums),
            parallel_iterations=PARALLEL_TILES if is_cpu(self.strategy) else 1,
        )
        return tuple(sums)

    def _tile_gradients(self, images, positions, step, labels):
        """Gradient [P] and these examples' share of the mean loss; losses by noise level."""
        config = self.config
        seeds = tf.fill([images.shape[0]], tf.constant(config.seed, tf.int64))
        if labels is not None:
            labels = dropped(labels, config, seeds, (positions, step))
        with tf.GradientTape() as tape:
            per_example, levels = self.objective.per_example(
                labelling(self._network(seeds, positions, step), labels),
                *(images, seeds, (positions, step)),
            )
            loss = tf.reduce_sum(per_example) / config.batch_size
        gradients = tape.gradient(loss, raw_variables(self.state.network))
        ones = tf.ones_like(per_example)
        return (
            self.state.weights.flatten(gradients),
            loss,
            tf.math.unsorted_segment_sum(per_example, levels, config.num_levels),
            tf.math.unsorted_segment_sum(ones, levels, config.num_levels),
        )

    def _network(self, seeds, positions, step):
        """The network as it is trained: with dropout, where the settings say so."""
        if not self.config.dropout:
            return self.state.network
        noise = dropout_noise(seeds, positions, step)
        return functools.partial(self.state.network, training=True, dropout_noise=noise)

    def _update(self, gradient, norm):
        state, config = self.state, self.config
        updates = state.step - state.skipped_steps  # before this one
        if config.warmup_steps:
            rate = warmed_up(config.learning_rate, updates, config.warmup_steps)
            for copy in copies(raw_variable(state.optimizer.learning_rate)):
                copy.assign(rate)

        def apply():
            # apply_gradients sums over the replicas, which all hold the whole sum already.
            replicas = self.strategy.num_replicas_in_sync
            share = gradient / replicas if replicas > 1 else gradient
            if config.gradient_clip:
                share = share * clip_share(norm, config.gradient_clip)
            shares = [share] if state.is_flat else split(share, raw_variables(state.network))
            apply_gradients(state.optimizer, shares, state.optimized)

        self.strategy.run(apply)
        if state.is_flat:
            state.weights.copy_to(state.network)
        else:
            state.weights.copy_from(state.network)
        if state.average is not None:
            decay = config.ema_decay
            if config.average_ramp:
                decay = average_decay(decay, updates + 1)
            state.average.move_towards(state.weights, 1.0 - decay)
        state.average_by_power(updates + 1)

    def _count(self, good):
        state = self.state
        bad = tf.cast(~good, tf.int64)
        state.bad_steps.assign((state.bad_steps + 1) * bad)
        state.worst_bad_steps.assign(tf.maximum(state.worst_bad_steps, state.bad_steps))
        state.skipped_steps.assign_add(bad)


class Totals:
    """Sums over the good steps since the last report, kept on the device until `report`."""

    def __init__(self, num_levels: int):
        self.loss = tf.Variable(0.0)
        self.gradient_norm = tf.Variable(0.0)
        self.steps = tf.Variable(0.0)
        self.level_losses = tf.Variable(tf.zeros([num_levels]))
        self.level_counts = tf.Variable(tf.zeros([num_levels]))

    def add(
        self,
        good: tf.Tensor,
        loss: tf.Tensor,
        norm: tf.Tensor,
        level_losses: tf.Tensor,
        level_counts: tf.Tensor,
    ) -> None:
        """Add a step, if it was good: its loss and gradient norm, [L] of its losses by level."""

        def keep(value):
            return tf.where(good, value, tf.zeros_like(value))

        self.loss.assign_add(keep(loss))
        self.gradient_norm.assign_add(keep(norm))
        self.steps.assign_add(tf.cast(good, tf.float32))
        self.level_losses.assign_add(keep(level_losses))
        self.level_counts.assign_add(keep(level_counts))

    def report(self) -> tuple[float | None, float | None, list[float | None]]:
        """Means since the last report; None for what was never seen.

        Returns:
            (loss, gradient norm, [loss of each level]).
        """

        def mean(total, count):
            return float(total) / float(count) if count else None

        steps = self.steps.numpy()
        levels = zip(self.level_losses.numpy(), self.level_counts.numpy(), strict=True)
        values = (
            mean(self.loss.numpy(), steps),
            mean(self.gradient_norm.numpy(), steps),
            [mean(total, count) for total, count in levels],
        )
        for variable in vars(self).values():
            variable.assign(tf.zeros_like(variable))
        return values
