"""Seconds of a training step; started by `benchmarks.run`."""

import time

from benchmarks.children import Request, answer
from benchmarks.machine import gemm_rate, peak_memory
from benchmarks.timing import repeat


def measure(request: Request) -> dict:
    """Steps on synthetic data for `seconds`, between two measurements of the GEMM rate.

    Returns:
        seconds: of each step. processor_seconds: of all threads, a step. first_step: seconds from
        the start of the process to the end of the first step. gflop: counted operations of one
        step. gemm_before, gemm_after: GFLOP/s. peak_memory: MiB. graph_nodes.
    """
    from ncsn_tf.commands.start import start_for_training

    strategy = start_for_training(request.config)
    from benchmarks import operations
    from benchmarks.training import SyntheticTraining

    training = SyntheticTraining(request.config, strategy)
    training.step()
    first_step = request.age()
    training.step()
    before = gemm_rate()
    processor = time.process_time()
    seconds = repeat(training.step, request.parameters["seconds"])
    processor = time.process_time() - processor
    peak = peak_memory()
    after = gemm_rate()
    training.check()
    forward = operations.forward_gflop(training.state.network) * request.config.batch_size
    return {
        "seconds": seconds,
        "processor_seconds": processor / len(seconds),
        "first_step": first_step,
        "gflop": operations.TRAINING_FACTOR * forward,
        "gemm_before": before,
        "gemm_after": after,
        "peak_memory": peak,
        "graph_nodes": operations.graph_nodes(training.trace()),
    }


if __name__ == "__main__":
    answer(measure)
