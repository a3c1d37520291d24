"""The work of `ncsn import`: a checkpoint of the reference programs becomes a run."""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from ncsn_tf.errors import UserError
from ncsn_tf.models.reference_weights import load_reference_weights
from ncsn_tf.settings.config import Config
from ncsn_tf.training.checkpoints import save_network
from ncsn_tf.training.run_lock import run_lock
from ncsn_tf.training.run_network import build_network


def import_weights(
    weights: Mapping[str, np.ndarray],
    average: Mapping[str, np.ndarray] | None,
    step: int,
    config: Config,
    source: str | Path,
) -> keras.Model:
    """Write a checkpoint as a run in the folder of the settings.

    Args:
        weights, average, step: what `pytorch.read_checkpoint` found.
        config: the settings of the run; those that the weights show are theirs.
        source: where the checkpoint came from, for errors.

    Returns:
        the network with the checkpoint's weights (not the averaged ones).

    Raises:
        UserError: weights that are not those of the network that the settings describe.
    """
    network, averaged = (_network(config, arrays, source) for arrays in (weights, average))
    with run_lock(config.run_dir):
        save_network(network, config, step, averaged)
    return network


def _network(config, arrays, source):
    """A network with the reference's weights; None without any."""
    if arrays is None:
        return None
    network = build_network(config)
    try:
        load_reference_weights(network, arrays)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None
    return network
