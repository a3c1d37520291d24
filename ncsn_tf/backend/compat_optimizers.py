"""What differs of optimizers between the package sets: the part of `compat` that is about them."""

import warnings
from collections.abc import Sequence
from types import ModuleType

import keras
import tensorflow as tf

from ncsn_tf.backend.compat import KERAS_3, gradients_of_graph, raw_variable


def apply_gradients(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[tf.Tensor],
    variables: Sequence["keras.Variable | tf.Variable"],
) -> None:
    """`optimizer.apply_gradients`, after which the graph that it is traced in can be freed.

    It adds the replicas' gradients by an operation that has a custom gradient itself.

    Example:
        >>> variable = tf.Variable(1.0)
        >>> optimizer = keras.optimizers.SGD(0.5)
        >>> apply_gradients(optimizer, [tf.constant(1.0)], [variable])
        >>> float(variable)
        0.5
    """
    with gradients_of_graph():
        optimizer.apply_gradients(zip(gradients, variables, strict=True))


def build_optimizer(
    optimizer: keras.optimizers.Optimizer, variables: Sequence["keras.Variable | tf.Variable"]
) -> None:
    """Create an optimizer's variables.

    Example:
        >>> optimizer, layer = keras.optimizers.Adam(), keras.layers.Dense(1)
        >>> layer.build((None, 2))
        >>> build_optimizer(optimizer, layer.trainable_variables)
        >>> [tuple(moment.shape) for moment in adam_moments(optimizer, layer.kernel)]
        [(2, 1), (2, 1)]
    """
    if hasattr(optimizer, "build"):
        optimizer.build(variables)
    else:
        # Addons' optimizers are of Keras's older class, which has no public way to do this.
        optimizer._create_all_weights(variables)


def adam_moments(
    optimizer: keras.optimizers.Optimizer, variable: "keras.Variable | tf.Variable"
) -> list[tf.Variable]:
    """The `tf.Variable`s of Adam's first and second moment of a variable."""
    if KERAS_3:
        index = optimizer._get_variable_index(variable)
    else:
        index = optimizer._index_dict[optimizer._var_key(variable)]
    return [
        raw_variable(moments[index]) for moments in (optimizer._momentums, optimizer._velocities)
    ]


def import_addons() -> ModuleType | None:
    """tensorflow_addons, or None where it is not installed: it cannot be beside Keras 3."""
    if KERAS_3:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its notice of the end of its development
            import tensorflow_addons
    except ImportError:
        return None
    return tensorflow_addons
