"""What differs between the package sets: the only place that asks for a version.

The default set is TensorFlow 2.21 with Keras 3; the other, for TensorFlow Addons, is TensorFlow
2.15 with Keras 2.15.
"""

import keras

KERAS_3 = int(keras.__version__.split(".")[0]) >= 3

# add_weight renamed the switch that keeps a weight in float32 under a mixed policy.
KEEP_FLOAT32 = {"autocast": False} if KERAS_3 else {"experimental_autocast": False}

# TensorFlow 2.15 takes over eight minutes to compile the network with XLA for a CPU.
XLA_ON_CPU = KERAS_3


def raw_variable(variable):
    """The `tf.Variable` behind a layer's weight: Keras 3 wraps it in a class of its own."""
    return variable.value if KERAS_3 else variable


def raw_variables(model):
    """The `tf.Variable`s of a model, in the order of `model.trainable_variables`."""
    return [raw_variable(variable) for variable in model.trainable_variables]


def build_optimizer(optimizer, variables):
    """Create an optimizer's variables."""
    if hasattr(optimizer, "build"):
        optimizer.build(variables)
    else:
        # Addons' optimizers are of Keras's older class, which has no public way to do this.
        optimizer._create_all_weights(variables)


def import_addons():
    """tensorflow_addons, or None where it is not installed: it cannot be beside Keras 3."""
    if KERAS_3:
        return None
    try:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its notice of the end of its development
            import tensorflow_addons
    except ImportError:
        return None
    return tensorflow_addons
