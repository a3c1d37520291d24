"""Draws images from a network in pieces that can be watched, and batch after batch."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ncsn_tf.backend import signals
from ncsn_tf.backend.compat import read_weights
from ncsn_tf.backend.devices import wait_for_devices
from ncsn_tf.backend.pace import Pace
from ncsn_tf.backend.tiles import in_tiles
from ncsn_tf.sampling.chain import Chain, Rows

NUM_PIECES = 100


class Sampler:
    """A compiled chain, advanced a piece at a time for progress and movies.

    Args:
        network: a score network, built inside the scope of the current distribution strategy, or
            any score function of the chain's.
        chain: the `Chain`.
        image_shape: of one image.
        step_lr: step size at the last level, for chains that have one.
        num_steps_each: steps a level.
        tile: images that pass through the network together, see `in_tiles`.

    Attributes:
        pieces: the (start, stop) steps that are run at once.
        num_evaluations: network evaluations of an image; None where that is known only afterwards.
        evaluations: those of each image of the last `draw`, int [B]; None where they were known.

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> from ncsn_tf.sampling import AnnealedLangevin
        >>> density, sigmas = GaussianMixture([1.0], [[0.4, 0.6]], 0.01), [0.3, 0.1]
        >>> score_fn, chain = density.score_fn(sigmas), AnnealedLangevin(sigmas)
        >>> sampler = Sampler(score_fn, chain, (2,), step_lr=1e-2, num_steps_each=2, tile=8)
        >>> states = []
        >>> images = sampler.draw([7, 8, 9], lambda state: states.append(state()))
        >>> images.shape, len(states), sampler.num_evaluations
        ((3, 2), 4, 4)
    """

    def __init__(
        self,
        network: Callable,
        chain: Chain,
        image_shape: Sequence[int],
        *,
        step_lr: float,
        num_steps_each: int,
        tile: int,
    ) -> None:
        self.network = network
        self.chain = chain
        self.image_shape = tuple(image_shape)
        self.step_lr = float(step_lr)
        self.num_steps_each = num_steps_each
        self.tile = tile
        self.strategy = tf.distribute.get_strategy()
        num_steps = chain.num_steps(num_steps_each)
        piece = max(1, num_steps // NUM_PIECES)
        starts = range(0, num_steps, piece)
        self.pieces = [(start, min(start + piece, num_steps)) for start in starts]
        self.num_evaluations = chain.num_evaluations(num_steps_each)
        self.evaluations = None
        self._pace = Pace(seconds=1.0)
        # TensorFlow keeps what `strategy.run` is called with outside of a `tf.function` for ever.
        self._start = tf.function(self._start_all, autograph=False)
        self._advance = tf.function(self._advance_all, autograph=False)
        self._finish = tf.function(self._finish_all, autograph=False)

    def draw(
        self,
        seeds: Sequence[int] | np.ndarray,
        on_piece: Callable | None = None,
        condition: Any = (),
        labels: Sequence[int] | np.ndarray | None = None,
        guidance: float | Sequence[float] | np.ndarray = 1.0,
    ) -> np.ndarray:
        """Images for the seeds.

        Args:
            seeds: int64 [B], any number.
            on_piece: called after each of `len(self.pieces)` pieces with a function that returns
                the state x, float32 [B, *image_shape], not clipped.
            condition: what the chain wants of each image, (nested) arrays [B, ...].
            labels: int [B], the class of each image, for networks that know classes.
            guidance: weight of the class, a number or float [B], see `labels.labelled`. 1 costs one
                evaluation of the network where another costs two.

        Returns:
            float32 numpy array [B, *image_shape] in [0, 1].

        Raises:
            signals.Interrupted: an end was asked for meanwhile. It is looked for about every
                second, which changes no image.
        """
        replicas = self.strategy.num_replicas_in_sync
        seeds = np.asarray(seeds, np.int64)

        def share(values):
            """A replica's part of arrays [B, ...], padded with zeros to equal parts."""
            padded = np.pad(values, [(0, -len(values) % replicas)] + [(0, 0)] * (values.ndim - 1))
            parts = np.split(padded, replicas)
            return self.strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(parts[context.replica_id_in_sync_group])
            )

        classes = () if labels is None else _of_classes(labels, guidance, len(seeds), replicas)
        shares = tf.nest.map_structure(share, (seeds, (condition, classes)))
        state = self._start(shares[0])

        def local(values):
            return self.strategy.experimental_local_results(values)

        def gather(values):
            return np.concatenate([part.numpy() for part in local(values)])[: len(seeds)]

        def images(state):
            parts = zip(*map(local, tf.nest.flatten(state)), strict=True)
            states = [tf.nest.pack_sequence_as(state, part) for part in parts]
            return np.concatenate([self.chain.images(part) for part in states])[: len(seeds)]

        for start, stop in self.pieces:
            state = self._advance_in_calls(state, shares, start, stop)
            if on_piece is not None:
                on_piece(lambda state=state: images(state))
        counted = self.chain.evaluations(state)
        if counted is not None:
            self.evaluations = gather(counted) + int(self.chain.denoise)
        return gather(self._finish(state, *shares))

    def _advance_in_calls(self, state, shares, start, stop):
        """The state after these steps, made in as many calls as keep each of them short."""
        while start < stop:
            until = min(start + self._pace.most, stop)
            with self._pace.call(until - start):
                state = self._advance(state, *shares, tf.constant(start), tf.constant(until))
                wait_for_devices()
            start = until
            signals.check()
        return state

    def _start_all(self, seeds):
        def start(seeds):
            return self.chain.start(seeds, self.image_shape)

        return self.strategy.run(start, args=(seeds,))

    def _advance_all(self, state, seeds, others, start, stop):
        def advance(score_fn, state, rows):
            return self.chain.advance(score_fn, state, rows, start, stop)

        return self._in_tiles(advance, state, seeds, others, self.chain.dtypes)

    def _finish_all(self, state, seeds, others):
        def finish(score_fn, state, rows):
            images = self.chain.finish(score_fn, state, rows)
            # Infinite numbers are a diverged chain's: they must not become black or white.
            return tf.where(tf.math.is_finite(images), tf.clip_by_value(images, 0.0, 1.0), math.nan)

        return self._in_tiles(finish, state, seeds, others, tf.float32)

    def _in_tiles(self, fn, state, seeds, others, dtypes):
        """fn(score_fn, state, rows) on every replica, tile by tile."""

        def on_replica(state, seeds, others):
            condition, classes = others
            rows = Rows.fill(seeds, self.step_lr, self.num_steps_each, condition, *classes)
            network = read_weights(self.network)

            def on_tile(state, rows):
                return fn(rows.score(network), state, rows)

            return in_tiles(on_tile, self.tile, state, rows, dtypes=dtypes)

        return self.strategy.run(on_replica, args=(state, seeds, others))


