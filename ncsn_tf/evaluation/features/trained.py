"""The features `train`: of a small network that is trained on the run's own data, and kept."""

import json
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ncsn_tf.data.cache import folder_name
from ncsn_tf.data.source import Source
from ncsn_tf.errors import ConfigError, UserError, inform, warn
from ncsn_tf.evaluation.features.encoder import FEATURES, Encoder, make_encoder
from ncsn_tf.evaluation.features.entries import kept
from ncsn_tf.evaluation.features.fitting import Fitting, fit, num_classes, right_share
from ncsn_tf.evaluation.features.network import FeatureNetwork
from ncsn_tf.files import digest, read_arrays, save_arrays
from ncsn_tf.settings.config import Config
from ncsn_tf.training.run_data import run_source, with_places

FORMAT = 1  # of what is kept: another one for another network or another training of it
FITTING = Fitting()
_WEIGHTS, _ABOUT = "weights.npz", "about.json"
_TILE = 32


def open_trained(
    inception: str = "", config: Config | None = None, data_dir: str = "", cache_dir: str = ""
) -> FeatureNetwork:
    """The network that was trained on the training images of a run's data; it is trained first.

    How well it does on the test images is said each time.

    Args:
        inception: not looked at.
        config: of the run.
        data_dir, cache_dir: empty is the run's.

    Raises:
        ConfigError: there is no run.
        UserError: no data, or no place for the weights.
    """
    if config is None:
        raise ConfigError("--features=train needs a run: the network is trained on its data set")
    config = with_places(config, data_dir, cache_dir)
    source = run_source(config, "train")
    settings = [FORMAT, *FITTING, config.random_flip]
    _, name = folder_name(f"train-{source.name}", settings, source.fingerprint())

    def make(folder):
        encoder = _fit(source, config)
        share, count = right_share(encoder, run_source(config, "test"), FITTING)
        about = {
            "checksum": _checksum(encoder),
            "kind": "classifier" if encoder.num_classes else "encoder",
            "test_share": share,
            "test_images": count,
            "steps": FITTING.steps(source.num_examples),
            **FITTING._asdict(),
            "made": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        arrays = {f"weight{n:02d}": w.numpy() for n, w in enumerate(encoder.weights)}
        save_arrays(folder / _WEIGHTS, arrays)
        (folder / _ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    encoder, about = kept(config.cache_dir, name, lambda folder: _read(folder, source), make)
    network = _network(encoder, config, about["checksum"])
    what = "classified right" if encoder.num_classes else "known again among those of a batch"
    inform(
        f"features {network.name} {network.checksum}: {about['test_share']:.1%} of "
        f"{about['test_images']:,} test images are {what}"
    )
    return network


def _fit(source: Source, config: Config) -> Encoder:
    """Train, with progress."""
    with tqdm(
        desc="training features",
        total=FITTING.steps(source.num_examples),
        unit="step",
        disable=None,
    ) as bar:

        def on_step(loss):
            bar.update()
            if bar.n % 50 == 0:
                bar.set_postfix(loss=f"{loss():.3f}")

        return fit(source, FITTING, config.random_flip, on_step)


def _read(folder: Path, source: Source) -> tuple[Encoder, dict] | None:
    """(encoder, what is said of it) of a folder; None where it is missing or damaged."""
    if not folder.is_dir():
        return None
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        arrays = read_arrays(folder / _WEIGHTS)
        encoder = make_encoder(source.image_shape, num_classes(source), FITTING.seed)
        for variable, name in zip(encoder.weights, sorted(arrays), strict=True):
            variable.assign(arrays[name])
        if _checksum(encoder) != about["checksum"]:
            raise ValueError("another checksum")
        float(about["test_share"]), int(about["test_images"])
    except (UserError, OSError, LookupError, TypeError, ValueError) as error:
        warn(f"{folder} is damaged ({error}): trained anew")
        return None
    return encoder, about


def _network(encoder: Encoder, config: Config, checksum: str) -> FeatureNetwork:
    height, width = encoder.size

    @tf.function(autograph=False)
    def compute(pixels):
        vectors = encoder.trunk(encoder.resized(tf.cast(pixels, tf.float32) / 255.0))
        if not encoder.num_classes:
            return (vectors,)
        return vectors, tf.nn.softmax(encoder.head(vectors))

    def both(pixels):
        vectors, *probabilities = (part.numpy() for part in compute(pixels))
        return vectors, *(probabilities or [None])

    return FeatureNetwork(
        both,
        name=f"Train-{config.dataset}",
        checksum=checksum,
        resize=f"bilinear with antialiasing to {height}x{width}, where they are not",
        dimension=FEATURES,
        num_classes=encoder.num_classes,
        channels=config.channels,
        tile=_TILE,
    )


def _checksum(encoder: Encoder) -> str:
    return digest(np.ascontiguousarray(weight.numpy()).tobytes() for weight in encoder.weights)
