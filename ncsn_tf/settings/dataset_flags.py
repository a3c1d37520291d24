"""The flagfiles of data sets: flags/<dataset>.flags, read where nobody names another."""

import difflib
import os
from pathlib import Path

from ncsn_tf.errors import ConfigError
from ncsn_tf.files import array_headers, is_array, map_array, user_path
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import show
from ncsn_tf.settings.typed_flags import FLAGFILES, read_flags


def flagfile_of(dataset: str) -> Path | None:
    """The flagfile of a data set; None where there is none.

    Raises:
        ConfigError: the name is that of an experiment.

    Example:
        >>> flagfile_of("mnist").name, flagfile_of("nobodys")
        ('mnist.flags', None)
    """
    flagfile = _path_of(dataset)
    if not flagfile.is_file():
        return None
    if not _is_of_its_dataset(flagfile):
        raise ConfigError(
            f"{show('dataset', dataset)} is an experiment, not a data set: "
            f"use --flagfile={flagfile.stem}"
        )
    return flagfile


def needs_image_size(dataset: str, data_dir: str) -> str:
    """What there is to say where nothing tells the size of a data set's images.

    Example:
        >>> needs_image_size("cifar", "")[:46]
        '--dataset=cifar needs an explicit --image_size'
    """
    flagfile = _path_of(dataset)
    hint = f" (or --flagfile={flagfile.stem})"
    if dataset == "arrays":
        hint = f": {_shapes(data_dir)}"
    elif not flagfile.is_file():
        close = difflib.get_close_matches(dataset.lower(), _known_datasets(), n=1)
        hint = f": there is no flags/{flagfile.name}"
        hint += f"; did you mean --dataset={close[0]}?" if close else ""
    return f"--dataset={dataset} needs an explicit --image_size{hint}"


def _known_datasets():
    return [path.stem for path in FLAGFILES.glob("*.flags") if _is_of_its_dataset(path)]


def _is_of_its_dataset(path):
    """Whether a flagfile is its data set's own: others are read only when they are named."""
    dataset = read_flags([f"--flagfile={path}"], Config)["dataset"]
    return not dataset.present or dataset.value == path.stem


def _path_of(dataset):
    return FLAGFILES / f"{dataset.partition(':')[0]}.flags"  # a TFDS version follows the colon


def _shapes(path):
    """What a file of arrays says of those that may be images."""
    path = user_path(path)
    if not os.path.isfile(path):
        return f"{path} is not a file"
    if is_array(path):
        shapes = {"": map_array(path).shape}
    else:
        shapes = {name: shape for name, (shape, _) in array_headers(path).items()}
    listed = [f"{name} {list(shape)}" for name, shape in shapes.items() if len(shape) in (3, 4)]
    return f"{path} has {', '.join(listed).strip() or 'no images'}"
