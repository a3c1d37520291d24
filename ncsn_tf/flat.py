"""All weights of a network as one vector, for what treats every weight alike."""

import keras
import tensorflow as tf

from ncsn_tf.compat import raw_variable, raw_variables


class FlatWeights(keras.layers.Layer):
    """The trainable weights of a network as one vector [P], in `trainable_variables`' order.

    An element-wise optimizer, the average of the weights and the sum of gradients over replicas
    then handle one variable instead of hundreds: the same numbers from a hundredth of the graph.
    """

    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        size = sum(variable.shape.num_elements() for variable in raw_variables(network))
        self.weight = self.add_weight(
            name="weights", shape=(size,), initializer="zeros", dtype="float32"
        )
        self.vector = raw_variable(self.weight)

    def flatten(self, tensors):
        """Tensors of the weights' shapes -> [P]."""
        return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)

    def move_towards(self, other, fraction):
        """self + fraction * (other - self): a step of the exponential moving average."""
        for mine, theirs in zip(copies(self.vector), copies(other.vector), strict=True):
            # The difference and this: two passes over memory, where assign_add makes three.
            tf.raw_ops.ResourceApplyGradientDescent(
                var=mine.handle, alpha=fraction, delta=mine - theirs
            )

    def copy_from(self, network):
        """Set the vector to a network's weights, each replica from its own copy."""
        weights = [copies(variable) for variable in raw_variables(network)]
        for replica, vector in enumerate(copies(self.vector)):
            vector.assign(self.flatten([weight[replica] for weight in weights]))

    def copy_to(self, network):
        """Set a network's weights to the vector's pieces, each replica from its own copy."""
        weights = [copies(variable) for variable in raw_variables(network)]
        for replica, vector in enumerate(copies(self.vector)):
            with tf.device(vector.device):
                pieces = split(vector, [weight[replica] for weight in weights])
                for weight, piece in zip(weights, pieces, strict=True):
                    weight[replica].assign(piece)


def split(vector, like):
    """The pieces of a vector [P], in the shapes of the tensors in `like`."""
    sizes = [tensor.shape.num_elements() for tensor in like]
    pieces = tf.split(vector, sizes)
    return [tf.reshape(piece, tensor.shape) for piece, tensor in zip(pieces, like, strict=True)]


def copies(variable):
    """Each replica's copy of a variable; of one that is not replicated, itself."""
    return getattr(variable, "values", (variable,))
