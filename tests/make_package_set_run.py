"""Makes tests/golden/package_sets/<set>/: weights that a package set wrote, images that it drew.

    .venv/bin/python tests/make_package_set_run.py
    .venv-addons/bin/python tests/make_package_set_run.py

Each trains a tiny network on digits for some steps and keeps its averaged weights as a run
(config.json, checkpoints/), with what sample.py draws from the run and from its export in
images.npz: `checkpoint` and `saved_model`, uint8 [4, 8, 8, 1], of seeds 0 to 3. The tests of
test_package_sets.py then load the weights, and draw the images, on whatever set they run on.
"""

import dataclasses
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "golden" / "package_sets"
NUM_IMAGES = 4


def main():
    sys.path.insert(0, str(ROOT))
    from ncsn_tf.backend import compat
    from ncsn_tf.commands.start import start_tensorflow
    from ncsn_tf.generation.checkpoint_origin import Opened
    from ncsn_tf.serving.export_origin import Export, newest_export
    from ncsn_tf.settings.config import Config
    from ncsn_tf.training import checkpoints
    from ncsn_tf.training.averages import open_weights
    from ncsn_tf.training.loop import train

    config = Config(
        workdir="run",  # relative: the settings are stored with the weights
        dataset="digits",
        image_size=8,
        channels=1,
        random_flip=False,
        features=2,
        num_levels=3,
        step_lr=1e-4,
        num_steps_each=4,
        denoise=True,
        sampling_tile=2,
        batch_size=32,
        learning_rate=0.005,
        num_steps=200,
        ema_decay=0.9,
        eval_every=0,
        sample_every=0,
        seed=3 if compat.KERAS_3 else 2,
    )
    target = FOLDER / ("default" if compat.KERAS_3 else "addons")
    strategy = start_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        network = train(config, strategy).evaluation_network
        shutil.rmtree("run")
        path = checkpoints.save_network(
            network, dataclasses.replace(config, ema_decay=0.0), config.num_steps
        )
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree("run", target)
        print(f"Wrote {path} to {target}")

        with strategy.scope():
            origins = {"checkpoint": Opened(open_weights("run")).origin()}
        origins["saved_model"] = Export(newest_export("run"))
        images = {}
        for kind, origin in origins.items():
            ((_, images[kind]),) = origin.images(np.arange(NUM_IMAGES), tqdm(disable=True))
        np.savez_compressed(target / "images.npz", **images)
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
