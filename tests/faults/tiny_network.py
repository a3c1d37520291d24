"""`ncsn` with a network of a few weights in place of the real one, which takes long to compile.

    tests/faults/tiny_network.py train --dataset=digits ...

Checkpoints, signals, files and folders are those of the real command, so that faults in them can be
tried many times. `--dataset=tiny_pictures` is a data set of TFDS that takes a while to prepare.
"""

import sys
import time

from training_helpers import TinyNetwork

from ncsn_tf.commands.console import main
from ncsn_tf.training import checkpoints, run_network, state

TINY_PICTURES = 60


def _build(config, recompute=False):
    return TinyNetwork(config, recompute)


def _register_tiny_pictures():
    """Defining a builder is what makes it known to TFDS."""
    import numpy as np
    import tensorflow_datasets as tfds

    class TinyPictures(tfds.core.GeneratorBasedBuilder):
        """Picture i has the value i everywhere."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            image = tfds.features.Image(shape=(8, 8, 1))
            features = tfds.features.FeaturesDict({"image": image})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(), "test": self._generate_examples()}

        def _generate_examples(self):
            for index in range(TINY_PICTURES):
                time.sleep(0.005)
                yield index, {"image": np.full([8, 8, 1], index, np.uint8)}


def use():
    """Have the commands of this process build that network."""
    run_network.build_network = state.build_network = checkpoints.build_network = _build


if __name__ == "__main__":
    use()
    if "--dataset=tiny_pictures" in sys.argv:
        _register_tiny_pictures()
    main("ncsn")
