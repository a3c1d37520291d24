"""Training and files of the classifiers of noisy images, with which one class is drawn."""

import json
from collections.abc import Callable, Sequence
from os import PathLike

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf.backend.compat import raw_variables
from ncsn_tf.backend.compat_optimizers import apply_gradients
from ncsn_tf.backend.random import Stream, normal
from ncsn_tf.data.batches import Source, images_at, readable_places, training_batches
from ncsn_tf.errors import UserError
from ncsn_tf.files import read_arrays, save_arrays, user_path
from ncsn_tf.models.noisy_classifier import NoisyClassifier
from ncsn_tf.settings.config import Config
from ncsn_tf.training.objective import Perturbation
from ncsn_tf.training.run_equation import ladder_of

_TESTED_LEVELS = 10


def train_classifier(
    source: Source,
    *,
    image_shape: tuple[int, int, int],
    sigmas: tf.Tensor | Sequence[float],
    dequantize: bool,
    random_flip: bool,
    features: int = 32,
    num_steps: int = 2000,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    seed: int = 0,
    on_step: Callable[[Callable[[], float]], None] | None = None,
) -> NoisyClassifier:
    """A classifier trained on images that are perturbed as a score network's are.

    Each image has noise of one level, drawn uniformly; the loss is the cross-entropy. The noise is
    a function of (seed, step, place).

    Args:
        source: images with labels.
        image_shape: (H, W, C), H and W at least 8.
        sigmas: float32 [L], the noise levels.
        dequantize, random_flip: as in the training of the score network.
        features: channels of the classifier's first stage.
        num_steps, batch_size, learning_rate: of its training by Adam.
        seed: decides its first weights, the order of the images and the noise.
        on_step: called after each step with a function that returns its loss.

    Example:
        >>> from ncsn_tf.data.sources import load_source
        >>> digits = load_source("digits", "train", image_size=8, channels=1)
        >>> classifier = train_classifier(
        ...     digits, image_shape=(8, 8, 1), sigmas=[0.5, 0.1], dequantize=True,
        ...     random_flip=False, features=2, num_steps=1, batch_size=4,
        ... )
        >>> tuple(classifier(tf.zeros([3, 8, 8, 1]), tf.constant([0, 1, 1])).shape)
        (3, 10)
    """
    keras.utils.set_random_seed(seed)
    perturbation = Perturbation(sigmas, dequantize)
    num_classes = int(source.labels.max()) + 1
    classifier = NoisyClassifier(image_shape, features, perturbation.sigmas.numpy(), num_classes)
    optimizer = keras.optimizers.Adam(learning_rate)

    @tf.function(autograph=False)
    def step(images, labels, index):
        seeds = tf.fill([batch_size], tf.constant(seed, tf.int64))
        x, levels = perturbation.perturb(images, seeds, (tf.range(batch_size), index))
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, classifier(x, levels))
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, raw_variables(classifier))
        apply_gradients(optimizer, gradients, classifier.trainable_variables)
        return loss

    batches = training_batches(
        source,
        batch_size=batch_size,
        seed=seed,
        random_flip=random_flip,
        with_labels=True,
    )
    for index, (images, labels) in enumerate(batches.take(num_steps)):
        loss = step(images, labels, tf.constant(index, tf.int64))
        if on_step is not None:
            on_step(loss.numpy)
    return classifier


def accuracies(
    classifier: NoisyClassifier,
    source: Source,
    batch_size: int,
    num_images: int = 1000,
    on_batch: Callable[[int], None] | None = None,
) -> dict[float, float]:
    """The share of images that are classified right at noise levels from the first to the last.

    Args:
        classifier: a `NoisyClassifier`.
        source: a `data.Source` with labels.
        batch_size: images at a time.
        num_images: about how many images: whole batches, no image twice. What cannot be decoded is
            left out.
        on_batch: called after each batch with how many there are of all levels together.

    Returns:
        {sigma: share}, of ten levels spread over the ladder, or all if there are fewer.
    """
    # As many as are wanted, and a batch at least.
    wanted = min(max(num_images, batch_size), source.num_examples)
    places = readable_places(source, wanted)
    size = min(batch_size, len(places))
    num_batches = max(1, min(num_images, len(places)) // size)
    sigmas = classifier.sigmas
    levels = np.linspace(0, len(sigmas) - 1, min(_TESTED_LEVELS, len(sigmas))).round().astype(int)

    @tf.function(autograph=False)
    def count_right(images, labels, first, level, sigma):
        seeds = first + tf.range(size, dtype=tf.int64)
        noise = normal(seeds, images.shape[1:], Stream.PERTURBATION, (level, 0))
        logits = classifier(images + sigma * noise, tf.fill([size], level))
        return tf.math.count_nonzero(tf.argmax(logits, axis=1) == labels)

    right = dict.fromkeys(levels.tolist(), 0)
    for index, batch in enumerate(np.split(places[: num_batches * size], num_batches)):
        images = tf.constant(images_at(source, batch), tf.float32) / 255.0
        labels = tf.constant(source.labels[batch])
        for level in right:
            place = (tf.constant(value) for value in (np.int64(index * size), level, sigmas[level]))
            right[level] += int(count_right(images, labels, *place))
            if on_batch is not None:
                on_batch(num_batches * len(right))
    return {float(sigmas[level]): count / (num_batches * size) for level, count in right.items()}


def save_classifier(path: str | PathLike, classifier: NoisyClassifier) -> None:
    """Write a `NoisyClassifier` with its settings as one .npz."""
    settings = json.dumps(classifier.settings)
    weights = [variable.numpy() for variable in raw_variables(classifier)]
    arrays = {f"weight{index:02d}": value for index, value in enumerate(weights)}
    save_arrays(path, {"settings": np.array(settings), **arrays})


def read_classifier(path: str | PathLike) -> NoisyClassifier:
    """The `NoisyClassifier` in a file that `save_classifier` wrote.

    Raises:
        UserError: the file cannot be read, or is something else.
    """
    path = user_path(path)
    what = "a classifier: make one with ncsn classifier"
    weights = read_arrays(path, what=what)
    try:
        settings = json.loads(str(weights.pop("settings")))
        classifier = NoisyClassifier(**settings)
        values = (weights[name] for name in sorted(weights))
        for variable, value in zip(raw_variables(classifier), values, strict=True):
            variable.assign(value)
    except (AttributeError, LookupError, TypeError, ValueError):
        raise UserError(f"{path} is not {what}") from None
    return classifier


def load_classifier(path: str | PathLike, config: Config) -> NoisyClassifier:
    """The classifier in a file, for a run's images and noise levels.

    Raises:
        UserError: the file cannot be read, or is for other images or noise levels.
    """
    classifier = read_classifier(path)
    if tuple(classifier.image_shape) != config.image_shape or not (
        len(classifier.sigmas) == config.num_levels
        and np.allclose(classifier.sigmas, ladder_of(config))
    ):
        raise UserError(f"classifier {path} is for images or noise levels other than the run's")
    return classifier