def _of_classes(labels, guidance, size, replicas):
    """(labels int32 [B], guidance float32 [B, filled up to equal parts])."""
    labels = np.broadcast_to(np.asarray(labels, np.int32), size)
    guidance = np.broadcast_to(np.asarray(guidance, np.float32), size)
    # What fills up a replica's part has the guidance of another image, which asks for no more.
    return labels, np.pad(guidance, (0, -size % replicas), mode="edge")


def in_batches(
    draw_batch: Callable[[np.ndarray, Callable[[], object]], np.ndarray],
    seeds: np.ndarray,
    batch_size: int,
    bar: tqdm,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (seeds, images) of one batch after the other.

    Args:
        draw_batch: (seeds int64 [B], a function to be called after each piece of the work) -> uint8
            [B, H, W, C]. B is always the same, since a graph is compiled for every size of batch:
            the last batch is filled up with its own seeds.
        seeds: int64 [N].
        batch_size: most images at a time.
        bar: says which images are drawn, and is advanced with every piece.
    """
    size = min(batch_size, len(seeds))
    for start in range(0, len(seeds), size):
        batch = seeds[start : start + size]
        bar.set_description(f"images {start} to {start + len(batch) - 1}")
        yield batch, draw_batch(np.resize(batch, size), bar.update)[: len(batch)]
