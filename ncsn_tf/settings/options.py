"""Dataclass fields that are also flags: their types, bounds and checks."""

import dataclasses
import math
import typing
from typing import Any

from ncsn_tf.errors import ConfigError

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

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Options:
        ...     count: int = option(3, "how many", group="images", least=1)
        >>> Options().count
        3
    """
    metadata = {"group": group, "help": help, "runtime": runtime, "choices": choices, "bare": bare}
    metadata |= {"least": least, "above": above, "below": below}
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
    kinds = option_types(type(options))
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value is None and field.default is None:
            continue
        rule = _broken_rule(value, kinds[field.name], field.metadata)
        if rule:
            raise ConfigError(f"{show(field.name, value)} must be {rule}")


def _broken_rule(value, kind, limits):
    """What the value should have been; None when nothing is wrong with it."""
    if type(value) is not kind and not (kind is float and type(value) is int):
        return KINDS[kind]
    if kind is float and not math.isfinite(value):
        return "a finite number"
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
