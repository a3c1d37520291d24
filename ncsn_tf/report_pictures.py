"""What a report draws with a run's network: a chain, neighbours of samples, scores."""

import numpy as np
import tensorflow as tf

from ncsn_tf import random
from ncsn_tf.data import images_at, load_pixels
from ncsn_tf.images import gif, grid, png, to_uint8
from ncsn_tf.neighbor_search import Search
from ncsn_tf.report_files import data_uri
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.sources import run_source

_CHAIN_SIDE = 320  # pixels of the movie, about
_CHAIN_FRAMES = 50
NUM_SAMPLES = 8  # whose neighbours are shown
_NEIGHBORS = 6
_LEVELS = 6
_SCORE_RANGE = 3.0  # standard deviations of the noise, from grey to black and to white


class Chain:
    """Keeps the states of chains as they are drawn, for a movie.

    Args:
        image_size: side of the images; of large ones the movie shows fewer than 16.
    """

    def __init__(self, image_size):
        self.num_images = max(1, min(4, _CHAIN_SIDE // image_size)) ** 2
        self._frames = []

    def add(self, state):
        """Take the next state x, float [B, H, W, C], not clipped."""
        self._frames.append(grid(to_uint8(state[: self.num_images])))

    def part(self, samples):
        """At most 50 of the states, spread evenly, and the samples, uint8 [B, H, W, C]."""
        every = max(1, -(-len(self._frames) // _CHAIN_FRAMES))
        last = grid(samples[: self.num_images])
        movie = gif([*self._frames[::every], last])
        return {"uri": data_uri(movie, "gif"), "images": self.num_images}


def neighbors_part(samples, config, network, space):
    """The training images nearest to samples, and to as many test images for comparison.

    Args:
        samples: uint8 [B, H, W, C], of which the first 8 are looked at.
        config, network: of the run.
        space: "pixels" or "features".

    Raises:
        UserError: the data cannot be read.
    """
    samples = samples[:NUM_SAMPLES]
    source, test = run_source(config, "train"), run_source(config, "test")
    held_out = load_pixels(test, min(NUM_SAMPLES, test.num_examples))
    found = Search(source, config, network, space)(np.concatenate([samples, held_out]), _NEIGHBORS)
    rows = []
    for number, sample in enumerate(samples):
        nearest = images_at(source, found.indices[number])
        flipped = found.mirrored[number]
        nearest = np.where(flipped[:, None, None, None], nearest[:, :, ::-1], nearest)
        neighbors = [
            {"uri": _uri(image), "index": int(index), "distance": float(f"{distance:.4g}")}
            for image, index, distance in zip(
                nearest, found.indices[number], found.distances[number], strict=True
            )
        ]
        rows.append({"uri": _uri(sample), "neighbors": neighbors})
    first = found.distances[:, 0]
    return {
        "rows": rows,
        "space": space,
        "searched": source.num_examples,
        "mirrored": config.random_flip,
        "samples": float(f"{np.median(first[: len(samples)]):.4g}"),
        "test": float(f"{np.median(first[len(samples) :]):.4g}"),
    }


def scores_part(config, network):
    """One test image at several noise levels: perturbed, its score, denoised in one step.

    Raises:
        UserError: the data cannot be read.
    """
    image = load_pixels(run_source(config, "test"), 1).astype(np.float32) / 255.0  # [1, H, W, C]
    sigmas = geometric_sigmas(config.sigma_begin, config.sigma_end, config.num_levels)
    count = min(_LEVELS, config.num_levels)
    labels = np.unique(np.round(np.linspace(0, config.num_levels - 1, count)).astype(np.int32))
    sigmas = tf.gather(sigmas, labels)
    noise = random.normal([config.seed], image.shape[1:], random.Stream.PERTURBATION)
    perturbed, score, denoised = denoise(network, image, sigmas, labels, noise)
    levels = [
        {
            "sigma": f"{sigmas[i]:.3g}",
            "perturbed": _uri(to_uint8(perturbed[i])),
            "score": _uri(to_uint8(0.5 + sigmas[i] * score[i] / (2.0 * _SCORE_RANGE))),
            "denoised": _uri(to_uint8(denoised[i])),
            "before": f"{_rms(perturbed[i] - image[0]):.3g}",
            "after": f"{_rms(denoised[i] - image[0]):.3g}",
        }
        for i in range(len(labels))
    ]
    return {"image": _uri(to_uint8(image[0])), "levels": levels}


def denoise(score_fn, image, sigmas, labels, noise):
    """An image perturbed at several noise levels, its scores, and its denoised versions.

    x~ = x + sigma z,   E[x | x~] = x~ + sigma^2 grad log q_sigma(x~)

    Args:
        score_fn: (x [L, H, W, C], labels int32 [L]) -> score of x's shape.
        image: float [1, H, W, C].
        sigmas, labels: float [L] and int32 [L], the noise levels and their numbers.
        noise: z, float [1, H, W, C], the same at all levels.

    Returns:
        (perturbed, score, denoised), numpy arrays [L, H, W, C].

    Source: Miyasawa 1961; the last step of Jolicoeur-Martineau et al. 2020 (arXiv:2009.05475).
    """
    sigmas = tf.reshape(tf.cast(sigmas, tf.float32), [-1, 1, 1, 1])
    perturbed = image + sigmas * noise
    score = score_fn(perturbed, tf.constant(labels, tf.int32))
    denoised = perturbed + sigmas**2 * score
    return perturbed.numpy(), score.numpy(), denoised.numpy()


def _uri(image):
    return data_uri(png(image), "png")


def _rms(values):
    return float(np.sqrt(np.mean(np.square(values))))
