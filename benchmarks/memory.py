"""Memory of a training step; started by `benchmarks.run`."""

from benchmarks.children import Request, answer
from benchmarks.machine import peak_memory, resident_memory

STEPS = 3


def measure(request: Request) -> dict:
    """A few training steps, and nothing else.

    Returns:
        after_import: MiB with TensorFlow and the package imported. after_build: with the weights
        too. peak: the most until the last step was done.
    """
    from ncsn_tf.commands.start import start_for_training

    strategy = start_for_training(request.config)
    from benchmarks.training import SyntheticTraining

    after_import = resident_memory()
    training = SyntheticTraining(request.config, strategy)
    after_build = resident_memory()
    for _ in range(STEPS):
        training.step()
    training.check()
    return {"after_import": after_import, "after_build": after_build, "peak": peak_memory()}


if __name__ == "__main__":
    answer(measure)
