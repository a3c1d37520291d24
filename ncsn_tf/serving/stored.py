"""Weights of an export that are stored in a smaller type than the network computes with."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ncsn_tf.backend.compat import raw_variable, read_weights
from ncsn_tf.errors import UserError
from ncsn_tf.settings.options import show

Pairs = Sequence[tuple["tf.Variable", tf.Variable]]  # a weight, and the variable that stores it


def stored_weights(network: Callable, dtype: str) -> Pairs:
    """The trained weights of a network, each with a new variable of its values in another type.

    Half of the bytes, and a relative error of at most 0.0005 in a weight, or 3e-8 in weights below
    0.00006. What is not trained stays as it is: the frequencies of a Fourier embedding are
    multiplied by numbers that are too large for such errors.

    Args:
        network: with `trainable_variables`.
        dtype: "float16"; "float32", in which they are, stores nothing elsewhere.

    Raises:
        UserError: a weight is too large for that type.

    Example:
        >>> layer = tf.keras.layers.Dense(2)
        >>> layer.build((None, 3))
        >>> [variable.dtype.name for _, variable in stored_weights(layer, "float16")]
        ['float16', 'float16']
        >>> stored_weights(layer, "float32")
        []
    """
    if dtype == "float32":
        return []
    pairs = []
    for weight in network.trainable_variables:
        values, most = raw_variable(weight).numpy(), float(np.finfo(dtype).max)
        largest = float(np.max(np.abs(values), initial=0.0))
        if largest > most:
            raise UserError(
                f"{show('export_weights', dtype)} cannot hold a weight of {largest:.3g}: the "
                f"largest is {most:.0f}; --export_weights=float32 holds it"
            )
        pairs.append((weight, tf.Variable(values.astype(dtype), trainable=False)))
    return pairs


def all_weights(network: Callable, stored: Pairs) -> list[tf.Variable]:
    """The variables that an export holds, in the order of `network.weights`."""
    elsewhere = {id(weight): variable for weight, variable in stored}
    return [elsewhere.get(id(weight), raw_variable(weight)) for weight in network.weights]


def reading(network: Callable, stored: Pairs) -> Callable:
    """The network, which reads its stored weights whenever it is called.

    For calls outside of loops, and for graphs that several others share; chains read them once, by
    `read_weights`.
    """
    if not stored:
        return network

    def read(*inputs):
        return read_weights(network, stored)(*inputs)

    return read
