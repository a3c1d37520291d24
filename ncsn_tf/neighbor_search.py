"""The training images of a run that are nearest to samples, in pixels or in features."""

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ncsn_tf.data import images_at, ordered_batches
from ncsn_tf.images import grid
from ncsn_tf.neighbors import nearest

_BLOCK_NUMBERS = 2**23  # of a block of images, or of its distances: 64 MiB in float64
_BLOCK_IMAGES = 1024
_FEATURE_BATCH = 64  # images in the network at once
_GAP = 3  # pixels of white between samples and neighbours


class Search:
    """Finds the nearest training images of samples.

    Where the run mirrors its training images, a distance is the smaller of those of the sample and
    of its mirror image.

    Args:
        source: the `Source` of the training images.
        config: the run's `Config`.
        network: the run's network, whose features `space="features"` compares.
        space: "pixels": values from 0 to 1; "features": see `network_features`.
    """

    def __init__(self, source, config, network=None, space="pixels"):
        self.source = source
        self.flips = config.random_flip
        self.scale = 1.0 / 255.0 if space == "pixels" else 1.0
        self.vectors = _pixels if space == "pixels" else network_features(network)

    def __call__(self, samples, num_neighbors):
        """`Neighbors` of uint8 [Q, H, W, C]; indices are places in the source's own order."""
        queries = self.vectors(samples)
        mirror_images = self.vectors(samples[:, :, ::-1]) if self.flips else None
        numbers = max(samples[0].size, 2 * len(samples))
        batches = ordered_batches(
            self.source, min(_BLOCK_IMAGES, max(1, _BLOCK_NUMBERS // numbers))
        )

        def blocks():
            total = self.source.num_examples
            with tqdm(total=total, desc="searching", unit="image", disable=None) as bar:
                for batch in batches.as_numpy_iterator():
                    yield self.vectors(batch)
                    bar.update(len(batch))

        found = nearest(queries, blocks(), num_neighbors, mirror_images)
        return found._replace(distances=found.distances * self.scale)


def network_features(network):
    """A function from uint8 images [B, H, W, C] to the network's features, float32 [B, F].

    The answer of the deepest residual stage, which sees most of the image, at the smallest noise
    level, averaged over its pixels.
    """

    @tf.function(
        input_signature=[tf.TensorSpec([None, *network.image_shape], tf.uint8)], autograph=False
    )
    def features(images):
        x = tf.cast(images, tf.float32) / 255.0
        labels = tf.fill(tf.shape(x)[:1], network.num_levels - 1)
        deepest = network.stages(x, labels)[-1]  # [B, h, w, F]
        return tf.reduce_mean(tf.cast(deepest, tf.float32), [1, 2])

    def in_batches(images):
        starts = range(0, len(images), _FEATURE_BATCH)
        parts = [features(images[start : start + _FEATURE_BATCH]).numpy() for start in starts]
        return np.concatenate(parts)

    return in_batches


def _pixels(images):
    return images.reshape(len(images), -1)


def picture(samples, source, found):
    """Rows of a sample and its neighbours, mirrored where that is nearer: uint8 [H', W', C].

    Args:
        samples: uint8 [Q, H, W, C].
        source: the `Source` that was searched.
        found: their `Neighbors`.
    """
    neighbors = images_at(source, found.indices.reshape(-1))
    flipped = found.mirrored.reshape(-1, 1, 1, 1)
    neighbors = np.where(flipped, neighbors[:, :, ::-1], neighbors)
    left, right = grid(samples, 1), grid(neighbors, found.indices.shape[1])
    gap = np.full([len(left), _GAP, left.shape[2]], 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)
