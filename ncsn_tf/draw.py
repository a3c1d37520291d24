"""The work of sample.py: seeds to image files, from a checkpoint or a SavedModel."""

import dataclasses
from pathlib import Path
from typing import Optional

from ncsn_tf.config import option, show
from ncsn_tf.errors import ConfigError, UserError

NEWEST = "newest"
MOVIE_IMAGES = 25
_DEFAULT_OUT = {"grid": "samples.png", "png": "samples", "npz": "samples.npz"}
_SETTINGS = ("step_lr", "num_steps_each", "denoise")
_ONLY_CHECKPOINTS = (*_SETTINGS, "movie", "average")


@dataclasses.dataclass(frozen=True)
class SampleOptions:
    """The flags of sample.py."""

    workdir: str = option("", "the run; empty is the newest in runs/", "source")
    saved_model: str = option(
        "", "draw from an export: alone the run's newest, else this folder", "source", bare=NEWEST
    )
    average: bool = option(True, "the averaged weights, where the run has them", "source")
    num_samples: int = option(25, "images to draw", "samples", least=1)
    batch_size: int = option(64, "images at a time; changes no image", "samples", least=1)
    seed: int = option(0, "seed of the first image; image i has seed + i", "samples")
    step_lr: Optional[float] = option(  # noqa: UP045 (a type that the flag parser reads)
        None, "Langevin step size; empty is the run's", "samples", above=0
    )
    num_steps_each: Optional[int] = option(  # noqa: UP045
        None, "Langevin steps at each noise level; empty is the run's", "samples", least=1
    )
    denoise: Optional[bool] = option(  # noqa: UP045
        None, "end with one denoising step; empty is the run's", "samples"
    )
    out: str = option("", "file or folder; empty is samples.png, samples/ or samples.npz", "output")
    format: str = option(
        "grid",
        "one grid, single PNGs, or arrays (images, seeds)",
        "output",
        choices=("grid", "png", "npz"),
    )
    movie: str = option("", f"also write the chain of the first {MOVIE_IMAGES} as GIF", "output")
    num_virtual_devices: int = option(0, "virtual CPU devices; 0 leaves it whole", "run", least=0)

    def validate(self):
        """Raise a ConfigError for flags that contradict each other."""
        if self.saved_model:
            for field in dataclasses.fields(self):
                value = getattr(self, field.name)
                if field.name in _ONLY_CHECKPOINTS and value != field.default:
                    raise ConfigError(
                        f"{show(field.name, value)} cannot be used with --saved_model: an export "
                        "holds one chain; draw from the checkpoint, or export again"
                    )
        last = self.seed + self.num_samples - 1
        if not -(2**63) <= self.seed <= last < 2**63:
            raise ConfigError(f"{show('seed', self.seed)} and the seeds after it must fit 64 bits")

    @property
    def target(self):
        """Where the samples go."""
        return Path(self.out or _DEFAULT_OUT[self.format]).expanduser()


def draw(options, strategy):
    """Draw the samples and write them.

    Args:
        options: `SampleOptions`, validated.
        strategy: the distribution strategy over whose replicas a checkpoint's chain is spread.

    Returns:
        Path of what was written.

    Raises:
        UserError: no run, no checkpoint, not an export, or the place cannot be written.
    """
    import numpy as np
    from tqdm import tqdm

    source = _Export(options) if options.saved_model else _Checkpoint(options, strategy)
    seeds = options.seed + np.arange(options.num_samples, dtype=np.int64)
    batches = [
        seeds[start : start + options.batch_size]
        for start in range(0, len(seeds), options.batch_size)
    ]
    output = _OUTPUTS[options.format](options.target)
    frames = []
    with tqdm(total=len(batches) * source.pieces_a_batch, disable=None, unit="piece") as bar:
        for index, batch in enumerate(batches):
            bar.set_description(f"images {batch[0] - seeds[0]} to {batch[-1] - seeds[0]}")
            keep = frames if options.movie and index == 0 else None
            # The last batch is filled up: a graph is compiled for every size of batch.
            filled = np.resize(batch, len(batches[0]))
            output.add(batch, source.draw(filled, bar.update, keep)[: len(batch)])
    if options.movie:
        _save_movie(options.movie, frames)
    return output.close()


