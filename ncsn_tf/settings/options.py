"""Dataclass fields that are also flags: their types, bounds and checks."""

import dataclasses
import math
import typing
from typing import Any

from ncsn_tf.errors import ConfigError
from ncsn_tf.files import broken_path, user_path

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def option(
    default: Any,
    help: str,
    group: str,
    runtime: bool = False,
    choices: tuple | None = None,
    bare: str | None = None,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    path: bool = False,
) -> Any:
    """A dataclass field that is also a flag.

    Args:
        default: value without the flag; None for a field of an optional type.
        help: one short line.
        group: heading under which `--help` lists it.
        runtime: True when the value may change when a run is resumed.
        choices: the only values allowed, if given.
        bare: value of the flag given without one (`--saved_model`), if that is allowed.
        least, above, below: bounds; `above` and `below` are exclusive.
        path: whether the text is a path, if it is not a name that has a meaning of its own.
            `parse_options` puts a home in place of its `~`.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Options:
        ...     count: int = option(3, "how many", group="images", least=1)
        >>> Options().count
        3
    """
    metadata = {"group": group, "help": help, "runtime": runtime, "choices": choices, "bare": bare}
    metadata |= {"least": least, "above": above, "below": below, "path": path}
    return dataclasses.field(default=default, metadata=metadata)


def option_types(dataclass_type: type) -> dict[str, type]:
    """{field name: int, float, bool or str}; `int | None` counts as int."""
    hints = typing.get_type_hints(dataclass_type)
    kinds = {field.name: hints[field.name] for field in dataclasses.fields(dataclass_type)}
    return {name: (typing.get_args(kind) or (kind,))[0] for name, kind in kinds.items()}


def show(name: str, value: Any) -> str:
    """A setting as a flag.

    Example:
        >>> show("random_flip", True)
        '--random_flip=true'
    """
    return f"--{name}={show_value(value)}"


def show_value(value: Any) -> str:
    """A value as a person would type it.

    Example:
        >>> show_value(True), show_value(0.01)
        ('true', '0.01')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_options(options: Any) -> None:
    """Check the type, choices and bounds of each field made with `option`.

    Raises:
        ConfigError: names the flag, its value and what would be right.
    """
    names = [field.name for field in dataclasses.fields(options)]
    values = {name: getattr(options, name) for name in names}
    check_values(type(options), values, here=False)  # a stored path can be another machine's


def check_values(dataclass_type: type, values: dict[str, Any], here: bool = True) -> None:
    """`check_options` of values that are not yet an instance.

    Args:
        dataclass_type: whose fields were made with `option`.
        values: {field name: value}, all of them.
        here: see `files.broken_path`.
    """
    kinds = option_types(dataclass_type)
    for field in dataclasses.fields(dataclass_type):
        value = values[field.name]
        if value is None and field.default is None:
            continue
        rule = _broken_rule(value, kinds[field.name], field.metadata, here)
        if rule:
            raise ConfigError(f"{show(field.name, value)} must be {rule}")


def with_homes(dataclass_type: type, values: dict[str, Any]) -> dict[str, Any]:
    """The values, which are right, with homes in place of the `~` of paths.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Options:
        ...     out: str = option("", "a file", group="output", path=True)
        >>> with_homes(Options, {"out": "a.png"})
        {'out': 'a.png'}
    """
    paths = [field.name for field in dataclasses.fields(dataclass_type) if field.metadata["path"]]
    # Others stay as they were typed: ./newest is a folder where "newest" has its own meaning.
    paths = [name for name in paths if (values[name] or "").startswith("~")]
    homes = {name: str(user_path(values[name])) for name in paths}
    return values | homes


def _broken_rule(value, kind, limits, here):
    """What the value should have been; None when nothing is wrong with it."""
    if type(value) is not kind and not (kind is float and type(value) is int):
        return KINDS[kind]
    if kind is float and not _is_finite(value):
        return "a finite number"
    if kind is str and limits["path"]:
        return broken_path(value, here)
    if kind is str and not _is_text(value):
        return "text in UTF-8"
    choices, least, above, below = (limits[k] for k in ("choices", "least", "above", "below"))
    if choices is not None and value not in choices:
        return " or ".join(show_value(choice) for choice in choices)
    if least is not None and value < least:
        return f"at least {least}"
    if above is not None and value <= above:
        return f"above {above}"
    if below is not None and value >= below:
        return f"below {below}"
    return None


def _is_finite(value):
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number, too large for a float
        return False


def _is_text(value):
    """Whether it can be written: bytes that are no text come as halves of characters."""
    return not any("\ud800" <= character <= "\udfff" or character == "\0" for character in value)
