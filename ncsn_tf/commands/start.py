"""Starts TensorFlow for a command: quiet, with the devices that its work wants.

It is imported in these functions only: the command line is read before.
"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

import ncsn_tf
from ncsn_tf.backend import outcomes
from ncsn_tf.backend.cluster import VARIABLE, Cluster, silence, this_cluster
from ncsn_tf.backend.deadline import at_most
from ncsn_tf.backend.meeting import meet
from ncsn_tf.backend.quiet import quietly
from ncsn_tf.errors import RestartError, UserError
from ncsn_tf.settings.config import Config

if TYPE_CHECKING:
    import tensorflow as tf

_PLACES = (
    "workdir",
    "data_dir",
    "cache_dir",
    "inception",
)  # which may have other names on other machines


def start_for_training(config: Config) -> tf.distribute.Strategy:
    """`start_tensorflow` for the training of a run: as many parts as its batch has tiles.

    With oneDNN, which TensorFlow leaves out on x86 processors without AVX512-VNNI although it is
    faster there too, unless TF_ENABLE_ONEDNN_OPTS says otherwise. (Only here: samples are to be
    those of a server, bit for bit, and a server is started by others.)
    """
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # read when TensorFlow is imported
    cluster = this_cluster()
    if cluster is not None:
        silence()
    with quietly():
        from ncsn_tf.backend.tiles import PARALLEL_TILES, training_tile

    here = config.num_virtual_devices or 1
    replicas = here if cluster is None else here * len(cluster.addresses)
    share = config.batch_size // replicas or 1
    jit_compile = config.settled().jit_compile
    tile = training_tile(share, config.features, True, config.training_tile, jit_compile)
    parts = here * min(PARALLEL_TILES, share // tile)
    if cluster is not None:
        return start_worker(cluster, config, parts)
    return start_tensorflow(config.num_virtual_devices, config.deterministic, parts)


def start_worker(
    cluster: Cluster, config: Config, parallel_parts: int = 1
) -> tf.distribute.Strategy:
    """Start one of several processes: it meets the others before TensorFlow waits for them."""
    try:
        config.run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{config.run_dir} cannot be written: {error.strerror}") from None
    facts = what_all_want(cluster, config)
    connections = meet(cluster, facts, config.run_dir, config.cluster_timeout)
    outcomes.keep(cluster.index, connections)
    os.environ[VARIABLE] = cluster.to_tf_config()
    with quietly():
        from ncsn_tf.backend import devices

    seconds = config.cluster_timeout
    line = f"error: worker {cluster.index} waited {seconds:.0f} s for TensorFlow of the others"
    with at_most(seconds, f"{line}: start all again", RestartError.code):
        return devices.start_worker(
            config.num_virtual_devices, config.deterministic, parallel_parts
        )


def what_all_want(cluster: Cluster, config: Config) -> dict[str, object]:
    """What must be the same for all workers, by name: see `meet`."""
    settings = config.to_dict()
    for name in _PLACES:
        del settings[name]
    return {"addresses": cluster.addresses, "version": ncsn_tf.__version__, **settings}


def start_for_sampling(num_images: int, num_virtual_devices: int = 0) -> tf.distribute.Strategy:
    """`start_tensorflow` for chains of `num_images` at a time: as many parts as they have tiles."""
    with quietly():
        from ncsn_tf.backend.compat import TILES_AT_ONCE
        from ncsn_tf.backend.tiles import CPU_TILE, PARALLEL_TILES

    parts = min(PARALLEL_TILES, num_images // CPU_TILE) if TILES_AT_ONCE else 1
    return start_tensorflow(num_virtual_devices, parallel_parts=parts)


def start_tensorflow(
    num_virtual_devices: int = 0, deterministic: bool = False, parallel_parts: int = 1
) -> tf.distribute.Strategy:
    """Import TensorFlow and set its devices up: arguments and result of `backend.devices.start`."""
    with quietly():
        from ncsn_tf.backend import devices

    return devices.start(num_virtual_devices, deterministic, parallel_parts)
