"""Operations counted in graphs: multiply-adds of convolutions, nodes."""

import collections
import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

# A training step needs a convolution's result, the gradient of its kernel and that of its input:
# three products of the same size.
TRAINING_FACTOR = 3


def forward_gflop(network: Callable) -> float:
    """Billions of operations in the convolutions that one evaluation of one image asks for.

    A multiply-add counts as two. Normalisation, pooling, filters, attention's products of pixels
    with pixels and the like are not counted. A convolution
    that is merged with the pooling after it counts as if it was not, so that programs which do not
    merge them can be compared.
    """
    return 2e-9 * multiply_adds(convolutions(network, network.image_shape), unmerged=True)


def multiply_adds(counted: dict["Shape", int], unmerged: bool = False) -> int:
    """Multiply-adds in the convolutions of one image.

    The sum over the convolutions of: elements of the result, times height, width and input channels
    of the kernel. Padding counts as if it were multiplied.

    Args:
        counted: how many there are of each shape, as from `convolutions`.
        unmerged: count a 4 x 4 convolution at every other pixel as what it was merged from, a 3 x 3
            one at every pixel.

    Raises:
        ValueError: there are none.
    """
    if not counted:
        raise ValueError("the network's graph holds no convolution to count")
    return sum(number * shape.multiply_adds(unmerged) for shape, number in counted.items())


@dataclasses.dataclass(frozen=True)
class Shape:
    """What tells one convolution of a network from another.

    Attributes:
        image: (H, W, inputs), of one image.
        result: (H', W', filters).
        kernel: (height, width, inputs, filters).
        padding: "SAME" or "VALID".
    """

    image: tuple
    result: tuple
    kernel: tuple
    stride: int
    dilation: int
    padding: str = "SAME"

    def multiply_adds(self, unmerged: bool = False) -> int:
        """Of one image; see `multiply_adds`, the function."""
        height, width, inputs, _ = self.kernel
        size = height * width
        if unmerged and self.stride == 2 and height == 4:
            size = self.stride**2 * (height - 1) * (width - 1)
        return math.prod(self.result) * size * inputs

    def __str__(self):
        (height, width, inputs), kernel = self.image, self.kernel
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        dilation = f", dilation {self.dilation}" if self.dilation > 1 else ""
        borders = ", without borders" if self.padding == "VALID" else ""
        kernels = f"{inputs} to {kernel[3]}, {kernel[0]}x{kernel[1]}"
        return f"{height}x{width}, {kernels}{stride}{dilation}{borders}"


def convolutions(network: Callable, image_shape: tuple[int, ...]) -> dict["Shape", int]:
    """The shapes of a network's convolutions: {`Shape`: how many of it}, in the graph's order.

    Args:
        network: (x [1, *image_shape], levels int32 [1]) -> score.
        image_shape: (H, W, C).

    Raises:
        ValueError: a shape is not known.
    """
    counted = collections.Counter()
    for node in traced_operations(network, image_shape):
        if node.type == "Conv2D":
            (image, kernel), (result,) = node.inputs, node.outputs
            if not all(tensor.shape.is_fully_defined() for tensor in (image, kernel, result)):
                raise ValueError(
                    f"the shapes of {node.name} are not known: {result.shape}, kernel "
                    f"{kernel.shape}"
                )
            stride, dilation = (node.get_attr(name)[1] for name in ("strides", "dilations"))
            shape = Shape(
                *(tuple(image.shape[1:]), tuple(result.shape[1:]), tuple(kernel.shape)),
                *(stride, dilation, node.get_attr("padding").decode()),
            )
            counted[shape] += result.shape[0]  # more than one where an image is taken apart
    return counted


def traced_operations(network: Callable, image_shape: tuple[int, ...]) -> list[tf.Operation]:
    """The operations of a network's graph for one image, those of its functions among them."""
    inputs = tf.TensorSpec([1, *image_shape]), tf.TensorSpec([1], tf.int32)
    eager = tf.config.functions_run_eagerly()
    # So that functions within the network are traced into the graph at hand.
    tf.config.run_functions_eagerly(True)
    try:
        function = tf.function(lambda x, levels: network(x, levels), autograph=False)
        return function.get_concrete_function(*inputs).graph.get_operations()
    finally:
        tf.config.run_functions_eagerly(eager)


def graph_nodes(graph_def: tf.compat.v1.GraphDef) -> int:
    """Nodes of a GraphDef: those of its main graph and those of its function library."""
    return len(graph_def.node) + sum(len(each.node_def) for each in graph_def.library.function)
