"""Seconds of a network's convolutions, each shape by itself; started by `benchmarks.run`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.children import Request, answer
from benchmarks.machine import gemm_rate
from benchmarks.timing import quantile, repeat

if TYPE_CHECKING:  # TensorFlow starts in the process that measures
    from benchmarks.operations import Shape

# Runs of a product that are timed together, one after another.
IN_A_ROW = 8
# What a training step needs of a convolution; an evaluation needs the first alone.
PRODUCTS = ("result", "kernel_gradient", "input_gradient")


def measure(request: Request) -> dict:
    """Every product of every shape of convolution, for `seconds` each.

    Returns:
        convolutions: of each shape its text, the number of such convolutions in the network, gflop
        of one product for the batch, and of each product the median of its seconds, but for the
        gradient of the images themselves, which no step needs. gflop: counted operations of an
        evaluation of the batch. gemm: GFLOP/s, median of measurements in between.
    """
    from ncsn_tf.commands.start import start_for_training

    strategy = start_for_training(request.config)
    from benchmarks import operations
    from ncsn_tf.backend.devices import is_cpu
    from ncsn_tf.backend.tiles import training_tile
    from ncsn_tf.training.run_network import build_network

    config = request.config
    network = build_network(config)
    tile = training_tile(
        config.batch_size,
        config.features,
        is_cpu(strategy),
        config.training_tile,
        config.settled().jit_compile,
    )
    measured, rates = [], [gemm_rate()]
    for shape, number in operations.convolutions(network, network.image_shape).items():
        row = {
            "convolution": str(shape),
            "number": number,
            "gflop": 2e-9 * config.batch_size * shape.multiply_adds(),
        }
        for product in PRODUCTS:
            if product != "input_gradient" or shape.image != network.image_shape:
                fn = product_fn(shape, product, config.batch_size, tile)
                fn()
                fn()
                times = repeat(fn, request.parameters["seconds"])
                row[product] = quantile(times, 0.5) / IN_A_ROW
        rates.append(gemm_rate())
        measured.append(row)
    return {
        "convolutions": measured,
        "gflop": operations.forward_gflop(network) * config.batch_size,
        "gemm": quantile(rates, 0.5),
    }


def product_fn(shape: "Shape", product: str, batch_size: int, tile: int) -> Callable[[], float]:
    """A compiled function without arguments: IN_A_ROW runs of a product for a whole batch.

    The tiles of the batch are computed side by side, as in a training step.

    Args:
        shape: `operations.Shape`.
        product: one of PRODUCTS.
        batch_size: images.
        tile: images computed together.
    """
    import tensorflow as tf

    from ncsn_tf.models.functional import barrier

    options = {
        "strides": [1, shape.stride, shape.stride, 1],
        "padding": shape.padding,
        "dilations": [1, shape.dilation, shape.dilation, 1],
    }

    def compute(kernel, x, upstream):
        if product == "result":
            return tf.nn.conv2d(x, kernel, **options)
        if product == "kernel_gradient":
            return tf.raw_ops.Conv2DBackpropFilter(
                input=x, filter_sizes=kernel.shape, out_backprop=upstream, **options
            )
        return tf.raw_ops.Conv2DBackpropInput(
            input_sizes=x.shape, filter=kernel, out_backprop=upstream, **options
        )

    @tf.function(autograph=False)
    def run(kernel, tiles):
        # TensorFlow drops a result that nothing reads, and computes once what is the same: a number
        # of each is read, and all are behind barriers.
        done, read = [], []
        for _ in range(IN_A_ROW):
            with tf.control_dependencies(done):
                arguments = [[barrier(each) for each in (kernel, *pair)] for pair in tiles]
            done = [compute(*each) for each in arguments]
            read += [each[0, 0, 0, 0] for each in done]
        return tf.add_n(read)

    kernel = tf.random.stateless_uniform(shape.kernel, [0, 0])
    tiles = [
        [
            tf.random.stateless_uniform([tile, *size], [start, index])
            for index, size in enumerate((shape.image, shape.result))
        ]
        for start in range(0, batch_size, tile)
    ]
    return lambda: float(run(kernel, tiles))


if __name__ == "__main__":
    answer(measure)
