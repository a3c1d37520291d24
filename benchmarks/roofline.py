"""What accelerators should reach: counted operations and bytes against their peak rates.

    python -m benchmarks.roofline --flagfile=cifar10

prints the table of docs/performance.md. Nothing is measured: the graph of the network is read, and
the peaks are the makers' figures.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator

from ncsn_tf.commands.console import run_command
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.flags import parse_config

SUMMARY = "Least times of training and sampling on accelerators, from counted operations and bytes."


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """Peak rates by the maker's data sheet.

    Attributes:
        flops: {precision: operations a second}, dense.
        bandwidth: bytes a second of its memory.
    """

    name: str
    flops: dict
    bandwidth: float


ACCELERATORS = [
    Accelerator("H100 SXM", {"float32": 67e12, "tf32": 495e12, "bfloat16": 989e12}, 3.35e12),
    Accelerator("H200 SXM", {"float32": 67e12, "tf32": 495e12, "bfloat16": 989e12}, 4.8e12),
    Accelerator("TPU v5e", {"bfloat16": 197e12}, 0.819e12),
    Accelerator("TPU v5p", {"bfloat16": 459e12}, 2.765e12),
]
_BYTES = {"float32": 4, "tf32": 4, "bfloat16": 2}


@dataclasses.dataclass(frozen=True)
class Counts:
    """Of one image and one evaluation.

    Attributes:
        multiply_adds: in the convolutions.
        convolution_elements: read and written by convolutions.
        norm_elements: of all inputs of normalisations.
    """

    multiply_adds: int
    convolution_elements: int
    norm_elements: int

    def forward(self, size: int) -> tuple[int, int]:
        """(operations, bytes) of an evaluation, `size` bytes a number.

        A convolution reads its input and writes its result. A normalisation reads its input twice,
        once for the statistics and once, with the activation that follows, to write its result.
        """
        elements = self.convolution_elements + 3 * self.norm_elements
        return 2 * self.multiply_adds, size * elements

    def training(self, size: int) -> tuple[int, int]:
        """(operations, bytes) of an evaluation and its gradient.

        The gradients of a convolution read two tensors for the kernel, and read one and write one
        for the input; that of a normalisation reads two for its sums, and reads two and writes one
        for the input.
        """
        operations, moved = self.forward(size)
        elements = 2 * self.convolution_elements + 5 * self.norm_elements
        return 3 * operations, moved + size * elements


def count(network: Callable) -> Counts:
    """`Counts` of a network, from its traced graph."""
    from benchmarks.operations import convolutions, multiply_adds, traced_operations

    counted = convolutions(network, network.image_shape)
    # Each normalisation has one, of its input and its means.
    norms = [
        op
        for op in traced_operations(network, network.image_shape)
        if op.type == "SquaredDifference"
    ]
    return Counts(
        multiply_adds(counted),
        sum(n * (math.prod(shape.image) + math.prod(shape.result)) for shape, n in counted.items()),
        sum(math.prod(op.outputs[0].shape) for op in norms),
    )


def bound(operations: float, moved: float, flops: float, bandwidth: float) -> tuple[float, str]:
    """(seconds, what limits): the longer of computing and moving."""
    compute, memory = operations / flops, moved / bandwidth
    return max(compute, memory), "memory" if memory > compute else "arithmetic"


def lines(counts: Counts, config: Config, num_samples: int = 50_000) -> Iterator[str]:
    """The table, a line of markdown each."""
    evaluations = config.num_levels * config.num_steps_each + config.denoise
    yield (
        f"| device | precision | step of {config.batch_size} images | limit | "
        f"{config.num_steps:,} steps | evaluation of 1,024 images | limit | "
        f"{num_samples:,} samples |"
    )
    yield "|---|---|---:|---|---:|---:|---|---:|"
    for device in ACCELERATORS:
        for precision, flops in device.flops.items():
            size = _BYTES[precision]
            rates = flops, device.bandwidth
            step, why = bound(*(config.batch_size * n for n in counts.training(size)), *rates)
            sample, why_sample = bound(*(1024 * n for n in counts.forward(size)), *rates)
            total = sample / 1024 * evaluations * num_samples
            yield (
                f"| {device.name} | {precision} | {1e3 * step:.1f} ms | {why} | "
                f"{step * config.num_steps / 3600:.1f} h | {1e3 * sample:.1f} ms | {why_sample} | "
                f"{total / 3600:.1f} h |"
            )


def main(argv: list[str]) -> None:
    config = parse_config(argv, SUMMARY)
    from ncsn_tf.commands.start import start_tensorflow

    start_tensorflow()
    from ncsn_tf.training.run_network import build_network

    counts = count(build_network(config))
    operations, moved = counts.forward(4)
    trained, moved_trained = counts.training(4)
    print(
        f"An evaluation of an image: {operations / 1e9:.2f} GFLOP, {moved / 1e6:.1f} MB (float32)"
    )
    print(f"A training step, an image: {trained / 1e9:.2f} GFLOP, {moved_trained / 1e6:.1f} MB")
    print(*lines(counts, config), sep="\n")


if __name__ == "__main__":
    run_command(main)
