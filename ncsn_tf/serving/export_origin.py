"""Images from an exported SavedModel."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ncsn_tf.backend import signals
from ncsn_tf.backend.choices import MOST_ROWS
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.files import digest, plain_folder, user_path
from ncsn_tf.sampling.sampler import in_batches
from ncsn_tf.serving import contract, export
from ncsn_tf.serving.metadata import read_metadata
from ncsn_tf.serving.versions import versions
from ncsn_tf.settings.chain import change_chain
from ncsn_tf.settings.options import show
from ncsn_tf.training import checkpoints
from ncsn_tf.training.run_sampler import chain_of, chain_settings


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


def run_of_export(folder: str | os.PathLike) -> Path | None:
    """The folder of the run that an export, or a folder of versions, lies in; None for others."""
    parents = Path(os.path.abspath(user_path(folder))).parents
    return next((place for place in parents[:2] if (place / "config.json").is_file()), None)


class Export:
    """Draws with an exported SavedModel, a batch in one call: an `Origin`.

    Args:
        folder: an export, or a folder of its versions, of which the newest is taken.
        num_steps_each, step_lr: sampling settings; None is the export's own.
        batch_size: images at a time.

    Attributes:
        path: the export's folder, of one version.
        metadata: what it says of itself.

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
        self._batch_size = min(batch_size, MOST_ROWS)
        self._settings = {"num_steps_each": num_steps_each, "step_lr": step_lr}
        has_settings = any(value is not None for value in self._settings.values())
        self._name = contract.SETTINGS if has_settings else contract.PIXELS
        path = user_path(folder)
        if not os.path.isdir(path):
            raise UserError(f"{show('saved_model', folder)} is not a folder")
        path = _newest_version(path) or path
        self.metadata = metadata = read_metadata(path)
        _check_cap(path, metadata.max_steps_each, num_steps_each)
        self._model = _load_model(path, self._name)
        self.path = path
        print(f"Sampling from {path}")
        count = _num_evaluations(metadata.config, num_steps_each)
        if count is not None:
            print(f"{count} network evaluations an image")

    def amount(self, num_images: int) -> int:
        """See `Origin`."""
        return math.ceil(num_images / self._batch_size)

    def images(self, seeds: np.ndarray, bar: tqdm) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `Origin`."""
        return in_batches(self._draw_batch, seeds, self._batch_size, bar)

    def about(self) -> dict[str, object]:
        """See `Origin`."""
        files = (self.path / "saved_model.pb", *sorted(self.path.glob("variables/*")))
        content = digest(file.read_bytes() for file in files)
        return {"export": content, "signature": self._name, **self._settings}

    def chain(self) -> dict[str, object]:
        """The settings of its chain, as `chain_settings` of a run; {} where they are not known."""
        config = self.metadata.config
        if config is None:
            return {}
        try:
            return chain_settings(change_chain(config, **self._settings))
        except ConfigError:  # of another version's export
            return {}

    def _draw_batch(self, seeds, advance):
        inputs = contract.inputs(self._name, seeds, **self._settings)
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        with signals.at_once():  # one call for the whole batch; those before are written
            answer = self._model.signatures[self._name](**tensors)
            pictures = answer["image"].numpy()
        if contract.STEPS in answer:  # exports of before it was there do not tell
            diverged = int(np.sum(answer[contract.STEPS].numpy() == 0))
            if diverged:
                raise UserError(contract.diverged(diverged, self._settings["step_lr"]))
        advance()
        return pictures


def _newest_version(folder):
    """The newest version in a folder of exports; None where there is none."""
    numbers = versions(folder)
    return folder / str(numbers[-1]) if numbers else None


def _load_model(folder, name):
    """The SavedModel of a folder, which has a sampler's signature `name`."""
    try:
        with plain_folder(folder) as plain:
            model = tf.saved_model.load(plain)
        wrong = contract.mismatch(name, _signatures(model))
        if wrong:
            raise ValueError(wrong)
    except MemoryError:
        raise
    except Exception as error:  # a damaged graph or file of weights can raise almost anything
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder} is not an exported sampler: {line}") from None
    return model


def _check_cap(folder, most, num_steps_each):
    """Raise a ConfigError for more steps than the export says that it takes."""
    if num_steps_each is not None and most is not None and num_steps_each > most:
        raise ConfigError(
            f"{show('num_steps_each', num_steps_each)} is more than the {most} that {folder} takes"
        )


def _num_evaluations(config, num_steps_each):
    """Network evaluations of an image of an export; None where that is not known beforehand."""
    if config is None:
        return None
    try:
        chain = chain_of(config)
    except ConfigError:  # of another version's export
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
