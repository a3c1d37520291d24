"""A score function that knows classes, and is quickly traced, saved and run."""

import keras
import numpy as np
import tensorflow as tf

NAMES = ("cat", "dog", "owl")


class LabelledNetwork:
    """A convolution of 8 x 8 images, drawn to a picture of each class, or of no class."""

    num_classes = len(NAMES)

    def __init__(self):
        start = keras.initializers.RandomNormal(stddev=0.1, seed=0)
        self.convolution = keras.layers.Conv2D(
            1, 3, padding="same", activation="tanh", kernel_initializer=start
        )
        self.convolution.build((None, 8, 8, 1))
        self.trainable_variables = self.weights = self.convolution.trainable_variables
        self.pictures = np.random.default_rng(0).random([4, 8, 8, 1], np.float32)

    def get_weights(self):
        return self.convolution.get_weights()

    def __call__(self, x, levels, labels=None):
        labels = tf.fill(tf.shape(levels), self.num_classes) if labels is None else labels
        scale = tf.gather([1.0, 10.0, 100.0], levels)[:, None, None, None]
        pull = tf.gather(self.pictures, labels) - x
        return scale * self.convolution(0.5 - x) + 10.0 * pull
