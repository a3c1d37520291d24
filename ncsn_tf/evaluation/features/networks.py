"""The feature networks by name."""

import difflib
import os
from collections.abc import Callable

from ncsn_tf.errors import ConfigError
from ncsn_tf.evaluation.features.efficientnet import open_efficientnet
from ncsn_tf.evaluation.features.inception import open_inception
from ncsn_tf.evaluation.features.model_file import is_model, open_model
from ncsn_tf.evaluation.features.network import FeatureNetwork
from ncsn_tf.evaluation.features.trained import open_trained
from ncsn_tf.files import user_path
from ncsn_tf.settings.config import Config

# Name -> open(inception, config, data_dir, cache_dir), as in `open_features`. Another name is a
# path.
NETWORKS: dict[str, Callable[[str, Config | None, str, str], FeatureNetwork]] = {
    "inception": open_inception,
    "efficientnet-lite0": open_efficientnet,
    "train": open_trained,
}


def open_features(
    name: str,
    *,
    inception: str = "",
    config: Config | None = None,
    data_dir: str = "",
    cache_dir: str = "",
) -> FeatureNetwork:
    """A feature network by its name.

    Args:
        name: one of `NETWORKS`, or the path of a .keras file or the folder of a SavedModel.
        inception: the file of the 2015 graph; empty is `inception` in the cache.
        config: the run's `Config`, whose data `train` is trained on.
        data_dir: where the data are; empty is where the run has them from.
        cache_dir: as in `cache.cache_folder`; empty is the run's.

    Raises:
        ConfigError: no such network.
        UserError: it cannot be had; one line says what to get.
    """
    if config is not None:
        cache_dir = cache_dir or config.cache_dir
    if name in NETWORKS:
        return NETWORKS[name](inception, config, data_dir, cache_dir)
    if is_model(name):
        return open_model(name)
    near = difflib.get_close_matches(name, NETWORKS, n=1)
    hint = f"; did you mean {near[0]}?" if near and not os.path.exists(user_path(name)) else ""
    raise ConfigError(
        f"--features={name} must be {', '.join(NETWORKS)}, or the path of a .keras file or a "
        f"SavedModel{hint}"
    )


def is_inception(network: FeatureNetwork) -> bool:
    """Whether figures by this network may be called FID, KID and IS: it is the 2015 graph."""
    return network.is_inception
