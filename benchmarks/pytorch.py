"""Seconds of the same work in PyTorch, eager; started by `benchmarks.run --pytorch`."""

from collections.abc import Callable

from benchmarks.children import Request, answer
from benchmarks.machine import peak_memory
from benchmarks.timing import quantile, repeat
from ncsn_tf.settings.config import Config


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
    from benchmarks.pytorch_unet import PyTorchNCSNpp, unet_parameters_like
    from ncsn_tf.backend.quiet import quietly

    config, work = request.config, request.parameters["work"]
    with quietly():
        from ncsn_tf.training.run_equation import is_third, ladder_of
        from ncsn_tf.training.run_network import build_network

        ours = build_network(config)
        gflop = forward_gflop(ours) * config.batch_size
        sigmas = None if is_third(config) else torch.as_tensor(ladder_of(config).numpy())
    generator = torch.Generator().manual_seed(0)
    if is_third(config):
        network = PyTorchNCSNpp(ours, unet_parameters_like(ours, generator))
        condition, loss_fn = torch.ones(config.batch_size), diffusion_loss(config)
    else:
        network = PyTorchNCSN(parameters_like(ours, generator))
        condition = torch.zeros(config.batch_size, dtype=torch.long)
        loss_fn = level_loss(sigmas)
    del ours
    height, width, channels = config.image_shape
    images = torch.rand([config.batch_size, channels, height, width], generator=generator)
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)

    def evaluate():
        with torch.no_grad():
            network(images, condition)

    def train():
        loss = loss_fn(network, images, generator)
        optimizer.zero_grad()
        loss.backward()
        if config.gradient_clip:
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
        optimizer.step()

    a, b = (torch.rand([2048, 2048], generator=generator) for _ in range(2))

    def gemm_rate():
        return 2e-9 * 2048**3 / quantile(repeat(lambda: a @ b, 1.0), 0.5)

    run = {"sample": evaluate, "train": train}[work]
    network.train(work == "train")
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


def level_loss(sigmas) -> Callable:
    """Of the first generation: denoising score matching at random levels."""
    import torch

    def loss(network, images, generator):
        levels = torch.randint(len(sigmas), [len(images)], generator=generator)
        sigma = sigmas[levels][:, None, None, None]
        noise = torch.randn(images.shape, generator=generator)
        error = network(images + sigma * noise, levels) + noise / sigma
        return (0.5 * sigma**2 * error**2).sum((1, 2, 3)).mean()

    return loss


def diffusion_loss(config: Config) -> Callable:
    """Of the third: at random times, of a variance that explodes or is preserved."""
    import torch

    def moments(t):
        """Mean's factor and standard deviation, [B, 1, 1, 1]."""
        if config.sde == "ve":
            std = config.sigma_end * (config.sigma_begin / config.sigma_end) ** t
            return torch.ones_like(std), std
        slope = config.beta_max - config.beta_min
        exponent = -0.25 * t**2 * slope - 0.5 * t * config.beta_min
        return torch.exp(exponent), torch.sqrt(-torch.expm1(2 * exponent))

    def loss(network, images, generator):
        t = 1e-5 + (1 - 1e-5) * torch.rand(len(images), generator=generator)
        mean, std = (each[:, None, None, None] for each in moments(t))
        if config.centered:
            images = 2 * images - 1
        noise = torch.randn(images.shape, generator=generator)
        is_ve = config.sde == "ve"
        output = network(mean * images + std * noise, std[:, 0, 0, 0] if is_ve else 999 * t)
        squares = (output * std + noise if is_ve else noise - output) ** 2
        return squares.mean() if config.reduce_mean else 0.5 * squares.sum((1, 2, 3)).mean()

    return loss


if __name__ == "__main__":
    answer(measure)
