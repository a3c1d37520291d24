"""The training images nearest to samples: what a network may have learnt by heart.

`Search` looks for them in the training images of a run, in pixels or in the network's features;
`find_neighbors` is the work of `ncsn neighbors`.
"""

import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ncsn_tf.backend.choices import SPACES
from ncsn_tf.data import images
from ncsn_tf.data.batches import Source, images_at, ordered_batches
from ncsn_tf.evaluation.nearest import Neighbors, nearest
from ncsn_tf.evaluation.samples import draw_samples, read_samples
from ncsn_tf.files import check_place, require_ending, save_arrays, user_path
from ncsn_tf.models.ncsnpp import NCSNpp
from ncsn_tf.models.networks import NCSN, NCSNv2
from ncsn_tf.sampling.routes import SdeRoute
from ncsn_tf.settings.checkpoint import NEWEST
from ncsn_tf.settings.class_flags import GUIDANCE, looked_at
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.labels import EACH, label_arrays
from ncsn_tf.training.checkpoints import open_run
from ncsn_tf.training.run_data import run_source, with_places
from ncsn_tf.training.run_equation import equation_of

_BLOCK_NUMBERS = 2**23  # of a block of images, or of its distances: 64 MiB in float64
_BLOCK_IMAGES = 1024
_FEATURE_BATCH = 64  # images in the network at once
_GAP = 3  # pixels of white between samples and neighbours


def find_neighbors(
    workdir: str | os.PathLike = "",
    *,
    checkpoint: str | int = NEWEST,
    average: bool = True,
    samples: str | os.PathLike = "",
    data_dir: str = "",
    cache_dir: str = "",
    num_samples: int = 10,
    seed: int = 0,
    label: str = EACH,
    guidance: float = GUIDANCE,
    num_neighbors: int = 8,
    space: str = "pixels",
    out: str | os.PathLike = "neighbors.png",
    say: Callable[[str], object] = print,
) -> "Neighbors":
    """Find the training images nearest to samples of a run, write a picture and arrays.

    Args:
        workdir: the run's folder; empty is the newest in runs/.
        checkpoint: "newest", "best" or a step.
        average: take the averaged weights where the run has them.
        samples: an .npz of sample.py; empty draws samples now.
        data_dir: where the data are; empty is where the run has them from.
        cache_dir: where large data sets are kept decoded; empty is the run's.
        num_samples: samples to look at, the first ones of a file.
        seed: of the first drawn sample; sample i has seed + i.
        label, guidance: the classes of drawn samples, see `class_flags.looked_at`; the images of
            all classes are searched.
        num_neighbors: neighbours of each sample.
        space: what is compared, see `Search`.
        out: the picture, a .png or .jpg; the arrays (samples, distances, indices, mirrored, and
            of samples of classes labels and class_names) are beside it in an .npz of the same name.
        say: called with each line.

    Returns:
        `Neighbors` of the samples.

    Raises:
        ConfigError: classes that the run does not have.
        UserError: no run, no data, not a file of samples, or the place cannot be written.
    """
    out = user_path(out)
    for path in (out, out.with_suffix(".npz")):
        check_place(path)
    require_ending(out, images.PICTURES)
    run = open_run(workdir, average, checkpoint)
    network, config = run.network, run.config
    config = with_places(config, data_dir, cache_dir)
    labels, seeds = None, seed + np.arange(num_samples)
    if samples:
        pixels = read_samples(samples, config.image_shape)[:num_samples]
        say(f"{len(pixels)} samples from {samples}")
    else:
        labels = looked_at(label, guidance, config.class_names)
        said = "" if labels is None else f", {labels}"
        say(f"Sampling from {run.run_dir}, {run.origin}{said}")
        pixels = draw_samples(network, config, seeds, labels=labels)

    source = run_source(config, "train")
    found = Search(source, config, network, space)(pixels, num_neighbors)
    names = [""] * len(pixels)
    if labels is not None:
        names = [config.class_names[of_seed] for of_seed in labels.of(seeds)]
    say("sample   nearest   distance" + ("" if labels is None else "   class"))
    first = zip(found.indices[:, 0], found.distances[:, 0], names, strict=True)
    for number, (index, distance, name) in enumerate(first):
        say(f"{number:>6}{index:>10}{distance:>11.4g}   {name}".rstrip())
    images.save_picture(out, picture(pixels, source, found))
    arrays = {"samples": pixels, **found._asdict(), **label_arrays(labels, seeds)}
    save_arrays(out.with_suffix(".npz"), arrays, compressed=True)
    say(f"Wrote {out} and {out.with_suffix('.npz')}")
    return found


