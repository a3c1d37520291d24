"""A score function that is quickly traced, saved and run."""

import keras
import tensorflow as tf


class Network:
    """A convolution of 8 x 8 images, scaled by the level: a score function with weights."""

    def __init__(self, channels=1):
        start = keras.initializers.RandomNormal(stddev=0.1, seed=0)
        self.convolution = keras.layers.Conv2D(
            channels, 3, padding="same", activation="tanh", kernel_initializer=start
        )
        self.convolution.build((None, 8, 8, channels))
        self.trainable_variables = self.weights = self.convolution.trainable_variables

    def __call__(self, x, levels):
        scale = tf.gather([1.0, 10.0, 100.0], levels)
        return scale[:, None, None, None] * self.convolution(0.5 - x)
