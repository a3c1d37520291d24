"""Networks that are built without drawing their weights."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.backend.blank_weights import blank_weights
from ncsn_tf.models.layers import Convolution
from ncsn_tf.models.ncsnpp import NCSNpp
from ncsn_tf.models.networks import NCSN


@pytest.mark.parametrize(
    "build", [lambda: NCSN((8, 8, 1), 4, 3), lambda: NCSNpp((8, 8, 1), 4, (1, 2), 1)]
)
def test_kernels_are_not_drawn(build):
    drawn = build()
    with blank_weights():
        blank = build()
    kernels = [w for w in blank.weights if len(w.shape) == 4]
    assert len(kernels) > 10
    assert all(not np.any(kernel.numpy()) for kernel in kernels)
    assert [tuple(w.shape) for w in blank.weights] == [tuple(w.shape) for w in drawn.weights]
    assert [w.trainable for w in blank.weights] == [w.trainable for w in drawn.weights]
    # Given the weights, it is the same network.
    blank.set_weights(drawn.get_weights())
    x, condition = tf.ones([2, 8, 8, 1]), tf.constant([1, 2])
    if isinstance(blank, NCSNpp):
        condition = tf.cast(condition, tf.float32)
    np.testing.assert_array_equal(blank(x, condition), drawn(x, condition))


def kernel():
    layer = Convolution(2)
    layer.build((None, 8, 8, 3))
    return layer.kernel.numpy()


def test_after_the_block_layers_draw_again():
    with pytest.raises(ZeroDivisionError), blank_weights():
        _ = 1 / 0
    assert np.all(kernel() != 0)


def test_blocks_of_two_threads_that_overlap():
    """Neither sees the other's, and nothing is left behind, whichever ends first."""
    entered, left = threading.Event(), threading.Event()
    found = []

    def other():
        with blank_weights():
            entered.set()
            left.wait(10)
            found.append(kernel())
        found.append(kernel())

    thread = threading.Thread(target=other)
    with blank_weights():
        thread.start()
        assert entered.wait(10)
        assert not np.any(kernel())
    assert np.all(kernel() != 0)  # while the other is within its block
    left.set()
    thread.join()
    blank, drawn = found
    assert not np.any(blank)
    assert np.all(drawn != 0)
    assert np.all(kernel() != 0)
