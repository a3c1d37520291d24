"""What an export says of itself, in the file beside its graph."""

import dataclasses
import json
import os
import re
from pathlib import Path

from ncsn_tf.backend.choices import EXPORT_WEIGHTS
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.serving.contract import INTERFACE
from ncsn_tf.settings.config import Config

METADATA = "metadata.json"
_NUMBER = "[0-9.e-]{1,20}"


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What is known of an export.

    Attributes:
        interface: of `contract.INTERFACE`; 1 for exports from before they said so.
        max_steps_each: the most steps a level of a request; None where it is not said.
        config: the run's `Config`, with the export's chain; None in a stranger's export, or one
            whose settings are another version's.
        training_step: of the checkpoint that was exported; None where it is not said.
        weights: "average", "raw" or "average of length 0.1"; None where it is not said.
        stored_in: the type of the stored weights; exports from before they said so have float32.
    """

    interface: int = 1
    max_steps_each: int | None = None
    config: Config | None = None
    training_step: int | None = None
    weights: str | None = None
    stored_in: str = "float32"


def read_metadata(folder: str | os.PathLike) -> Metadata:
    """The metadata of an export.

    Args:
        folder: of one version; without a metadata file, nothing is known of it.

    Raises:
        UserError: the file cannot be read, or says what cannot be; one line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, METADATA).write_text('{"max_steps_each": 30}')
        ...     metadata = read_metadata(folder)
        >>> metadata.max_steps_each, metadata.config, metadata.stored_in
        (30, None, 'float32')
    """
    path = Path(folder) / METADATA
    if not os.path.lexists(path):
        return Metadata()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # deep nesting ends the parser's recursion
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} cannot be read: it is not a JSON object")
    numbers = {
        name: _number(path, name, content[name])
        for name in ("interface", "max_steps_each")
        if name in content
    }
    if numbers.get("interface", 1) > INTERFACE:
        raise UserError(
            f"{path.parent} was exported by a later version: its interface is number "
            f"{numbers['interface']}, and the last one known here is {INTERFACE}"
        )
    names = ("training_step", "weights", "stored_in")
    step, weights, stored_in = (content.get(name) for name in names)
    return Metadata(
        **numbers,
        config=_config(content.get("config")),
        training_step=step if type(step) is int else None,
        weights=weights if _are_weights(weights) else None,
        stored_in=stored_in if stored_in in EXPORT_WEIGHTS else "float32",
    )


def _are_weights(words):
    return isinstance(words, str) and re.fullmatch(f"raw|average( of length {_NUMBER})?", words)


def _number(path, name, value):
    if type(value) is not int or value < 1:
        raise UserError(f"{path}: {name} must be a whole number above 0, not {value!r}")
    return value


def _config(values):
    try:
        return Config.from_dict(values) if isinstance(values, dict) else None
    except ConfigError:
        return None
