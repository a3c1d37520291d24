"""Batches of images in an order that is a pure function of (seed, step).

Example i of training step k has the global position n = k * batch_size + i. It is visited in epoch
n // N, at place n % N of that epoch's permutation of the N examples. Nothing is carried from one
step to the next, so that a resumed run starts at any step at once, and sees what an uninterrupted
run would have seen.

An example that cannot be decoded has its place too, which depends on nothing but the data:
in training the next one that can be decoded stands in for it, and finite passes go without it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ncsn_tf.data import order
from ncsn_tf.data.reading import reading
from ncsn_tf.data.source import ArrayImages, Source
from ncsn_tf.errors import keeping

_EVALUATION_SEED = 0
_READ_BATCH = 256


def training_batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    random_flip: bool = False,
    with_labels: bool = False,
    shares: range = range(1),
    num_shares: int = 1,
) -> tf.data.Dataset:
    """Endless shuffled batches.

    Args:
        source: a `Source` of N images.
        batch_size: B, the global batch size; a batch larger than N holds images of several epochs.
        seed: int64, decides every epoch's order and the mirroring.
        start_step: the first batch yielded is batch `start_step` of a run from 0, at the same cost
            for any value.
        random_flip: mirror each image left-right with probability 1/2, anew in each epoch.
        with_labels: whether batches are (images, labels int64 [B]); the source must have labels.
        shares: of each batch, the parts that are yielded, one after the other.
        num_shares: how many equal parts a batch has; divides B.

    Returns:
        tf.data.Dataset of float32 [B / num_shares, H, W, C] in [0, 1]. Each epoch holds each
        example once.

    Example:
        >>> from ncsn_tf.data.source import from_arrays
        >>> source = from_arrays(np.arange(4, dtype=np.uint8)[:, None, None])  # of one pixel
        >>> batches = training_batches(source, batch_size=4, seed=0)
        >>> [sorted((batch.numpy().ravel() * 255).tolist()) for batch in batches.take(2)]
        [[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]]
    """
    load = _loader(source)

    def batch(index):
        step, share = start_step + index // len(shares), shares.start + index % len(shares)
        positions = order.positions(step * num_shares + share, batch_size // num_shares)
        indices = order.shuffled(positions, source.num_examples, seed)
        indices, images = load(indices)
        if random_flip:
            mirrored = order.flip_coins(seed, positions)[:, None, None, None]
            images = tf.where(mirrored, tf.reverse(images, axis=[2]), images)
        images = tf.cast(images, tf.float32) / 255.0
        return (images, tf.gather(source.labels, indices)) if with_labels else images

    return _mapped(tf.data.Dataset.range(tf.int64.max), batch)


def evaluation_batches(
    source: Source, *, batch_size: int, num_batches: int, with_labels: bool = False
) -> tf.data.Dataset:
    """The first `num_batches` batches of a source in one fixed shuffled order, never mirrored.

    Args:
        source: a `Source` of N images.
        batch_size: B.
        num_batches: at most this many batches; fewer when N < B * num_batches.
        with_labels: whether batches are (images, labels int64 [B]); the source must have labels.

    Returns:
        finite tf.data.Dataset of float32 [B, H, W, C] in [0, 1]: whole batches, no image twice.
        Only a source of fewer than B images repeats some, to fill its one batch.

    Example:
        >>> from ncsn_tf.data.source import from_arrays
        >>> source = from_arrays(np.zeros([10, 8, 8]))
        >>> batches = evaluation_batches(source, batch_size=4, num_batches=9)
        >>> [tuple(batch.shape) for batch in batches]
        [(4, 8, 8, 1), (4, 8, 8, 1)]
    """
    load = _loader(source)

    def batch(indices):
        indices, images = load(indices)
        images = tf.cast(images, tf.float32) / 255.0
        return (images, tf.gather(source.labels, indices)) if with_labels else images

    indices = tf.data.Dataset.from_generator(
        lambda: _evaluation_indices(source, batch_size, num_batches),
        output_signature=tf.TensorSpec([batch_size], tf.int64),
    )
    return _mapped(indices, batch)


def load_pixels(
    source: Source, num_images: int, on_batch: Callable[[int], object] | None = None
) -> np.ndarray:
    """The first images of a source in one fixed shuffled order, as they are stored.

    Args:
        source: a `Source` of N images.
        num_images: n, at most N; N is all of them.
        on_batch: called with the number of images that have been read since the last call.

    Returns:
        uint8 numpy array [n, H, W, C]; fewer than n images where so many cannot be decoded.

    Example:
        >>> from ncsn_tf.data.source import from_arrays
        >>> load_pixels(from_arrays(np.ones([10, 8, 8])), num_images=3).shape
        (3, 8, 8, 1)
    """
    load = _loader(source, skip=True)
    size = min(_READ_BATCH, num_images)

    def batch(step):
        positions = order.positions(step, size)
        indices = order.shuffled(positions, source.num_examples, _EVALUATION_SEED)
        return load(tf.boolean_mask(indices, positions < source.num_examples))[1]

    pixels = np.empty([num_images, *source.image_shape], np.uint8)
    filled = 0
    needed, all_there_are = (-(-count // size) for count in (num_images, source.num_examples))
    # More are read only where some of those cannot be decoded.
    for steps in ((0, needed), (needed, all_there_are)):
        if filled == num_images:
            break
        for images in _mapped(tf.data.Dataset.range(*steps), batch):
            place = pixels[filled : filled + len(images)]
            place[:] = images.numpy()[: len(place)]
            filled += len(place)
            if on_batch is not None:
                on_batch(len(place))
            if filled == num_images:
                break
    return pixels[:filled]


def ordered_batches(source: Source, batch_size: int) -> tf.data.Dataset:
    """All images of a source once, in the source's own order.

    Args:
        source: a `Source` of N images.
        batch_size: B.

    Returns:
        finite tf.data.Dataset of (their places, int64 [b], uint8 [b, H, W, C]). A batch is smaller
        than B where images cannot be decoded, and the last one may be.

    Example:
        >>> from ncsn_tf.data.source import from_arrays
        >>> source = from_arrays(np.arange(3, dtype=np.uint8)[:, None, None])  # of one pixel
        >>> [images.numpy().ravel().tolist() for _, images in ordered_batches(source, 2)]
        [[0, 1], [2]]
    """
    load = _loader(source, skip=True)

    def batch(start):
        return load(tf.range(start, tf.minimum(start + batch_size, source.num_examples)))

    return _mapped(tf.data.Dataset.range(0, source.num_examples, batch_size), batch)


def images_at(source: Source, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """The images at places [n] in a source's own order: uint8 numpy array [n, H, W, C].

    Example:
        >>> from ncsn_tf.data.source import from_arrays
        >>> source = from_arrays(np.arange(3, dtype=np.uint8)[:, None, None])  # of one pixel
        >>> images_at(source, [2, 0]).ravel().tolist()
        [2, 0]
    """
    return _loader(source)(tf.constant(indices, tf.int64))[1].numpy()


def readable_places(source: Source, num_images: int) -> np.ndarray:
    """The places of the images of `load_pixels` in the source's own order, none of them twice.

    Args:
        source: a `Source` of N images.
        num_images: n, at most N.

    Returns:
        int64 numpy array [n]; fewer than n where so many cannot be decoded.

    Example:
        >>> from ncsn_tf.data.source import from_arrays
        >>> sorted(readable_places(from_arrays(np.ones([3, 8, 8])), num_images=3).tolist())
        [0, 1, 2]
    """
    places = [place for (place,) in _evaluation_indices(source, 1, num_images)]
    return np.array(places, np.int64)


def _mapped(steps, batch):
    """The batch of each step, made in parallel and ahead of use, in order."""
    # Its Python needs no conversion by AutoGraph, which costs most of a second.
    batch = tf.autograph.experimental.do_not_convert(batch)
    batches = steps.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.prefetch(tf.data.AUTOTUNE)


def _loader(source, skip=False):
    """A function from indices [B] to (their indices [b], uint8 images [b, H, W, C]).

    Of images that cannot be decoded, others stand in, with their own indices; or they are left out
    with `skip`.
    """
    images = source.images
    if isinstance(images, ArrayImages):
        with tf.device("CPU:0"):
            pixels = tf.convert_to_tensor(images.array)
        return lambda indices: (indices, tf.gather(pixels, indices))

    @keeping
    def read(places):
        with reading() as goes_on:
            if not goes_on:
                return places, np.zeros([len(places), *source.image_shape], np.uint8)
            found = places[images.readable(places)] if skip else images.standing_in(places)
            return found, images.pixels(found)

    def load(indices):
        # Not stateful, or tf.data would make one batch at a time under --deterministic.
        found, images = tf.numpy_function(read, [indices], (tf.int64, tf.uint8), stateful=False)
        count = [None] if skip else indices.shape
        found.set_shape(count)
        images.set_shape([*count, *source.image_shape])
        return found, images

    return load


def _evaluation_indices(source, batch_size, num_batches):
    """The images of each batch of `evaluation_batches`, int64 [B], read only as far as is asked."""
    size, start, found = source.num_examples, 0, []
    for number in range(num_batches):
        # Beyond the first epoch only to fill one batch.
        while len(found) < batch_size and (start < size or not number):
            stop = min(start + _READ_BATCH, (start // size + 1) * size)
            positions = tf.range(start, stop, dtype=tf.int64)
            block = order.shuffled(positions, size, _EVALUATION_SEED).numpy()
            found += block[source.images.readable(block)].tolist()
            start = stop
        if len(found) < batch_size:
            return
        yield np.array(found[:batch_size], np.int64)
        del found[:batch_size]
