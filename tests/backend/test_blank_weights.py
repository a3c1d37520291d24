"""Networks that are built without drawing their weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.backend.blank_weights import blank_weights
from ncsn_tf.models.ncsnpp import NCSNpp
from ncsn_tf.models.networks import NCSN


@pytest.mark.parametrize(
    "build", [lambda: NCSN((8, 8, 1), 4, 3), lambda: NCSNpp((8, 8, 1), 4, (1, 2), 1)]
)
def test_nothing_is_drawn(build):
    drawn = build()
    with blank_weights():
        blank = build()
    assert all(not np.any(weight) for weight in blank.get_weights())
    assert [tuple(w.shape) for w in blank.weights] == [tuple(w.shape) for w in drawn.weights]
    assert [w.trainable for w in blank.weights] == [w.trainable for w in drawn.weights]
    # Given the weights, it is the same network.
    blank.set_weights(drawn.get_weights())
    x, condition = tf.ones([2, 8, 8, 1]), tf.constant([1, 2])
    if isinstance(blank, NCSNpp):
        condition = tf.cast(condition, tf.float32)
    np.testing.assert_array_equal(blank(x, condition), drawn(x, condition))


def test_after_the_block_layers_draw_again():
    with pytest.raises(ZeroDivisionError), blank_weights():
        _ = 1 / 0
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert np.all(layer.kernel.numpy() != 0)
