"""Training of the encoder: as a classifier where there are classes, else to tell images apart.

Without classes, two views of each image (crops of it, brighter or darker, mirrored where the run
mirrors) are to be found among those of the batch (Chen et al. 2020, arXiv:2002.05709). That asks
neither for pictures that have an upright side, as guessing rotations does, nor for more than a
small network; and what tells images apart shows a lack of variety, which what an autoencoder keeps
of them, their coarse layout, shows less than their blur.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf.backend.compat_optimizers import apply_gradients
from ncsn_tf.data.batches import evaluation_batches, images_at, readable_places, training_batches
from ncsn_tf.data.source import Source
from ncsn_tf.evaluation.features.encoder import Encoder, make_encoder

_TEMPERATURE = 0.2
_LEAST_CROP = 0.6  # of a side
_TESTED = 10_000  # images


class Fitting(NamedTuple):
    """How an encoder is trained.

    Attributes:
        num_steps: at most; fewer where that would be more than `num_epochs`.
        num_epochs: of a small data set.
        batch_size: images a step.
        learning_rate: of Adam at the first step, from which it falls to 0 as a cosine.
        seed: of weights, order and views.
    """

    num_steps: int = 1000
    num_epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 1e-3
    seed: int = 0

    def steps(self, num_examples: int) -> int:
        """How many there are for so many images."""
        return min(self.num_steps, math.ceil(num_examples * self.num_epochs / self.batch_size))


def num_classes(source: Source) -> int:
    """K, of those that are numbered; 0 where there are none, or one."""
    count = 0 if source.labels is None else int(source.labels.max()) + 1
    return count if count > 1 else 0


def fit(
    source: Source,
    fitting: Fitting,
    random_flip: bool,
    on_step: Callable[[Callable[[], float]], object],
) -> Encoder:
    """An encoder trained on a source: the same one each time on the same machine.

    Args:
        source: with labels for a classifier.
        fitting: how it is trained.
        random_flip: mirror half of the images.
        on_step: called after each step with a function that returns its loss.
    """
    classes = num_classes(source)
    encoder = make_encoder(source.image_shape, classes, fitting.seed)
    num_steps = fitting.steps(source.num_examples)
    rate = keras.optimizers.schedules.CosineDecay(fitting.learning_rate, num_steps)
    optimizer = keras.optimizers.Adam(rate)
    trained = [*encoder.trunk.trainable_variables, *encoder.head.trainable_variables]

    @tf.function(autograph=False)
    def step(images, labels, index):
        images = encoder.resized(images)
        with tf.GradientTape() as tape:
            if classes:
                logits = encoder.head(encoder.trunk(images))
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            else:
                similar = _similarities(encoder, images, random_flip, (fitting.seed, index))
                targets = tf.range(images.shape[0], dtype=tf.int64)
                losses = sum(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(targets, matrix)
                    for matrix in (similar, tf.transpose(similar))
                )
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, encoder.weights)
        apply_gradients(optimizer, gradients, trained)
        return loss

    batches = training_batches(
        source,
        batch_size=fitting.batch_size,
        seed=fitting.seed,
        random_flip=random_flip,
        with_labels=bool(classes),
    )
    nothing = tf.zeros([fitting.batch_size], tf.int64)
    for index, batch in enumerate(batches.take(num_steps)):
        images, labels = batch if classes else (batch, nothing)
        loss = step(images, labels, tf.constant(index, tf.int32))
        on_step(loss.numpy)
    return encoder


def right_share(encoder: Encoder, source: Source, fitting: Fitting) -> tuple[float, int]:
    """How well an encoder does what it was trained for, on images that it has not seen.

    Args:
        encoder: of `fit`.
        source: the test images.
        fitting: how it was trained.

    Returns:
        (the share of images that are classified right, or without classes of images one view of
        which is nearest to the other among those of a batch, the number of images).
    """
    size = min(fitting.batch_size, source.num_examples)
    right = count = 0
    if encoder.num_classes:
        places = readable_places(source, min(_TESTED, source.num_examples))
        for batch in np.array_split(places, -(-len(places) // size)):
            images = tf.constant(images_at(source, batch), tf.float32) / 255.0
            logits = encoder.head(encoder.trunk(encoder.resized(images)))
            right += int(np.sum(np.argmax(logits.numpy(), 1) == source.labels[batch]))
            count += len(batch)
        return right / count, count
    wanted = max(1, min(_TESTED, source.num_examples) // size)
    for index, images in enumerate(evaluation_batches(source, batch_size=size, num_batches=wanted)):
        seeds = (fitting.seed + 1, tf.constant(index, tf.int32))
        similar = _similarities(encoder, encoder.resized(images), False, seeds).numpy()
        right += int(np.sum(similar.argmax(1) == np.arange(size)))
        count += size
    return right / count, count


def _similarities(encoder, images, random_flip, seeds):
    """Cosines of what the head makes of two views of each image, over a temperature: [B, B]."""
    views = [_view(images, random_flip, (*seeds, number)) for number in range(2)]
    found = encoder.head(encoder.trunk(tf.concat(views, 0)))
    first, second = tf.split(tf.math.l2_normalize(found, axis=1), 2)
    return tf.matmul(first, second, transpose_b=True) / _TEMPERATURE


def _view(images, random_flip, seeds):
    """A crop of each image, resized to the whole, brighter or darker, mirrored perhaps."""
    seed, index, number = seeds
    count, height, width = images.shape[:3]
    draws = tf.random.stateless_uniform([5, count], seed=tf.stack([seed * 2 + number, index]))
    side = _LEAST_CROP + (1 - _LEAST_CROP) * draws[0]
    top, left = (1 - side) * draws[1], (1 - side) * draws[2]
    right = left + side
    if random_flip:
        mirrored = draws[4] < 0.5
        left, right = tf.where(mirrored, right, left), tf.where(mirrored, left, right)
    boxes = tf.stack([top, left, top + side, right], 1)
    view = tf.image.crop_and_resize(images, boxes, tf.range(count), (height, width))
    return view * (0.7 + 0.6 * draws[3])[:, None, None, None]
