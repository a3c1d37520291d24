"""`python -m ncsn_tf.toy`: why score-based sampling needs noise, in numbers and pictures."""

import dataclasses
import importlib.util
import time
from pathlib import Path

from ncsn_tf.command_line import parse_options, run_command
from ncsn_tf.errors import UserError
from ncsn_tf.options import option

SUMMARY = """\
Why score-based sampling needs noise (Song & Ermon 2019, section 3.2), on a mixture of two modes
in the plane. Writes scores.png, langevin.png and annealed_langevin.png, prints their numbers."""


@dataclasses.dataclass(frozen=True)
class ToyOptions:
    """The flags of `python -m ncsn_tf.toy`."""

    out: str = option("toy", "folder of the pictures", "output")
    num_steps: int = option(10_000, "training steps of the score network", "experiment", least=1)
    num_samples: int = option(1280, "chains, and points in a picture", "experiment", least=1)
    seed: int = option(0, "seed of everything", "experiment", least=0, below=2**31)


def run_toy(options, say=print):
    """Run the experiments, write the pictures and say the numbers.

    Args:
        options: `ToyOptions`.
        say: called with each line.

    Raises:
        UserError: the folder cannot be written.
    """
    from ncsn_tf import outputs
    from ncsn_tf import toy_figures as figures
    from ncsn_tf import toy_mixture as toy

    out = Path(options.out).expanduser()
    for name in ("scores.png", "langevin.png", "annealed_langevin.png"):
        outputs.check_place(out / name)
    density = toy.two_modes()

    started = time.perf_counter()
    network = toy.train_score_network(density, options.num_steps, options.seed)
    seconds = time.perf_counter() - started
    say(f"Score network trained for {options.num_steps} steps in {seconds:.0f} s")
    figures.save_scores(out / "scores.png", density, network)
    say(f"{'region':<24}{'area':>6}  {'error, mean |s - s*|^2':>22}  {'true, mean |s*|^2':>17}")
    names = {
        "data": f"{toy.DATA_MASS:.0%} of the data",
        "rest": f"the rest of [-{toy.EXTENT:.0f}, {toy.EXTENT:.0f}]^2",
    }
    for region, (area, error, size) in toy.errors_by_region(network, density).items():
        say(f"{names[region]:<24}{area:>6.0%}  {error:>22.3f}  {size:>17.3f}")

    seeds = toy.chain_seeds(options.num_samples, options.seed)
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
    deviation = (true[0] * true[1] / options.num_samples) ** 0.5
    say(f"Weights of the modes ({true[0]:.2f} and {true[1]:.2f}; +- {deviation:.3f} by chance)")
    for name, x, sigma in (exact, plain, annealed):
        first, second = toy.mode_weights(density, x, sigma)
        say(f"{name:<28}{first:.3f}  {second:.3f}")
    say(f"Wrote scores.png, langevin.png and annealed_langevin.png in {out}")


def main(argv):
    options = parse_options(argv, ToyOptions, SUMMARY)
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("the pictures need matplotlib: pip install matplotlib")
    from ncsn_tf.runtime import start_tensorflow

    start_tensorflow()
    run_toy(options)


if __name__ == "__main__":
    run_command(main)
