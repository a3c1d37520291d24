"""Images of a run as arrays: `ncsn sample` for a notebook."""

import os
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from ncsn_tf.backend import devices
from ncsn_tf.errors import ConfigError
from ncsn_tf.generation.checkpoint_origin import Opened
from ncsn_tf.settings.checkpoint import NEWEST
from ncsn_tf.training.averages import open_weights


def sample(
    workdir: str | os.PathLike = "",
    num_samples: int = 16,
    *,
    seed: int = 0,
    checkpoint: str | int = NEWEST,
    average: bool = True,
    labels: str | int | Sequence[str | int] | None = None,
    guidance: float = 1.0,
    ema: float | None = None,
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
        labels: the class, of a run that knows classes: a name or a number; "each" for all of them
            in turn; or a sequence, the class of each image. None is no class.
        guidance: weight of the class; 1 is the class as it was learnt, more draws images that are
            surer of it, for twice the evaluations. See `sampling.labelled`.
        ema: the average of this relative length instead, of a run with `ema_power`.
        batch_size: images at a time; changes no image.
        **chain: settings of the chain that replace the run's, such as `sampler="pc"` or
            `num_steps_each=20`; see `settings.chain.change_chain`.

    Returns:
        uint8 [N, H, W, C].

    Raises:
        ConfigError: settings that the run's network or sampler cannot have, or classes that it does
            not have.
        UserError: no run, or no checkpoint.

    Example:
        >>> images = sample("runs/digits", 3, seed=7, num_steps_each=2)
        Sampling from runs/digits, weights of step 200
        7 network evaluations an image
        >>> images.shape
        (3, 8, 8, 1)
    """
    one_each = labels is not None and not isinstance(labels, str | int | np.integer)
    if one_each and len(labels) != num_samples:
        raise ConfigError(f"labels has {len(labels)} classes for num_samples={num_samples} images")
    with devices.start().scope():
        origin = Opened(open_weights(workdir, average, checkpoint, ema)).origin(
            chain=chain,
            label=labels,
            guidance=guidance,
            first_label=seed if one_each else 0,
            batch_size=batch_size,
        )
    seeds = seed + np.arange(num_samples, dtype=np.int64)
    with tqdm(total=origin.amount(num_samples), disable=None, unit=origin.unit) as bar:
        batches = [pictures for _, pictures in origin.images(seeds, bar)]
    return np.concatenate(batches)
