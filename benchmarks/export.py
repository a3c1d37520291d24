"""An exported sampler with fresh weights for other measurements; started by `benchmarks.run`."""

from benchmarks.children import Request, answer


def measure(request: Request) -> dict:
    """Export into `folder`. Returns the path of the version, and the seconds it took to write."""
    import time

    from ncsn_tf.commands.start import start_tensorflow

    start_tensorflow()
    from ncsn_tf.serving.export import save_sampler
    from ncsn_tf.training.run_network import build_network

    network = build_network(request.config)
    started = time.perf_counter()
    about = {"training_step": 0, "weights": "fresh"}
    path = save_sampler(network, request.config, request.parameters["folder"], about)
    return {"path": str(path), "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    answer(measure)
