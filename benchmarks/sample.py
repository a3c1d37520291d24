"""Seconds of a network evaluation and of a Langevin step; started by `benchmarks.run`."""

from benchmarks.children import Request, answer
from benchmarks.machine import gemm_rate, peak_memory
from benchmarks.timing import quantile, repeat


def measure(request: Request) -> dict:
    """The network alone and a compiled chain of Langevin steps, in turns, for `seconds`.

    Returns:
        seconds: of each evaluation of the network on a batch. step_seconds: of a step of each
        chain. bare_seconds: of a step of each chain whose score is -x: what the sampler itself
        does. chain_steps: its length. gflop: counted operations of one evaluation of the batch.
        gemm_before, gemm_after: GFLOP/s. peak_memory: MiB.
    """
    from ncsn_tf.backend.tiles import PARALLEL_TILES
    from ncsn_tf.commands.start import start_tensorflow

    # As samples are drawn: in tiles, some at once. Here the batch is as many of them.
    start_tensorflow(parallel_parts=min(PARALLEL_TILES, request.config.batch_size))
    import tensorflow as tf

    from benchmarks import operations
    from ncsn_tf.backend.compat import read_weights
    from ncsn_tf.sampling.chain import Rows, in_tiles
    from ncsn_tf.sampling.langevin import AnnealedLangevin
    from ncsn_tf.training.run_equation import is_third, ladder_of, score_on_ladder
    from ncsn_tf.training.run_network import build_network

    config, budget = request.config, request.parameters["seconds"]
    network = build_network(config)
    seeds = tf.range(config.batch_size, dtype=tf.int64)
    levels = tf.zeros([config.batch_size], tf.float32 if is_third(config) else tf.int32)
    if is_third(config):
        levels += 1.0  # what the network is told: sigma, or 999 t
    langevin = AnnealedLangevin(ladder_of(config))
    x = langevin.start(seeds, config.image_shape)
    rows = Rows.fill(seeds, config.step_lr, config.num_steps_each)

    tile = -(-config.batch_size // PARALLEL_TILES)
    network_fn = tf.function(lambda x, levels: in_tiles(network, tile, x, levels), autograph=False)

    def advance(score_fn, x, rows, stop):
        return in_tiles(lambda x, rows: langevin.advance(score_fn, x, rows, 0, stop), tile, x, rows)

    @tf.function(autograph=False)
    def chain_fn(x, rows, stop):
        return advance(score_on_ladder(read_weights(network), config), x, rows, stop)

    @tf.function(autograph=False)
    def bare_fn(x, rows, stop):
        return advance(lambda x, levels: -x, x, rows, stop)

    def evaluate():
        network_fn(x, levels).numpy()

    def run(chain, steps):
        chain(x, rows, tf.constant(steps)).numpy()

    evaluate()
    run(chain_fn, 1)
    run(bare_fn, 1)
    before = gemm_rate()
    # So long that a chain's start counts little, so short that there are several in the budget.
    once = quantile(repeat(evaluate, 0.0), 0.5)
    longest = config.num_levels * config.num_steps_each
    steps = max(1, min(20, longest, round(budget / 8 / once)))
    seconds, chains, bare = [], [], []

    def turn():
        seconds.extend(repeat(evaluate, 0.0, least=steps))
        chains.extend(repeat(lambda: run(chain_fn, steps), 0.0, least=1))
        bare.extend(repeat(lambda: run(bare_fn, steps), 0.0, least=1))

    repeat(turn, budget, least=2)
    return {
        "seconds": seconds,
        "step_seconds": [each / steps for each in chains],
        "bare_seconds": [each / steps for each in bare],
        "chain_steps": steps,
        "gflop": operations.forward_gflop(network) * config.batch_size,
        "gemm_before": before,
        "gemm_after": gemm_rate(),
        "peak_memory": peak_memory(),
    }


if __name__ == "__main__":
    answer(measure)
