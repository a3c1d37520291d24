"""The work of `python -m ncsn_tf.neighbors`: the training images nearest to samples of a run."""

import dataclasses
from pathlib import Path

from ncsn_tf.command_line import parse_options
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.options import option, show

SUMMARY = """\
Find the training images nearest to samples, to see whether a network repeats its training data:

  python -m ncsn_tf.neighbors                              samples of the newest run
  python -m ncsn_tf.neighbors --samples=samples.npz        those that sample.py --format=npz wrote
  python -m ncsn_tf.neighbors --space=features             nearest in the network's own features

Writes a grid (each row: a sample, then its neighbours, the nearest first), and beside it an .npz of
samples, distances, indices (places in the training split) and mirrored."""

SPACES = ("pixels", "features")


@dataclasses.dataclass(frozen=True)
class NeighborOptions:
    """The flags of `python -m ncsn_tf.neighbors`."""

    workdir: str = option("", "the run; empty is the newest in runs/", "source")
    average: bool = option(True, "the averaged weights, where the run has them", "source")
    samples: str = option("", "an .npz of sample.py; empty draws samples now", "source")
    data_dir: str = option("", "where the data are; empty is the run's --data_dir", "source")
    num_samples: int = option(10, "samples to look at, the first ones of a file", "search", least=1)
    seed: int = option(
        0, "seed of the first drawn sample; sample i has seed + i", "search", least=0, below=2**62
    )
    num_neighbors: int = option(8, "neighbours of each sample", "search", least=1)
    space: str = option(
        "pixels",
        "what is compared: pixel values, or features of the network",
        "search",
        choices=SPACES,
    )
    out: str = option("neighbors.png", "the picture; the .npz has the same name", "output")

    def __post_init__(self):
        if Path(self.out).suffix != ".png":
            raise ConfigError(f"{show('out', self.out)} must end with .png")
        if self.samples and _same(self.samples, self.arrays):
            raise ConfigError(f"{show('out', self.out)} would replace {self.samples}")

    @property
    def picture(self):
        return Path(self.out).expanduser()

    @property
    def arrays(self):
        return self.picture.with_suffix(".npz")


def main(argv):
    program = ["python -m ncsn_tf.neighbors", *argv[1:]]
    options = parse_options(program, NeighborOptions, SUMMARY)
    from ncsn_tf.runtime import start_tensorflow

    start_tensorflow()
    run(options)


def run(options, say=print):
    """Find the neighbours, write the picture and the arrays, say the distances.

    Args:
        options: `NeighborOptions`.
        say: called with each line.

    Raises:
        UserError: no run, no data, not a file of samples, or the place cannot be written.
    """
    import numpy as np

    from ncsn_tf import checkpoints, images, outputs
    from ncsn_tf.neighbor_search import Search, picture
    from ncsn_tf.sources import run_source

    for path in (options.picture, options.arrays):
        outputs.check_place(path)
    run_dir = Path(options.workdir).expanduser() if options.workdir else checkpoints.newest_run()
    checkpoint = checkpoints.latest(run_dir)
    network, config, step, is_average = checkpoints.load_network(checkpoint, options.average)
    kind = "averaged weights" if is_average else "weights"
    if options.data_dir:
        config = dataclasses.replace(config, data_dir=options.data_dir)
    if options.samples:
        samples = _read_samples(options.samples, config.image_shape)[: options.num_samples]
        say(f"{len(samples)} samples from {options.samples}")
    else:
        say(f"Sampling from {run_dir}, {kind} of step {step}")
        samples = draw_samples(network, config, options.seed + np.arange(options.num_samples))

    source = run_source(config, "train")
    find = Search(source, config, network, options.space)
    found = find(samples, options.num_neighbors)
    say("sample   nearest   distance")
    for number, (index, distance) in enumerate(
        zip(found.indices[:, 0], found.distances[:, 0], strict=True)
    ):
        say(f"{number:>6}{index:>10}{distance:>11.4g}")
    images.save_picture(options.picture, picture(samples, source, found))
    arrays = {"samples": samples, "distances": found.distances, "indices": found.indices}
    arrays["mirrored"] = found.mirrored
    images.write_atomically(options.arrays, lambda path: _save_arrays(path, arrays))
    say(f"Wrote {options.picture} and {options.arrays}")


def draw_samples(network, config, seeds, on_state=None):
    """Samples of a network, uint8 [B, H, W, C], with a progress bar.

    Args:
        network, config: a network and its run's `Config`.
        seeds: int64 [B].
        on_state: called with the states of the chain, float32 [B, H, W, C], not clipped.
    """
    from tqdm import tqdm

    from ncsn_tf.images import to_uint8
    from ncsn_tf.sampler import Sampler

    sampler = Sampler(network, config)
    with tqdm(total=len(sampler.pieces), desc="sampling", unit="piece", disable=None) as bar:

        def on_piece(state):
            bar.update()
            if on_state is not None:
                on_state(state())

        return to_uint8(sampler.draw(seeds, on_piece))


def _read_samples(path, image_shape):
    """The images of an .npz that sample.py wrote."""
    import zipfile

    import numpy as np

    from ncsn_tf.pictures import DAMAGED

    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"{path} is not a file")
    try:
        if not zipfile.is_zipfile(file):
            raise ValueError
        with np.load(file) as arrays:
            samples = arrays["images"]
    except DAMAGED:
        raise UserError(f"{path} is not an .npz of images: sample.py --format=npz") from None
    if samples.dtype != np.uint8 or samples.shape[1:] != image_shape or not len(samples):
        raise UserError(
            f"{path} holds {samples.dtype} {list(samples.shape)}, not uint8 images "
            f"{list(image_shape)} as the run's"
        )
    return samples


def _save_arrays(path, arrays):
    import numpy as np

    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def _same(first, second):
    return Path(first).expanduser().resolve() == Path(second).resolve()
