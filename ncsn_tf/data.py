"""Batches of images in an order that is a pure function of (seed, step).

Example i of training step k has the global position n = k * batch_size + i. It is visited in epoch
n // N, at place n % N of that epoch's permutation of the N examples. Nothing is carried from one
step to the next, so that a resumed run starts at any step at once, and sees what an uninterrupted
run would have seen.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ncsn_tf import random

_EVALUATION_SEED = 0
_READ_BATCH = 256
# With index_shuffle's 4 rounds neighbouring epochs have nearly the same order (their correlation
# is 0.9 at N = 60,000).
_SHUFFLE_ROUNDS = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Images held in memory, encoded or not.

    Attributes:
        records: strings [N], each an encoded image, or uint8 [N, H, W, C].
        decode: one record -> uint8 [H, W, C], in TensorFlow operations.
        num_examples: N, at least 1.
        image_shape: (H, W, C).
        name: what the images are, for messages.
        labels: int64 [N], the class of each image; None where the data set has no classes.
    """

    records: Any
    decode: Callable
    num_examples: int
    image_shape: tuple
    name: str
    labels: Any = None


def training_batches(
    source, *, batch_size, seed, start_step=0, random_flip=False, with_labels=False
):
    """Endless shuffled batches.

    Args:
        source: a `Source` of N images.
        batch_size: B, the global batch size; a batch larger than N holds images of several epochs.
        seed: int64, decides every epoch's order and the mirroring.
        start_step: the first batch yielded is batch `start_step` of a run from 0, at the same cost
            for any value.
        random_flip: mirror each image left-right with probability 1/2, anew in each epoch.
        with_labels: whether batches are (images, labels int64 [B]); the source must have labels.

    Returns:
        tf.data.Dataset of float32 [B, H, W, C] in [0, 1]. Each epoch holds each example once.
    """
    load = _loader(source)

    def batch(step):
        positions = _positions(step, batch_size)
        indices = _shuffled(positions, source.num_examples, seed)
        images = load(indices)
        if random_flip:
            mirrored = _flip_coins(seed, positions)[:, None, None, None]
            images = tf.where(mirrored, tf.reverse(images, axis=[2]), images)
        images = tf.cast(images, tf.float32) / 255.0
        return (images, tf.gather(source.labels, indices)) if with_labels else images

    return _mapped(tf.data.Dataset.range(start_step, tf.int64.max), batch)


