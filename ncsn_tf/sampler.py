"""Draws images from a network with a run's sampling settings, in pieces that can be watched."""

import functools

import numpy as np
import tensorflow as tf

from ncsn_tf import sampling
from ncsn_tf.compat import read_weights
from ncsn_tf.samplers import make_chain, step_sizes
from ncsn_tf.sampling import Rows

NUM_PIECES = 100


class Sampler:
    """A compiled chain, advanced a piece at a time for progress and movies.

    Args:
        network: a score network, built inside the scope of the current distribution strategy.
        config: the run's `Config`: noise levels and sampling settings.
        chain: the `sampling.Chain`; None is the one that the settings describe.

    Attributes:
        pieces: the (start, stop) steps that are run at once.
        num_evaluations: network evaluations of an image; None where that is known only afterwards.
        evaluations: those of each image of the last `draw`, int [B]; None where they were known.

    Raises:
        ConfigError: settings with which the chain cannot work.
    """

    def __init__(self, network, config, chain=None):
        self.config = config
        self.network = network
        self.chain = make_chain(config) if chain is None else chain
        self.strategy = tf.distribute.get_strategy()
        num_steps = self.chain.num_steps(config.num_steps_each)
        piece = max(1, num_steps // NUM_PIECES)
        starts = range(0, num_steps, piece)
        self.pieces = [(start, min(start + piece, num_steps)) for start in starts]
        self.num_evaluations = self.chain.num_evaluations(config.num_steps_each)
        self.evaluations = None
        self._step_lr = float(step_sizes(config, config.num_steps_each)[0])
        self._start = tf.function(self._start_replica, autograph=False)
        self._advance = tf.function(self._advance_all, autograph=False)
        self._finish = tf.function(self._finish_all, autograph=False)

    def draw(self, seeds, on_piece=None, condition=()):
        """Images for the seeds.

        Args:
            seeds: int64 [B], any number.
            on_piece: called after each of `len(self.pieces)` pieces with a function that returns
                the state x, float32 [B, H, W, C], not clipped.
            condition: what the chain wants of each image, (nested) arrays [B, ...].

        Returns:
            float32 numpy array [B, H, W, C] in [0, 1].
        """
        replicas = self.strategy.num_replicas_in_sync
        seeds = np.asarray(seeds, np.int64)

        def share(values):
            """A replica's part of arrays [B, ...], padded with zeros to equal parts."""
            padded = np.pad(values, [(0, -len(seeds) % replicas)] + [(0, 0)] * (values.ndim - 1))
            parts = np.split(padded, replicas)
            return self.strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(parts[context.replica_id_in_sync_group])
            )

        shares = tf.nest.map_structure(share, (seeds, condition))
        state = self.strategy.run(self._start, args=(shares[0],))

        def gather(values):
            return np.concatenate(
                [part.numpy() for part in self.strategy.experimental_local_results(values)]
            )[: len(seeds)]

        for start, stop in self.pieces:
            state = self._advance(state, *shares, tf.constant(start), tf.constant(stop))
            if on_piece is not None:
                on_piece(lambda state=state: gather(self.chain.images(state)))
        counted = self.chain.evaluations(state)
        if counted is not None:
            self.evaluations = gather(counted) + int(self.chain.denoise)
        return gather(self._finish(state, *shares))

    def _start_replica(self, seeds):
        return self.chain.start(seeds, self.config.image_shape)

    def _advance_all(self, state, seeds, condition, start, stop):
        def advance(score_fn, state, rows):
            return self.chain.advance(score_fn, state, rows, start, stop)

        return self._in_tiles(advance, state, seeds, condition, self.chain.dtypes)

    def _finish_all(self, state, seeds, condition):
        def finish(score_fn, state, rows):
            return tf.clip_by_value(self.chain.finish(score_fn, state, rows), 0.0, 1.0)

        return self._in_tiles(finish, state, seeds, condition, tf.float32)

    def _in_tiles(self, fn, state, seeds, condition, dtypes):
        """fn(score_fn, state, rows) on every replica, tile by tile."""
        config = self.config

        def on_replica(state, seeds, condition):
            rows = Rows.fill(seeds, self._step_lr, config.num_steps_each, condition)
            on_tile = functools.partial(fn, read_weights(self.network))
            return sampling.in_tiles(on_tile, config.sampling_tile, state, rows, dtypes=dtypes)

        return self.strategy.run(on_replica, args=(state, seeds, condition))