class Search:
    """Finds the nearest training images of samples.

    Where the run mirrors its training images, a distance is the smaller of those of the sample and
    of its mirror image.

    Args:
        source: the `Source` of the training images.
        config: the run's `Config`.
        network: the run's network, whose features `space="features"` compares.
        space: what is compared. "pixels": values from 0 to 1; "features": see `network_features`.

    Attributes:
        searched: how many images the last search went through: those that can be decoded.

    Raises:
        ValueError: another space, or features without a network.
    """

    def __init__(
        self,
        source: Source,
        config: Config,
        network: NCSN | NCSNv2 | NCSNpp | None = None,
        space: str = "pixels",
    ):
        if space not in SPACES or (space == "features" and network is None):
            raise ValueError(f"space must be pixels, or features of a network, not {space!r}")
        self.source = source
        self.searched = 0
        self.flips = config.random_flip
        self.scale = 1.0 / 255.0 if space == "pixels" else 1.0
        self.vectors = _pixels if space == "pixels" else network_features(network, config)

    def __call__(self, samples: np.ndarray, num_neighbors: int) -> Neighbors:
        """`Neighbors` of uint8 [Q, H, W, C]; indices are places in the source's own order."""
        queries = self.vectors(samples)
        mirror_images = self.vectors(samples[:, :, ::-1]) if self.flips else None
        numbers = max(samples[0].size, 2 * len(samples))
        batches = ordered_batches(
            self.source, min(_BLOCK_IMAGES, max(1, _BLOCK_NUMBERS // numbers))
        )

        places = []  # of the images that are searched: those that cannot be decoded are not

        def blocks():
            total = self.source.num_examples
            with tqdm(total=total, desc="searching", unit="image", disable=None) as bar:
                for indices, batch in batches.as_numpy_iterator():
                    if len(batch):
                        places.append(indices)
                        yield self.vectors(batch)
                    bar.update(len(batch))
                bar.total = bar.n
                bar.refresh()

        found = nearest(queries, blocks(), num_neighbors, mirror_images)
        self.searched = sum(map(len, places))
        return found._replace(
            distances=found.distances * self.scale, indices=np.concatenate(places)[found.indices]
        )


def network_features(
    network: NCSN | NCSNv2 | NCSNpp, config: Config
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from uint8 images [B, H, W, C] to the network's features, float32 [B, F].

    The answer of the deepest residual stage, which sees most of the image, averaged over its
    pixels; at the smallest noise level, or at the last time of a chain along the equation.

    Args:
        network: of the run.
        config: the run's `Config`.
    """
    equation = equation_of(config)

    @tf.function(
        input_signature=[tf.TensorSpec([None, *network.image_shape], tf.uint8)], autograph=False
    )
    def features(pixels):
        x = tf.cast(pixels, tf.float32) / 255.0
        if equation is None:
            levels = tf.fill(tf.shape(x)[:1], network.num_levels - 1)
            deepest = network.stages(x, levels)[-1]  # [B, h, w, F]
        else:
            route = SdeRoute(equation, centered=config.centered)
            t = tf.fill(tf.shape(x)[:1], route.epsilon)
            condition = equation.condition(t, config.continuous)
            deepest = network.deepest(route.states(x), condition)
        return tf.reduce_mean(tf.cast(deepest, tf.float32), [1, 2])

    def in_batches(pixels):
        starts = range(0, len(pixels), _FEATURE_BATCH)
        parts = [features(pixels[start : start + _FEATURE_BATCH]).numpy() for start in starts]
        return np.concatenate(parts)

    return in_batches


def _pixels(samples):
    return samples.reshape(len(samples), -1)


def neighbor_images(source: Source, found: Neighbors) -> np.ndarray:
    """The images that were found, mirrored where that is nearer: uint8 [Q, k, H, W, C].

    Args:
        source: the `Source` that was searched.
        found: `Neighbors` in it.
    """
    pixels = images_at(source, found.indices.reshape(-1))
    pixels = np.where(found.mirrored.reshape(-1, 1, 1, 1), pixels[:, :, ::-1], pixels)
    return pixels.reshape(*found.indices.shape, *pixels.shape[1:])


def picture(samples: np.ndarray, source: Source, found: Neighbors) -> np.ndarray:
    """Rows of a sample and its neighbours, mirrored where that is nearer: uint8 [H', W', C].

    Args:
        samples: uint8 [Q, H, W, C].
        source: the `Source` that was searched.
        found: their `Neighbors`.
    """
    neighbors = neighbor_images(source, found)
    left = images.grid(samples, 1)
    right = images.grid(neighbors.reshape(-1, *samples.shape[1:]), neighbors.shape[1])
    gap = np.full([len(left), _GAP, left.shape[2]], 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)
