"""Images of a run as arrays: `ncsn sample` for a notebook."""

import os

import numpy as np
from tqdm import tqdm

from ncsn_tf.backend import devices
from ncsn_tf.generation.checkpoint_origin import open_checkpoint
from ncsn_tf.settings.checkpoint import NEWEST


def sample(
    workdir: str | os.PathLike = "",
    num_samples: int = 16,
    *,
    seed: int = 0,
    checkpoint: str | int = NEWEST,
    average: bool = True,
    batch_size: int = 64,
    **chain: object,
) -> np.ndarray:
    """Draw images with a checkpoint of a run.

    Args:
        workdir: the run's folder; "" is the newest in runs/.
        num_samples: N.
        seed: of the first image; image i has seed + i and depends on nothing else.
        checkpoint: "newest", "best" or a step.
        average: take the averaged weights where the run has them.
        batch_size: images at a time; changes no image.
        **chain: settings of the chain that replace the run's, such as `sampler="pc"` or
            `num_steps_each=20`; see `settings.chain.change_chain`.

    Returns:
        uint8 [N, H, W, C].

    Raises:
        ConfigError: settings that the run's network or sampler cannot have.
        UserError: no run, or no checkpoint.

    Example:
        >>> images = sample("runs/digits", 3, seed=7, num_steps_each=2)
        Sampling from runs/digits, weights of step 200
        7 network evaluations an image
        >>> images.shape
        (3, 8, 8, 1)
    """
    with devices.start().scope():
        origin = open_checkpoint(
            workdir, checkpoint=checkpoint, average=average, chain=chain, batch_size=batch_size
        )
    seeds = seed + np.arange(num_samples, dtype=np.int64)
    with tqdm(total=origin.amount(num_samples), disable=None, unit=origin.unit) as bar:
        batches = [pictures for _, pictures in origin.images(seeds, bar)]
    return np.concatenate(batches)