def evaluation_batches(source, *, batch_size, num_batches):
    """The first `num_batches` batches of a source in one fixed shuffled order, never mirrored.

    Args:
        source: a `Source` of N images.
        batch_size: B.
        num_batches: at most this many batches; fewer when N < B * num_batches.

    Returns:
        finite tf.data.Dataset of float32 [B, H, W, C] in [0, 1]: whole batches, no image twice.
        Only a source of fewer than B images repeats some, to fill its one batch.
    """
    load = _loader(source)

    def batch(step):
        positions = _positions(step, batch_size)
        images = load(_shuffled(positions, source.num_examples, _EVALUATION_SEED))
        return tf.cast(images, tf.float32) / 255.0

    whole_batches = max(1, source.num_examples // batch_size)
    return _mapped(tf.data.Dataset.range(min(num_batches, whole_batches)), batch)


def load_pixels(source, num_images, on_batch=None):
    """The first images of a source in one fixed shuffled order, as they are stored.

    Args:
        source: a `Source` of N images.
        num_images: n, at most N; N is all of them.
        on_batch: called with the number of images that have been read since the last call.

    Returns:
        uint8 numpy array [n, H, W, C].
    """
    load = _loader(source)
    size = min(_READ_BATCH, num_images)

    def batch(step):
        return load(_shuffled(_positions(step, size), source.num_examples, _EVALUATION_SEED))

    pixels = np.empty([num_images, *source.image_shape], np.uint8)
    num_batches = -(-num_images // size)
    for index, images in enumerate(_mapped(tf.data.Dataset.range(num_batches), batch)):
        place = pixels[index * size : (index + 1) * size]
        place[:] = images.numpy()[: len(place)]
        if on_batch is not None:
            on_batch(len(place))
    return pixels


def ordered_batches(source, batch_size):
    """All images of a source once, in the source's own order.

    Args:
        source: a `Source` of N images.
        batch_size: B.

    Returns:
        finite tf.data.Dataset of uint8 [B, H, W, C]; the last batch may be smaller.
    """
    load = _loader(source)

    def batch(start):
        return load(tf.range(start, tf.minimum(start + batch_size, source.num_examples)))

    return _mapped(tf.data.Dataset.range(0, source.num_examples, batch_size), batch)


def images_at(source, indices):
    """The images at places [n] in a source's own order: uint8 numpy array [n, H, W, C]."""
    return _loader(source)(tf.constant(indices, tf.int64)).numpy()


def crop_and_resize(images, image_size, crop_size=0):
    """The centred square of images, bilinearly resized with antialiasing.

    Args:
        images: uint8 [H, W, C] or [B, H, W, C].
        image_size: side of the result.
        crop_size: side of the square; 0, or more than the image's shorter side, means the largest
            square.

    Returns:
        uint8 [image_size, image_size, C] or [B, image_size, image_size, C].
    """
    images = tf.convert_to_tensor(images)
    height, width = tf.shape(images)[-3], tf.shape(images)[-2]
    side = tf.minimum(height, width)
    if crop_size:
        side = tf.minimum(side, crop_size)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[..., top : top + side, left : left + side, :]

    def resized():
        values = tf.image.resize(square, [image_size, image_size], antialias=True)
        return tf.saturate_cast(tf.round(values), tf.uint8)

    result = tf.cond(side == image_size, lambda: square, resized)
    return tf.ensure_shape(result, [*images.shape[:-3], image_size, image_size, images.shape[-1]])


def _mapped(steps, batch):
    """The batch of each step, made in parallel and ahead of use, in order."""
    batches = steps.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.prefetch(tf.data.AUTOTUNE)


def _loader(source):
    """A function from indices [B] to uint8 images [B, H, W, C]."""
    with tf.device("CPU:0"):
        records = tf.convert_to_tensor(source.records)
    image = tf.TensorSpec(source.image_shape, tf.uint8)

    def load(indices):
        chosen = tf.gather(records, indices)
        if records.dtype == tf.string:
            return tf.map_fn(source.decode, chosen, fn_output_signature=image)
        return chosen

    return load


def _positions(step, batch_size):
    """Global positions of the examples of batch `step`: int64 [B]."""
    return step * batch_size + tf.range(batch_size, dtype=tf.int64)


def _shuffled(positions, num_examples, seed):
    """The example at each global position: int64 [B] in [0, num_examples)."""
    epochs = tf.cast(positions // num_examples, tf.uint32)
    low, high = (tf.constant(seed >> shift & 0xFFFFFFFF, tf.uint32) for shift in (0, 32))
    return tf.raw_ops.RandomIndexShuffle(
        index=positions % num_examples,
        seed=tf.stack([tf.fill(epochs.shape, low), tf.fill(epochs.shape, high), epochs], axis=1),
        max_index=tf.constant(num_examples - 1, tf.int64),
        rounds=_SHUFFLE_ROUNDS,
    )


def _flip_coins(seed, positions):
    """A fair coin for each global position: bool [B]."""
    seeds = tf.fill(positions.shape, tf.constant(seed, tf.int64))
    counters = (positions, tf.bitwise.right_shift(positions, tf.constant(32, tf.int64)))
    words = random.random_words(seeds, 1, random.Stream.FLIP, counters)  # [B, 1]
    return tf.bitwise.bitwise_and(words[:, 0], tf.constant(1, tf.uint32)) == 1
