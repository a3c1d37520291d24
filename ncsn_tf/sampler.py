"""Draws images from a network with a run's sampling settings, in pieces that can be watched."""

import numpy as np
import tensorflow as tf

from ncsn_tf import sampling
from ncsn_tf.schedule import geometric_sigmas

NUM_PIECES = 100


class Sampler:
    """A compiled annealed Langevin chain, advanced a piece at a time for progress and movies.

    Args:
        network: an `NCSN`, built inside the scope of the current distribution strategy.
        config: the run's `Config`: noise levels and sampling settings.
    """

    def __init__(self, network, config):
        self.config = config
        self.network = network
        self.strategy = tf.distribute.get_strategy()
        self.sigmas = geometric_sigmas(config.sigma_begin, config.sigma_end, config.num_levels)
        self.num_steps = config.num_levels * config.num_steps_each
        piece = max(1, self.num_steps // NUM_PIECES)
        starts = range(0, self.num_steps, piece)
        self.pieces = [(start, min(start + piece, self.num_steps)) for start in starts]
        self._start = tf.function(self._start_replica, autograph=False)
        self._advance = tf.function(self._advance_all, autograph=False)
        self._finish = tf.function(self._finish_all, autograph=False)

    def draw(self, seeds, on_piece=None):
        """Images for the seeds.

        Args:
            seeds: int64 [B], any number.
            on_piece: called after each of `len(self.pieces)` pieces with a function that returns
                the state x, float32 [B, H, W, C], not clipped.

        Returns:
            float32 numpy array [B, H, W, C] in [0, 1].
        """
        replicas = self.strategy.num_replicas_in_sync
        seeds = np.asarray(seeds, np.int64)
        padded = np.pad(seeds, (0, -len(seeds) % replicas))
        shares = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                np.split(padded, replicas)[context.replica_id_in_sync_group]
            )
        )
        x = self.strategy.run(self._start, args=(shares,))

        def gather(x):
            return np.concatenate(
                [part.numpy() for part in self.strategy.experimental_local_results(x)]
            )[: len(seeds)]

        for start, stop in self.pieces:
            x = self._advance(x, shares, tf.constant(start), tf.constant(stop))
            if on_piece is not None:
                on_piece(lambda x=x: gather(x))
        return gather(self._finish(x))

    def _start_replica(self, seeds):
        return sampling.initial_state(seeds, self.config.image_shape)

    def _advance_all(self, x, seeds, start, stop):
        def advance(x, seeds):
            return sampling.langevin_steps(
                self.network,
                x,
                seeds,
                self.sigmas,
                self.config.step_lr,
                self.config.num_steps_each,
                start,
                stop,
            )

        return self.strategy.run(
            lambda x, seeds: sampling.in_tiles(advance, self.config.sampling_tile, x, seeds),
            args=(x, seeds),
        )

    def _finish_all(self, x):
        def finish(x):
            return sampling.finish(self.network, x, self.sigmas, self.config.denoise, clip=True)

        return self.strategy.run(
            lambda x: sampling.in_tiles(finish, self.config.sampling_tile, x), args=(x,)
        )
