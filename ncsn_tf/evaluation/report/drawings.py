"""What a report draws with a run's network: a chain, neighbours of samples, scores."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.sizes import ImageSize, sides
from ncsn_tf.data.batches import load_pixels
from ncsn_tf.data.images import gif, grid, png, to_uint8
from ncsn_tf.evaluation.neighbors import Search, neighbor_images
from ncsn_tf.evaluation.report.folder import data_uri
from ncsn_tf.evaluation.samples import draw_samples
from ncsn_tf.models.networks import NCSN, NCSNv2
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.labels import Labels
from ncsn_tf.training.run_data import run_source
from ncsn_tf.training.run_equation import ladder_of, score_on_ladder

_CHAIN_SIDE = 320  # pixels of the movie, about
_CHAIN_FRAMES = 50
NUM_SAMPLES = 8  # whose neighbours are shown
_NEIGHBORS = 6
_NUM_LEVELS = 6
_SCORE_RANGE = 3.0  # standard deviations of the noise, from grey to black and to white


class Chain:
    """Keeps the states of chains as they are drawn, for a movie.

    Args:
        image_size: of the images, as in `Config`; of large ones the movie shows fewer than 16.
    """

    def __init__(self, image_size: ImageSize):
        self.num_images = max(1, min(4, _CHAIN_SIDE // max(sides(image_size)))) ** 2
        self._frames = []

    def add(self, state: np.ndarray) -> None:
        """Take the next state x, float [B, H, W, C], not clipped."""
        self._frames.append(grid(to_uint8(state[: self.num_images])))

    def part(self, samples: np.ndarray) -> dict:
        """At most 50 of the states, spread evenly, and the samples, uint8 [B, H, W, C]."""
        every = max(1, -(-len(self._frames) // _CHAIN_FRAMES))
        last = grid(samples[: self.num_images])
        movie = gif([*self._frames[::every], last])
        return {"uri": data_uri(movie, "gif"), "images": self.num_images}


def neighbors_part(
    config: Config,
    network: NCSN | NCSNv2,
    space: str,
    samples: np.ndarray | None = None,
    labels: Labels | None = None,
) -> dict:
    """The training images nearest to samples, and to as many test images for comparison.

    Args:
        config, network: of the run.
        space: what is compared, see `neighbors.Search`.
        samples: uint8 [B, H, W, C], of the seeds 0, 1, ..., of which the first 8 are looked at;
            None draws them.
        labels: their classes; None of a network that knows none.

    Raises:
        UserError: the data cannot be read.
    """
    source, test = run_source(config, "train"), run_source(config, "test")
    if samples is None:
        samples = draw_samples(network, config, range(NUM_SAMPLES), labels=labels)
    samples = samples[:NUM_SAMPLES]
    held_out = load_pixels(test, min(NUM_SAMPLES, test.num_examples))
    search = Search(source, config, network, space)
    found = search(np.concatenate([samples, held_out]), _NEIGHBORS)
    pixels = neighbor_images(source, found)
    rows, drawn = [], range(len(samples))
    names = [""] * len(samples)
    if labels is not None:
        names = [labels.class_names[label] for label in labels.of(drawn)]
    for number, sample in enumerate(samples):
        neighbors = [
            {"uri": _uri(image), "index": int(index), "distance": float(f"{distance:.4g}")}
            for image, index, distance in zip(
                pixels[number], found.indices[number], found.distances[number], strict=True
            )
        ]
        rows.append({"uri": _uri(sample), "class": names[number], "neighbors": neighbors})
    first = found.distances[:, 0]
    return {
        "rows": rows,
        "of": "" if labels is None else str(labels),
        "space": space,
        "searched": search.searched,
        "mirrored": config.random_flip,
        "samples": float(f"{np.median(first[: len(samples)]):.4g}"),
        "test": float(f"{np.median(first[len(samples) :]):.4g}"),
    }


def scores_part(config: Config, network: NCSN | NCSNv2) -> dict:
    """One test image at several noise levels: perturbed, its score, denoised in one step.

    Raises:
        UserError: the data cannot be read.
    """
    image = load_pixels(run_source(config, "test"), 1).astype(np.float32) / 255.0  # [1, H, W, C]
    sigmas = ladder_of(config)
    count = min(_NUM_LEVELS, config.num_levels)
    levels = np.unique(np.round(np.linspace(0, config.num_levels - 1, count)).astype(np.int32))
    sigmas = tf.gather(sigmas, levels)
    noise = random.normal([config.seed], image.shape[1:], random.Stream.PERTURBATION)
    perturbed, score, denoised = denoise(
        score_on_ladder(network, config), image, sigmas, levels, noise
    )
    shown = [
        {
            "sigma": f"{sigmas[i]:.3g}",
            "perturbed": _uri(to_uint8(perturbed[i])),
            "score": _uri(to_uint8(0.5 + sigmas[i] * score[i] / (2.0 * _SCORE_RANGE))),
            "denoised": _uri(to_uint8(denoised[i])),
            "before": f"{_rms(perturbed[i] - image[0]):.3g}",
            "after": f"{_rms(denoised[i] - image[0]):.3g}",
        }
        for i in range(len(levels))
    ]
    return {"image": _uri(to_uint8(image[0])), "levels": shown}


def denoise(
    score_fn: Callable,
    image: np.ndarray,
    sigmas: np.ndarray | tf.Tensor,
    levels: np.ndarray,
    noise: np.ndarray | tf.Tensor,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image perturbed at several noise levels, its scores, and its denoised versions.

    x~ = x + sigma z,   E[x | x~] = x~ + sigma^2 grad log q_sigma(x~)

    Args:
        score_fn: (x [L, H, W, C], levels int32 [L]) -> score of x's shape.
        image: float [1, H, W, C].
        sigmas, levels: float [L] and int32 [L], standard deviations of the noise and the indices
            of their levels.
        noise: z, float [1, H, W, C], the same at all levels.

    Returns:
        (perturbed, score, denoised), numpy arrays [L, H, W, C].

    Source: Miyasawa 1961; the last step of Jolicoeur-Martineau et al. 2020 (arXiv:2009.05475).
    """
    sigmas = tf.reshape(tf.cast(sigmas, tf.float32), [-1, 1, 1, 1])
    perturbed = image + sigmas * noise
    score = score_fn(perturbed, tf.constant(levels, tf.int32))
    denoised = perturbed + sigmas**2 * score
    return perturbed.numpy(), score.numpy(), denoised.numpy()


def _uri(image):
    return data_uri(png(image), "png")


def _rms(values):
    return float(np.sqrt(np.mean(np.square(values))))
