"""Seconds of the same work in PyTorch, eager; started by `benchmarks.run --pytorch`."""

from benchmarks.children import Request, answer
from benchmarks.machine import peak_memory
from benchmarks.timing import quantile, repeat


def measure(request: Request) -> dict:
    """Evaluations of the network (`work` "sample") or steps of Adam on its loss ("train").

    On as many threads as this process may use cores, for `seconds`.

    Returns:
        seconds: of each. gflop: counted operations of one. gemm_before, gemm_after: GFLOP/s of
        PyTorch's own matrix products. peak_memory: MiB.
    """
    import torch

    from benchmarks.operations import TRAINING_FACTOR, forward_gflop
    from benchmarks.pytorch_network import PyTorchNCSN, parameters_like
    from ncsn_tf.backend.quiet import quietly

    config, work = request.config, request.parameters["work"]
    with quietly():
        from ncsn_tf.schedule import geometric_sigmas
        from ncsn_tf.training.run_network import build_network

        ours = build_network(config)
        gflop = forward_gflop(ours) * config.batch_size
        sigmas = geometric_sigmas(config.sigma_begin, config.sigma_end, config.num_levels).numpy()
    generator = torch.Generator().manual_seed(0)
    network = PyTorchNCSN(parameters_like(ours, generator))
    del ours
    sigmas = torch.as_tensor(sigmas)
    height, width, channels = config.image_shape
    images = torch.rand([config.batch_size, channels, height, width], generator=generator)
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)

    def evaluate():
        with torch.no_grad():
            network(images, torch.zeros(config.batch_size, dtype=torch.long))

    def train():
        levels = torch.randint(config.num_levels, [config.batch_size], generator=generator)
        sigma = sigmas[levels][:, None, None, None]
        noise = torch.randn(images.shape, generator=generator)
        error = network(images + sigma * noise, levels) + noise / sigma
        loss = (0.5 * sigma**2 * error**2).sum((1, 2, 3)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    a, b = (torch.rand([2048, 2048], generator=generator) for _ in range(2))

    def gemm_rate():
        return 2e-9 * 2048**3 / quantile(repeat(lambda: a @ b, 1.0), 0.5)

    run = {"sample": evaluate, "train": train}[work]
    run()
    run()
    before = gemm_rate()
    seconds = repeat(run, request.parameters["seconds"])
    return {
        "seconds": seconds,
        "gflop": gflop * (TRAINING_FACTOR if work == "train" else 1),
        "gemm_before": before,
        "gemm_after": gemm_rate(),
        "peak_memory": peak_memory(),
    }


if __name__ == "__main__":
    answer(measure)
