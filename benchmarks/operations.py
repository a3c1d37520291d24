"""Operations counted in graphs: multiply-adds of convolutions, nodes."""

import math

import tensorflow as tf

# A training step needs a convolution's result, the gradient of its kernel and that of its input:
# three products of the same size.
TRAINING_FACTOR = 3


def forward_gflop(network):
    """Billions of operations in the convolutions of one evaluation of one image.

    A multiply-add counts as two. Normalisation, pooling and the like are not counted.
    """
    return 2e-9 * multiply_adds(network, network.image_shape)


def multiply_adds(network, image_shape):
    """Multiply-adds in the convolutions that a network does for one image.

    The sum over the traced graph's Conv2D nodes of: elements of the result, times height, width
    and input channels of the kernel. Padding counts as if it were multiplied.

    Args:
        network: (x [1, *image_shape], labels int32 [1]) -> score.
        image_shape: (H, W, C).

    Raises:
        ValueError: no convolution was found, or one whose shape is not known.
    """
    counts = [
        _of(node) for node in traced_operations(network, image_shape) if node.type == "Conv2D"
    ]
    if not counts:
        raise ValueError("the network's graph holds no convolution to count")
    return sum(counts)


def traced_operations(network, image_shape):
    """The operations of a network's graph for one image, those of its functions among them."""
    inputs = tf.TensorSpec([1, *image_shape]), tf.TensorSpec([1], tf.int32)
    eager = tf.config.functions_run_eagerly()
    # So that functions within the network are traced into the graph at hand.
    tf.config.run_functions_eagerly(True)
    try:
        function = tf.function(lambda x, labels: network(x, labels), autograph=False)
        return function.get_concrete_function(*inputs).graph.get_operations()
    finally:
        tf.config.run_functions_eagerly(eager)


def _of(node):
    result, kernel = node.outputs[0].shape, node.inputs[1].shape
    if not (result.is_fully_defined() and kernel.is_fully_defined()):
        raise ValueError(f"the shapes of {node.name} are not known: {result}, kernel {kernel}")
    return math.prod(result) * math.prod(kernel[:3])


def graph_nodes(graph_def):
    """Nodes of a GraphDef: those of its main graph and those of its function library."""
    return len(graph_def.node) + sum(len(each.node_def) for each in graph_def.library.function)
