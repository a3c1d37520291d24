"""Images from an exported SavedModel."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.sampling.sampler import in_batches
from ncsn_tf.serving import contract, export
from ncsn_tf.serving.versions import versions
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import show
from ncsn_tf.training import checkpoints
from ncsn_tf.training.run_sampler import chain_of


def newest_export(workdir: str | os.PathLike = "") -> Path:
    """The newest export of a run; it is made if there is none.

    Args:
        workdir: the run; "" is the newest in runs/.

    Raises:
        UserError: no run, no checkpoint, or the export cannot be written.
    """
    run_dir = checkpoints.find_run(workdir)
    folder = run_dir / export.FOLDER
    return _newest_version(folder) or export.export_run(run_dir)


class Export:
    """Draws with an exported SavedModel, a batch in one call: an `Origin`.

    Args:
        folder: an export, or a folder of its versions, of which the newest is taken.
        num_steps_each, step_lr: sampling settings; None is the export's own.
        batch_size: images at a time.

    Raises:
        ConfigError: more steps than the export takes, or a step size that is none in float32.
        UserError: the folder holds no exported sampler.
    """

    unit = "piece"
    inputs = None

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        num_steps_each: int | None = None,
        step_lr: float | None = None,
        batch_size: int = 64,
    ):
        self._batch_size = batch_size
        self._settings = {"num_steps_each": num_steps_each, "step_lr": step_lr}
        has_settings = any(value is not None for value in self._settings.values())
        self._name = contract.SETTINGS if has_settings else contract.PIXELS
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise UserError(f"{show('saved_model', folder)} is not a folder")
        path = _newest_version(path) or path
        metadata = _metadata(path)
        _check_cap(path, metadata, num_steps_each)
        self._model = _load_model(path, self._name)
        print(f"Sampling from {path}")
        count = _num_evaluations(metadata, num_steps_each)
        if count is not None:
            print(f"{count} network evaluations an image")

    def amount(self, num_images: int) -> int:
        """See `Origin`."""
        return math.ceil(num_images / self._batch_size)

    def images(self, seeds: np.ndarray, bar: tqdm) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `Origin`."""
        return in_batches(self._draw_batch, seeds, self._batch_size, bar)

    def _draw_batch(self, seeds, advance):
        inputs = contract.inputs(self._name, seeds, **self._settings)
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        pictures = self._model.signatures[self._name](**tensors)["image"].numpy()
        advance()
        return pictures


def _newest_version(folder):
    """The newest version in a folder of exports; None where there is none."""
    numbers = versions(folder)
    return folder / str(numbers[-1]) if numbers else None


def _load_model(folder, name):
    """The SavedModel of a folder, which has a sampler's signature `name`."""
    try:
        model = tf.saved_model.load(str(folder))
        wrong = contract.mismatch(name, _signatures(model))
        if wrong:
            raise ValueError(wrong)
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder} is not an exported sampler: {line}") from None
    return model


def _metadata(folder):
    """What an export says of itself, a dict; empty where it says nothing."""
    path = folder / export.METADATA
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _check_cap(folder, metadata, num_steps_each):
    """Raise a ConfigError for more steps than the export says that it takes."""
    most = metadata.get("max_steps_each")
    if num_steps_each is not None and most is not None and num_steps_each > most:
        raise ConfigError(
            f"{show('num_steps_each', num_steps_each)} is more than the {most} that {folder} takes"
        )


def _num_evaluations(metadata, num_steps_each):
    """Network evaluations of an image of an export; None where that is not known beforehand."""
    try:
        config = Config.from_json(json.dumps(metadata["config"]))
        chain = chain_of(config)
    except (KeyError, ConfigError):  # of a stranger's export, or another version's
        return None
    return chain.num_evaluations(num_steps_each or config.num_steps_each)


def _signatures(model):
    """{name: Signature} of a SavedModel that `tf.saved_model.load` returned."""

    def tensors(specs):
        return {name: contract.Tensor(spec.dtype.name) for name, spec in specs.items()}

    return {
        name: contract.Signature(
            tensors(function.structured_input_signature[1]), tensors(function.structured_outputs)
        )
        for name, function in model.signatures.items()
    }
