"""Starts TensorFlow for a command: quiet, with the devices that its work wants.

It is imported in these functions only: the command line is read before.
"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from ncsn_tf.backend.quiet import quietly
from ncsn_tf.settings.config import Config

if TYPE_CHECKING:
    import tensorflow as tf


def start_for_training(config: Config) -> tf.distribute.Strategy:
    """`start_tensorflow` for the training of a run: as many parts as its batch has tiles.

    With oneDNN, which TensorFlow leaves out on x86 processors without AVX512-VNNI although it is
    faster there too, unless TF_ENABLE_ONEDNN_OPTS says otherwise. (Only here: samples are to be
    those of a server, bit for bit, and a server is started by others.)
    """
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # read when TensorFlow is imported
    with quietly():
        from ncsn_tf.backend.tiles import PARALLEL_TILES, training_tile

    replicas = config.num_virtual_devices or 1
    share = config.batch_size // replicas or 1
    tile = training_tile(share, config.features, True, config.training_tile, config.jit_compile)
    parts = replicas * min(PARALLEL_TILES, share // tile)
    return start_tensorflow(config.num_virtual_devices, config.deterministic, parts)


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
