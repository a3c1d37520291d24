"""Trains a classifier of noisy images, with which sample.py draws one class.

python -m ncsn_tf.classifier --workdir=runs/mnist --out=mnist_classifier.npz
"""

import dataclasses
from pathlib import Path

from ncsn_tf.command_line import parse_options, run_command
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.options import option

_TESTED_LEVELS = 10

SUMMARY = """\
Train a classifier on the images of a run's data set, perturbed over the run's noise levels:

  python -m ncsn_tf.classifier --workdir=runs/mnist --out=mnist_classifier.npz
  python sample.py --workdir=runs/mnist --classifier=mnist_classifier.npz --label=3"""


@dataclasses.dataclass(frozen=True)
class ClassifierOptions:
    """The flags of `python -m ncsn_tf.classifier`."""

    workdir: str = option("", "the run; empty is the newest in runs/", "source")
    dataset: str = option(
        "", "images with labels: a TFDS name, or digits; empty is the run's", "source"
    )
    data_dir: str = option("", "where TFDS keeps its data; empty is the run's", "source")
    out: str = option("", "file to write; empty is classifier.npz in the run's folder", "output")
    features: int = option(32, "channels of the first stage", "classifier", least=2)
    num_steps: int = option(2000, "training steps", "classifier", least=1)
    batch_size: int = option(128, "images a step", "classifier", least=1)
    learning_rate: float = option(1e-3, "Adam's step size", "classifier", above=0)
    seed: int = option(0, "seed of weights, data order and noise", "classifier", least=0)


def train(source, config, options, on_step=None):
    """A trained `NoisyClassifier`.

    The images are perturbed as a score network's are in training: each by noise of one level, drawn
    uniformly; the loss is the cross-entropy. The noise is a function of (seed, step, place).

    Args:
        source: a `data.Source` with labels.
        config: the run's `Config`: image size, noise levels, mirroring, dequantisation.
        options: `ClassifierOptions`.
        on_step: called after each step with a function that returns its loss.
    """
    import keras
    import tensorflow as tf

    from ncsn_tf.compat import raw_variables
    from ncsn_tf.data import training_batches
    from ncsn_tf.noisy_classifier import NoisyClassifier
    from ncsn_tf.samplers import make_sigmas

    keras.utils.set_random_seed(options.seed)
    sigmas = make_sigmas(config)
    classes = int(source.labels.max()) + 1
    classifier = NoisyClassifier(config.image_shape, options.features, sigmas.numpy(), classes)
    optimizer = keras.optimizers.Adam(options.learning_rate)

    @tf.function(autograph=False)
    def step(images, classes, index):
        x, labels = perturbed(images, index, options.seed, sigmas, config)
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, classifier(x, labels))
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, raw_variables(classifier))
        optimizer.apply_gradients(zip(gradients, classifier.trainable_variables, strict=True))
        return loss

    batches = training_batches(
        source,
        batch_size=options.batch_size,
        seed=options.seed,
        random_flip=config.random_flip,
        with_labels=True,
    )
    for index, (images, classes) in enumerate(batches.take(options.num_steps)):
        loss = step(images, classes, tf.constant(index, tf.int64))
        if on_step is not None:
            on_step(loss.numpy)
    return classifier


def accuracies(classifier, source, batch_size, num_images=1000, on_batch=None):
    """The share of images that are classified right at noise levels from the first to the last.

    Args:
        classifier: a `NoisyClassifier`.
        source: a `data.Source` with labels.
        batch_size: images at a time.
        num_images: about how many images: whole batches, no image twice.
        on_batch: called after each batch with how many there are of all levels together.

    Returns:
        {sigma: share}, of ten levels spread over the ladder, or all if there are fewer.
    """
    import numpy as np
    import tensorflow as tf

    from ncsn_tf.data import training_batches
    from ncsn_tf.random import Stream, normal

    size = min(batch_size, source.num_examples)
    num_batches = max(1, min(num_images, source.num_examples) // size)
    sigmas = classifier.sigmas
    levels = np.linspace(0, len(sigmas) - 1, min(_TESTED_LEVELS, len(sigmas))).round().astype(int)

    @tf.function(autograph=False)
    def count_right(images, classes, first, level, sigma):
        seeds = first + tf.range(size, dtype=tf.int64)
        noise = normal(seeds, images.shape[1:], Stream.PERTURBATION, (level, 0))
        logits = classifier(images + sigma * noise, tf.fill([size], level))
        return tf.math.count_nonzero(tf.argmax(logits, axis=1) == classes)

    right = dict.fromkeys(levels.tolist(), 0)
    batches = training_batches(source, batch_size=size, seed=0, with_labels=True)
    for index, (images, classes) in enumerate(batches.take(num_batches)):
        for level in right:
            place = (tf.constant(value) for value in (np.int64(index * size), level, sigmas[level]))
            right[level] += int(count_right(images, classes, *place))
            if on_batch is not None:
                on_batch(num_batches * len(right))
    return {float(sigmas[level]): count / (num_batches * size) for level, count in right.items()}


def perturbed(images, index, seed, sigmas, config):
    """Images of a training step with noise of a random level each: (x, labels int32 [B])."""
    import tensorflow as tf

    from ncsn_tf.sampling import column
    from ncsn_tf.step import corrupt

    size = tf.shape(images)[0]
    seeds = tf.fill([size], tf.constant(seed, tf.int64))
    images, labels, noise = corrupt(images, seeds, (tf.range(size), index), config)
    return images + column(tf.gather(sigmas, labels), images) * noise, labels


def main(argv):
    program = ["python -m ncsn_tf.classifier", *argv[1:]]
    options = parse_options(program, ClassifierOptions, SUMMARY)
    from ncsn_tf.runtime import start_tensorflow

    start_tensorflow()
    from tqdm import tqdm

    from ncsn_tf import checkpoints, noisy_classifier, outputs

    run_dir = Path(options.workdir).expanduser() if options.workdir else checkpoints.newest_run()
    out = Path(options.out).expanduser() if options.out else run_dir / "classifier.npz"
    outputs.check_place(out)
    config = checkpoints.saved_config(checkpoints.latest(run_dir))
    if config.image_size < 8:
        raise ConfigError(
            f"a classifier needs images of 8 pixels at least, not {config.image_size}"
        )
    source, test = (_load(split, config, options) for split in ("train", "test"))
    with tqdm(total=options.num_steps, disable=None, unit="step") as bar:

        def on_step(loss):
            bar.update()
            if bar.n % 100 == 0:
                bar.set_postfix(loss=f"{loss():.3f}")

        classifier = train(source, config, options, on_step)
    noisy_classifier.save(out, classifier)
    print(f"Wrote {out}")
    with tqdm(desc="testing", disable=None, unit="batch") as bar:

        def on_batch(total):
            bar.total = total
            bar.update()

        shares = accuracies(classifier, test, options.batch_size, on_batch=on_batch)
    listed = ", ".join(f"{share:.0%} at {sigma:.2g}" for sigma, share in shares.items())
    print(f"Test images classified right, by noise level: {listed}")


def _load(split, config, options):
    from ncsn_tf.sources import load_source

    dataset = options.dataset or config.dataset
    source = load_source(
        dataset,
        split,
        data_dir=options.data_dir or config.data_dir,
        image_size=config.image_size,
        channels=config.channels,
        crop_size=config.crop_size,
    )
    if source.labels is None:
        raise UserError(f"data set {dataset!r} has no labels: name one that has with --dataset")
    return source


if __name__ == "__main__":
    run_command(main)
