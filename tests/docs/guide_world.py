"""What the commands of the guides find: pictures, runs, checkpoints of others, a server.

`GuideNetwork` stands in for every network but the trained ones of zoo/.
"""

import contextlib
import zipfile
from pathlib import Path

import numpy as np
import serving_server
import tensorflow as tf
from PIL import Image
from training_helpers import TinyLabelled

from ncsn_tf.settings.flags import parse_config
from ncsn_tf.training import checkpoints, run_network, state

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
# Sizes of a network of the third generation.
THIRD = ["--features=4", "--multipliers=1,2", "--num_res_blocks=1", "--attention_sizes=4"]
# Runs of the third generation by their folders.
EQUATIONS = {"runs/ve": ["--model=ncsnpp", "--sde=ve"], "runs/vp": ["--model=ddpmpp", "--sde=vp"]}


class GuideNetwork(TinyLabelled):
    """`TinyLabelled` that has features, and is told levels or what the third generation is told."""

    def level(self, condition):
        if condition.dtype.is_integer:
            return condition
        return tf.cast(tf.clip_by_value(condition, 0.0, self.config.num_levels - 1.0), tf.int32)

    @property
    def num_levels(self):
        return self.config.num_levels

    def call(self, x, levels, labels=None, dropout_noise=None):
        return super().call(x, self.level(levels), labels)

    def stages(self, x, levels):
        return [tf.nn.elu(self.norm(self.begin(x), self.level(levels)))]


def use_guide_network(patch):
    """Let runs have a `GuideNetwork`, but for the trained ones."""

    def build(config, recompute=False):
        trained = config.workdir.startswith("zoo/")
        return (run_network.build_network if trained else GuideNetwork)(config, recompute)

    for module in (state, checkpoints):
        patch(module, "build_network", build)


def make_files(folder, rng):
    """Pictures, an archive, arrays, and checkpoints of the reference programs."""
    pictures = folder / "pictures"
    pictures.mkdir()
    with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
        for index in range(24):
            path = pictures / f"{index}.png"
            Image.fromarray(rng.integers(0, 255, [12, 16, 3], np.uint8)).save(path)
            archive.write(path, path.name)
    (folder / "ffhq").symlink_to(pictures)
    np.savez(folder / "images.npz", images=rng.integers(0, 255, [24, 8, 8], np.uint8))
    for name, side in (("digit", 8), ("grey", 8), ("small", 2)):
        shape = [side, side] if name != "small" else [side, side, 3]
        Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(folder / f"{name}.png")
    (folder / "flags").mkdir()
    (folder / "checkpoint.pth").symlink_to(GOLDEN / "official_checkpoint_ngf8.pth")
    (folder / "checkpoint_26.pth").symlink_to(GOLDEN / "sde" / "checkpoint_ncsnpp_ve.pth")


def make_run(workdir):
    """A run that was trained before, in colour where it is one of CIFAR-10."""
    channels = 3 if "cifar" in workdir else 1
    flags = ["--dataset=digits", "--image_size=8", f"--channels={channels}", "--num_levels=3"]
    flags.append("--ema_decay=0")  # the network is saved, and no average of it
    if workdir in EQUATIONS:
        flags += [*EQUATIONS[workdir], "--continuous", *THIRD, "--num_levels=21"]
    else:
        flags += ["--features=2", "--num_steps_each=1", "--step_lr=1e-4", "--sigma_begin=1"]
    config = parse_config(["train", *flags, f"--workdir={workdir}"])
    checkpoints.save_network(GuideNetwork(config), config, step=200)


@contextlib.contextmanager
def server_of(words, folder):
    """The words with the ports of a server that runs until the end, where they ask one."""
    ports = ("localhost:8500", "localhost:8501")
    if not any(port in word for word in words for port in ports):
        yield words
        return
    export = folder / "served"
    if not export.exists():
        serving_server.save_stand_in(export / "1")
    with serving_server.ServingServer(export) as server:
        for port, own in zip(ports, (server.grpc_port, server.rest_port), strict=True):
            words = [word.replace(port, f"127.0.0.1:{own}") for word in words]
        yield words
