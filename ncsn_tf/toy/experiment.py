"""Why score-based sampling needs noise, in numbers and pictures: the work of `ncsn toy`."""

import os
import time
from collections.abc import Callable

from ncsn_tf import files
from ncsn_tf.toy import figures
from ncsn_tf.toy import mixture as toy


def run_toy(
    out: str | os.PathLike,
    num_steps: int = 10_000,
    num_samples: int = 1280,
    seed: int = 0,
    say: Callable[[str], object] = print,
) -> None:
    """Run the experiments, write the pictures and say the numbers.

    Args:
        out: folder of the pictures scores.png, langevin.png and annealed_langevin.png.
        num_steps: training steps of the score network, at least 1.
        num_samples: chains, and points in a picture, at least 1.
        seed: of everything, from 0 to 2**31 - 1.
        say: called with each line.

    Raises:
        UserError: the folder cannot be written.
    """
    out = files.user_path(out)
    files.require_folder(out)
    for name in ("scores.png", "langevin.png", "annealed_langevin.png"):
        files.check_place(out / name)
    density = toy.two_modes()

    started = time.perf_counter()
    network = toy.train_score_network(density, num_steps, seed)
    seconds = time.perf_counter() - started
    say(f"Score network trained for {num_steps} steps in {seconds:.0f} s")
    figures.save_scores(out / "scores.png", density, network)
    say(f"{'region':<24}{'area':>6}  {'error, mean |s - s*|^2':>22}  {'true, mean |s*|^2':>17}")
    names = {
        "data": f"{toy.DATA_MASS:.0%} of the data",
        "rest": f"the rest of [-{toy.EXTENT:.0f}, {toy.EXTENT:.0f}]^2",
    }
    for region, (area, error, size) in toy.errors_by_region(network, density).items():
        say(f"{names[region]:<24}{area:>6.0%}  {error:>22.3f}  {size:>17.3f}")

    seeds = toy.chain_seeds(num_samples, seed)
    last = toy.ANNEALED_SIGMAS[1]
    exact = ("draws of the density", density.sample(seeds), 0.0)
    perturbed = f"draws of the density perturbed with sigma = {last:g}"
    perturbed = (perturbed, density.perturbed(last).sample(seeds), last)
    plain = ("Langevin dynamics", toy.langevin(density, seeds), 0.0)
    annealed = ("annealed Langevin dynamics", toy.annealed_langevin(density, seeds), last)
    heading = "Langevin dynamics with the true scores: wrong weights of the modes"
    figures.save_samples(out / "langevin.png", density, [exact, plain], heading)
    heading = "Annealed Langevin dynamics with the true scores: right weights"
    figures.save_samples(out / "annealed_langevin.png", density, [perturbed, annealed], heading)

    true = density.weights.numpy()
    deviation = (true[0] * true[1] / num_samples) ** 0.5
    say(f"Weights of the modes ({true[0]:.2f} and {true[1]:.2f}; +- {deviation:.3f} by chance)")
    for name, x, sigma in (exact, plain, annealed):
        first, second = toy.mode_weights(density, x, sigma)
        say(f"{name:<28}{first:.3f}  {second:.3f}")
    say(f"Wrote scores.png, langevin.png and annealed_langevin.png in {out}")
