"""Whether batches come as fast as the training step takes them; started by `benchmarks.run`."""

import time
from collections.abc import Iterator

from benchmarks.children import Request, answer
from benchmarks.timing import repeat

ROUNDS = 2
BLOCK = 64


def measure(request: Request) -> dict:
    """Batches alone; then the step on a fixed batch and the step on new batches, in turns.

    Returns:
        load: seconds to open the data set. batch_seconds: of blocks of batches, each divided by
        its number. step_seconds: of steps on a batch that is there. fed_seconds: of steps that
        first take their batch.
    """
    from ncsn_tf.commands.start import start_for_training

    strategy = start_for_training(request.config)
    from benchmarks.training import SyntheticTraining
    from ncsn_tf.data.batches import training_batches
    from ncsn_tf.training.run_data import run_source

    config, budget = request.config, request.parameters["seconds"] / 3
    started = time.perf_counter()
    source = run_source(config, "train")
    load = time.perf_counter() - started

    def batches():
        return iter(
            strategy.experimental_distribute_dataset(
                training_batches(
                    source,
                    batch_size=config.batch_size,
                    seed=config.seed,
                    random_flip=config.random_flip,
                )
            )
        )

    seconds = batches_alone(batches(), budget)

    training = SyntheticTraining(config, strategy)
    training.step()
    stream = batches()
    training.step(next(stream))
    steps, fed = [], []
    for _ in range(ROUNDS):
        steps += repeat(training.step, budget / ROUNDS)
        fed += repeat(lambda: training.step(next(stream)), budget / ROUNDS)
    training.check()
    return {
        "load": load,
        "batch_seconds": seconds,
        "step_seconds": steps,
        "fed_seconds": fed,
    }


def batches_alone(iterator: Iterator, budget: float) -> list[float]:
    """Seconds a batch, of blocks of them.

    A block is longer than the queue of batches made ahead, or only the queue would be measured.

    Args:
        iterator: of batches.
        budget: seconds to spend.
    """

    def take_block():
        for _ in range(BLOCK):
            next(iterator)

    take_block()
    return [seconds / BLOCK for seconds in repeat(take_block, budget)]


if __name__ == "__main__":
    answer(measure)