class _Checkpoint:
    """Draws with the network of a checkpoint, piece by piece."""

    def __init__(self, options, strategy):
        from ncsn_tf import checkpoints
        from ncsn_tf.sampler import Sampler

        run_dir = _run_dir(options)
        with strategy.scope():
            network, config, step, is_average = checkpoints.load_network(
                checkpoints.latest(run_dir), options.average
            )
            given = {name: getattr(options, name) for name in _SETTINGS}
            given = {name: value for name, value in given.items() if value is not None}
            self.sampler = Sampler(network, dataclasses.replace(config, **given))
        self.pieces_a_batch = len(self.sampler.pieces)
        kind = "averaged weights" if is_average else "weights"
        print(f"Sampling from {run_dir}, {kind} of step {step}")

    def draw(self, seeds, advance, frames):
        from ncsn_tf.images import to_uint8

        def on_piece(state):
            advance()
            if frames is not None:
                frames.append(to_uint8(state()[:MOVIE_IMAGES]))

        return to_uint8(self.sampler.draw(seeds, on_piece))


class _Export:
    """Draws with an exported SavedModel, a batch in one call."""

    pieces_a_batch = 1

    def __init__(self, options):
        import tensorflow as tf

        folder = _export_folder(options)
        try:
            self.model = tf.saved_model.load(str(folder))
            self.signature = self.model.signatures["serving_default"]
            self._check_signature()
        except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{folder} is not an exported sampler: {line}") from None
        print(f"Sampling from {folder}")

    def _check_signature(self):
        inputs = list(self.signature.structured_input_signature[1])
        outputs = list(self.signature.structured_outputs)
        if (inputs, outputs) != (["seed"], ["images"]):
            raise ValueError(
                f"it maps {', '.join(inputs)} to {', '.join(outputs)}, not seed to images"
            )

    def draw(self, seeds, advance, frames):
        import tensorflow as tf

        images = self.signature(seed=tf.constant(seeds))["images"].numpy()
        advance()
        return images


def _run_dir(options):
    from ncsn_tf.checkpoints import newest_run

    return Path(options.workdir).expanduser() if options.workdir else newest_run()


def _export_folder(options):
    """The version to load: as given, or the newest below what was given, or the run's newest."""
    from ncsn_tf import export

    if options.saved_model == NEWEST:
        run_dir = _run_dir(options)
        base = run_dir / export.FOLDER
        if not export.versions(base):
            return export.export_run(run_dir)
    else:
        base = Path(options.saved_model).expanduser()
        if not base.is_dir():
            raise UserError(f"--saved_model={options.saved_model} is not a folder")
    numbers = export.versions(base)
    return base / str(numbers[-1]) if numbers else base


def _save_movie(path, frames):
    from ncsn_tf import images

    images.save_movie(path, [images.grid(frame) for frame in frames])


class _Singles:
    """PNG files named by seed, written as they come."""

    def __init__(self, target):
        self.target = target

    def add(self, seeds, pictures):
        from ncsn_tf.images import save_singles

        save_singles(self.target, pictures, [f"{seed:06d}" for seed in seeds])

    def close(self):
        return self.target


class _Collected:
    """Everything in one file, written at the end."""

    def __init__(self, target):
        self.target = target
        self.seeds = []
        self.pictures = []

    def add(self, seeds, pictures):
        self.seeds.append(seeds)
        self.pictures.append(pictures)


class _Grid(_Collected):
    def close(self):
        import numpy as np

        from ncsn_tf.images import save_grid

        save_grid(self.target, np.concatenate(self.pictures))
        return self.target


class _Arrays(_Collected):
    def close(self):
        import numpy as np

        from ncsn_tf.images import write_atomically

        arrays = {"images": np.concatenate(self.pictures), "seeds": np.concatenate(self.seeds)}

        def write(temporary):
            with open(temporary, "wb") as file:
                np.savez_compressed(file, **arrays)

        write_atomically(self.target, write)
        return self.target


_OUTPUTS = {"grid": _Grid, "png": _Singles, "npz": _Arrays}
