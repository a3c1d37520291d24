"""Images from an exported SavedModel."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ncsn_tf.backend import signals
from ncsn_tf.backend.choices import MOST_ROWS
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.files import digest, plain_folder, user_path
from ncsn_tf.sampling.sampler import in_batches
from ncsn_tf.sampling.samplers import SAMPLERS
from ncsn_tf.serving import contract, export, request
from ncsn_tf.serving.metadata import read_metadata
from ncsn_tf.serving.signatures import most_evaluations
from ncsn_tf.serving.versions import versions
from ncsn_tf.settings.chain import change_chain
from ncsn_tf.settings.class_flags import looked_at
from ncsn_tf.settings.labels import (
    EACH,
    choose_labels,
    evaluations_of,
    labelled_settings,
    say_labels,
)
from ncsn_tf.settings.options import show
from ncsn_tf.training import checkpoint_choice
from ncsn_tf.training.run_sampler import chain_of, chain_settings


def newest_export(workdir: str | os.PathLike = "") -> Path:
    """The newest export of a run; it is made if there is none.

    Args:
        workdir: the run; "" is the newest in runs/.

    Raises:
        UserError: no run, no checkpoint, or the export cannot be written.
    """
    run_dir = checkpoint_choice.find_run(workdir)
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
        num_steps_each, step_lr, num_evaluations: sampling settings; None is the export's own.
        label, guidance: the classes to draw, of a network that knows classes; see
            `settings.labels.choose_labels`.
        all_classes: whether such a network draws all of its classes in turn where none is named:
            see `settings.class_flags.looked_at`.
        batch_size: images at a time.

    Attributes:
        path: the export's folder, of one version.
        metadata: what it says of itself.
        labels: the classes that were chosen, if any.

    Raises:
        ConfigError: more steps than the export takes, a step size that is none in float32, or a
            class that the export does not have.
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
        num_evaluations: int | None = None,
        label: str | int | Sequence[str | int] | None = None,
        guidance: float = 1.0,
        all_classes: bool = False,
        batch_size: int = 64,
    ):
        self._batch_size = min(batch_size, MOST_ROWS)
        self._settings = {"num_steps_each": num_steps_each, "step_lr": step_lr}
        if num_evaluations is not None:  # shards from before it was there do not have it
            self._settings["num_evaluations"] = num_evaluations
        path = user_path(folder)
        if not os.path.isdir(path):
            raise UserError(f"{show('saved_model', folder)} is not a folder")
        path = _newest_version(path) or path
        self.metadata = metadata = read_metadata(path)
        _check_cap(path, metadata.max_steps_each, num_steps_each)
        class_names = () if metadata.config is None else metadata.config.class_names
        if all_classes:
            of_all = EACH if label is None else label
            self.labels = looked_at(of_all, guidance, class_names, "this export")
        else:
            self.labels = choose_labels(label, guidance, class_names, "this export")
        of_classes = self.labels is not None
        name = request.signature_of(num_steps_each, step_lr, num_evaluations, of_classes)
        self._name = contract.PIXELS if name is None else name
        self._model = _load_model(path, self._name, metadata.config)
        if num_evaluations is not None and metadata.config is not None:
            _check_evaluations(path, metadata.config, num_evaluations)
        self.path = path
        half = (
            "" if metadata.stored_in == "float32" else f", weights stored in {metadata.stored_in}"
        )
        print(f"Sampling from {path}{half}")
        say_labels(self.labels, class_names)
        count = _num_evaluations(metadata.config, num_steps_each, num_evaluations)
        if count is not None:
            print(f"{evaluations_of(self.labels, count)} network evaluations an image")

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
        labels = {} if self.labels is None else self.labels.about()
        return {"export": content, "signature": self._name, **self._settings, **labels}

    def chain(self) -> dict[str, object]:
        """The settings of its chain, as `chain_settings` of a run; {} where they are not known."""
        config = self.metadata.config
        if config is None:
            return {}
        try:
            return labelled_settings(
                chain_settings(change_chain(config, **self._settings)), self.labels
            )
        except ConfigError:  # of another version's export
            return {}

    def _draw_batch(self, seeds, advance):
        inputs = request.inputs(self._name, seeds, **self._settings, labels=self.labels)
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        with signals.at_once():  # one call for the whole batch; those before are written
            answer = self._model.signatures[self._name](**tensors)
            pictures = answer["image"].numpy()
        if contract.STEPS in answer:  # exports of before it was there do not tell
            diverged = int(np.sum(answer[contract.STEPS].numpy() == 0))
            if diverged:
                raise UserError(request.diverged(diverged, self._settings["step_lr"]))
        if contract.EVALUATIONS in answer:
            diverged = int(np.sum(answer[contract.EVALUATIONS].numpy() == 0))
            if diverged:
                raise UserError(f"the chains of {diverged} images diverged")
        advance()
        return pictures


def _newest_version(folder):
    """The newest version in a folder of exports; None where there is none."""
    numbers = versions(folder)
    return folder / str(numbers[-1]) if numbers else None


def _load_model(folder, name, config):
    """The SavedModel of a folder, which has a sampler's signature `name`."""
    try:
        with plain_folder(folder) as plain:
            model = tf.saved_model.load(plain)
        signatures = _signatures(model)
        wrong = contract.mismatch(name, signatures)
        is_few = name in (contract.FEW, contract.FEW_OF_CLASSES)
        if wrong and is_few and contract.PIXELS in signatures:
            raise ConfigError(f"--num_evaluations cannot be chosen of {folder}{_instead(config)}")
        if wrong:
            raise ValueError(wrong)
    except (MemoryError, ConfigError):
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


def _instead(config):
    """Why the number of evaluations cannot be chosen of an export, and what to do."""
    if config is None:
        return ", whose signatures have no such input"
    if "num_evaluations" not in SAMPLERS[config.sampler].settings:
        return f", whose chain is {show('sampler', config.sampler)}: it has no such setting"
    return (
        f": it takes {config.num_evaluations}, and another export takes others "
        "(ncsn export --num_evaluations=N)"
    )


def _check_evaluations(folder, config, num_evaluations):
    """Raise a ConfigError for a number of evaluations that the export does not take."""
    most = most_evaluations(config)
    if num_evaluations > most:
        raise ConfigError(
            f"{show('num_evaluations', num_evaluations)} is more than the {most} that {folder} "
            "takes: ncsn export --num_evaluations=N makes another"
        )
    chain_of(change_chain(config, num_evaluations=num_evaluations))


def _num_evaluations(config, num_steps_each, num_evaluations):
    """Network evaluations of an image of an export; None where that is not known beforehand."""
    if config is None:
        return None
    try:
        chain = chain_of(change_chain(config, num_evaluations=num_evaluations))
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
