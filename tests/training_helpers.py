"""What the tests of training share: replicas of CPUs, quiet training, the numbers of a run."""

import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf.backend.devices import mirrored_strategy
from ncsn_tf.models.instance_norm_layers import ConditionalInstanceNormPlus
from ncsn_tf.models.layers import Convolution
from ncsn_tf.training import checkpoint_choice, checkpoint_reading, loop


class TinyNetwork(keras.Model):
    """A score network of five weights, in place of `build_network`'s: compiled in no time.

    Args:
        config: a run's settings, of which it takes the levels and channels.
        recompute: as for `build_network`, without a meaning here.
        width: channels between its two convolutions.
    """

    def __init__(self, config, recompute=False, width=2):
        super().__init__()
        self.config = config
        self.begin = Convolution(width)
        self.begin.build((None, 8, 8, config.channels))
        self.norm = ConditionalInstanceNormPlus(config.num_levels)
        self.norm.build((None, 8, 8, width))
        self.end = Convolution(config.channels)
        self.end.build((None, 8, 8, width))
        self.built = True

    @property
    def image_shape(self):
        return self.config.image_shape

    def call(self, x, levels):
        return self.end(tf.nn.elu(self.norm(self.begin(x), levels)))


class TinyLabelled(TinyNetwork):
    """`TinyNetwork` with a shift by class in place of its tables."""

    def __init__(self, config, recompute=False):
        super().__init__(config)
        self.num_classes = config.num_classes
        if config.num_classes:
            shape = (config.num_classes + 1, config.channels)
            self.table = self.add_weight(name="table", shape=shape, initializer="zeros")

    def call(self, x, levels, labels=None):
        score = super().call(x, levels)
        if not self.num_classes:
            return score
        if labels is None:
            labels = tf.fill(tf.shape(levels), self.num_classes)
        rows = tf.one_hot(labels, self.num_classes + 1) @ tf.convert_to_tensor(self.table)
        return score + rows[:, None, None, :]


class FakeStep:
    """Counts a step and computes nothing: in place of a `TrainingStep`."""

    def __init__(self, state, config, strategy):
        self.state = state
        self.totals = self

    def run(self, batch):
        self.state.step.assign_add(1)

    def report(self):
        return 1.0, 1.0, [1.0, 1.0, 1.0]


def replicas(count):
    """A strategy over so many CPUs, of which the tests have two."""
    return mirrored_strategy([f"CPU:{i}" for i in range(count)])


def train(config, strategy=None, **sources):
    """(state, lines said) of a call of `loop.train`, on one replica unless a strategy is given."""
    lines = []
    return loop.train(config, strategy or replicas(1), lines.append, **sources), lines


def numbers(run_dir):
    """{name: value} of everything in a run's newest checkpoint, but for the settings."""
    with checkpoint_reading.readable(checkpoint_choice.latest(run_dir)) as plain:
        reader = tf.train.load_checkpoint(plain)
        names = [name for name in reader.get_variable_to_shape_map() if name[0] != "_"]
        return {name: reader.get_tensor(name) for name in names if not name.startswith("config")}


def assert_same_run(first, second):
    """The `numbers` of two runs are the same, bit for bit."""
    assert first.keys() == second.keys()
    assert first["step/.ATTRIBUTES/VARIABLE_VALUE"] == second["step/.ATTRIBUTES/VARIABLE_VALUE"]
    different = [name for name in first if np.any(first[name] != second[name])]
    different = [name for name in different if not name.startswith("save_counter")]
    assert different == []


def cut_back(run_dir, step, copy):
    """A copy of a run as it would be, had the power failed soon after the checkpoint of `step`."""
    shutil.copytree(run_dir, copy, ignore=shutil.ignore_patterns("tensorboard"))
    folder = Path(copy) / "checkpoints"
    for path in folder.glob("step-*"):
        if not path.name.startswith(f"step-{step}."):
            path.unlink()
    tf.compat.v1.train.update_checkpoint_state(str(folder), str(folder / f"step-{step}"))
    return Path(copy)
