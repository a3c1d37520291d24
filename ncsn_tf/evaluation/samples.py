"""Samples to be looked at: drawn now from a run's network, or those that sample.py wrote."""

import os
from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from ncsn_tf.data.images import to_uint8
from ncsn_tf.errors import UserError
from ncsn_tf.files import read_arrays, user_path
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.labels import Labels, each_class
from ncsn_tf.training.run_sampler import sampler_of


def draw_samples(
    network: Callable,
    config: Config,
    seeds: np.ndarray | Sequence[int],
    on_state: Callable[[np.ndarray], object] | None = None,
    labels: Labels | None = None,
) -> np.ndarray:
    """Samples of a network, with a progress bar; of all its classes in turn, if it knows any and no
    others are given.

    Args:
        network: score network.
        config: its run's `Config`.
        seeds: int64 [B].
        on_state: called with the states of the chain, float32 [B, H, W, C], not clipped.
        labels: the classes that are drawn, of a network that knows classes.

    Returns:
        uint8 [B, H, W, C].
    """
    sampler = sampler_of(network, config)
    labels = labels or each_class(config.class_names)
    with tqdm(total=len(sampler.pieces), desc="sampling", unit="piece", disable=None) as bar:

        def on_piece(state):
            bar.update()
            if on_state is not None:
                on_state(state())

        return to_uint8(
            sampler.draw(seeds, on_piece, **({} if labels is None else labels.rows(seeds)))
        )


def read_samples(path: str | os.PathLike, image_shape: tuple[int, int, int]) -> np.ndarray:
    """The images of an .npz that sample.py wrote: uint8 [B, H, W, C].

    Args:
        path: the file.
        image_shape: (H, W, C), that they must have.

    Raises:
        UserError: it is no such file, or its images are others.
    """
    file = user_path(path)
    if not file.is_file():
        raise UserError(f"{path} is not a file")
    wanted = "an .npz of images: sample.py --format=npz"
    samples = read_arrays(file, ["images"], wanted)["images"]
    if samples.dtype != np.uint8 or samples.shape[1:] != image_shape or not len(samples):
        raise UserError(
            f"{path} holds {samples.dtype} {list(samples.shape)}, not uint8 images "
            f"{list(image_shape)} as the run's"
        )
    return samples
