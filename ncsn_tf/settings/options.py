"""Dataclass fields that are also flags: their types, bounds and checks."""

import dataclasses
import functools
import math
import operator
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

from ncsn_tf.backend.sizes import ImageSize, sides
from ncsn_tf.errors import ConfigError
from ncsn_tf.files import broken_path

Switch = bool | str  # true, false, or "auto": what suits the device
AUTO = "auto"
ANY_NAME = "a word"  # without a separator or an ending, whose meaning is known elsewhere

KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Switch: "auto, true or false",
    str: "text",
    ImageSize: "a whole number, or height x width such as 48x64",
}


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
    reads: tuple[str, ...] | str | None = None,
    given_below: float | None = None,
    pattern: tuple[str, str] | None = None,
    flag: bool = True,
) -> Any:
    """A dataclass field that is also a flag.

    Args:
        default: value without the flag; None for a field of an optional type.
        help: one short line.
        group: heading under which `--help` lists it.
        runtime: True when the value may change when a run is resumed.
        choices: the only values allowed, if given.
        bare: value of the flag given without one (`--saved_model`), if that is allowed.
        least, above, below: bounds, of a size those of each side; `above` and `below` are
            exclusive.
        path: whether the text is a path, if it is not a name that has a meaning of its own.
            `parse_options` puts a home in place of its `~`.
        reads: of a path that is read, the names that have a meaning of their own, () where there
            are none, or `ANY_NAME`; `option_paths.check_inputs` checks that any other is there.
        given_below: a bound that is exclusive too, on what a user gives now: see `check_given`.
        pattern: (regular expression, words for it) that all of a text must match.
        flag: False for a field that is stored with the others, but is no flag: its value is found
            when a run starts, and has rules of its own.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Options:
        ...     count: int = option(3, "how many", group="images", least=1)
        >>> Options().count
        3
    """
    metadata = {"group": group, "help": help, "runtime": runtime, "choices": choices, "bare": bare}
    metadata |= {"least": least, "above": above, "below": below, "path": path}
    metadata |= {"reads": reads, "given_below": given_below, "pattern": pattern, "flag": flag}
    return dataclasses.field(default=default, metadata=metadata)


def flag_fields(dataclass_type: type) -> tuple[dataclasses.Field, ...]:
    """The fields made with `option` that are flags.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Options:
        ...     count: int = option(3, "how many", group="images")
        ...     found: str = option("", "what there was", group="images", flag=False)
        >>> [field.name for field in flag_fields(Options)]
        ['count']
    """
    return tuple(field for field in dataclasses.fields(dataclass_type) if field.metadata["flag"])


def option_types(dataclass_type: type) -> dict[str, type]:
    """{flag's name: int, float, bool, Switch, str or ImageSize}; `int | None` counts as int."""
    hints = typing.get_type_hints(dataclass_type)
    return {field.name: _kind(hints[field.name]) for field in flag_fields(dataclass_type)}


def _kind(hint):
    """A type without the None that it may be instead."""
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not types.NoneType]
    return functools.reduce(operator.or_, kinds)


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
    if isinstance(value, tuple) and all(isinstance(part, str) for part in value):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def values_of(options: Any, names: Iterable[str]) -> dict[str, Any]:
    """{name: value} of some fields.

    Example:
        >>> values_of(types.SimpleNamespace(count=3, format="png"), ("count",))
        {'count': 3}
    """
    return {name: getattr(options, name) for name in names}


def check_options(options: Any) -> None:
    """Check the type, choices and bounds of each field made with `option`.

    Raises:
        ConfigError: names the flag, its value and what would be right.
    """
    values = values_of(options, (field.name for field in dataclasses.fields(options)))
    check_values(type(options), values, here=False)  # a stored path can be another machine's


def check_values(dataclass_type: type, values: dict[str, Any], here: bool = True) -> None:
    """`check_options` of values that are not yet an instance.

    Args:
        dataclass_type: whose fields were made with `option`.
        values: {field name: value}, all of them.
        here: see `files.broken_path`.
    """
    kinds = option_types(dataclass_type)
    for field in flag_fields(dataclass_type):
        value = values[field.name]
        if value is None and field.default is None:
            continue
        rule = _broken_rule(value, kinds[field.name], field.metadata, here)
        if rule:
            raise ConfigError(f"{show(field.name, value)} must be {rule}")


def check_given(dataclass_type: type, values: dict[str, Any]) -> None:
    """Check bounds of what a user gives, which stored settings need not keep.

    A run whose settings are from before there was such a bound can still be opened.

    Args:
        dataclass_type: whose fields were made with `option`.
        values: {field name: value}, any of them, of the right types.

    Raises:
        ConfigError: names the flag, its value and what would be right.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Options:
        ...     count: int = option(3, "how many", group="images", given_below=10)
        >>> check_given(Options, {"count": 10})
        Traceback (most recent call last):
        ncsn_tf.errors.ConfigError: --count=10 must be below 10
    """
    for field in dataclasses.fields(dataclass_type):
        most, value = field.metadata["given_below"], values.get(field.name)
        if most is not None and isinstance(value, int) and value >= most:
            raise ConfigError(f"{show(field.name, value)} must be below {most}")


def _broken_rule(value, kind, limits, here):
    """What the value should have been; None when nothing is wrong with it."""
    if kind == ImageSize:
        return _broken_size_rule(value, limits)
    if kind == Switch:
        return None if value == AUTO or type(value) is bool else KINDS[Switch]
    if type(value) is not kind and not (kind is float and type(value) is int):
        return KINDS[kind]
    if kind is float and not _is_finite(value):
        return "a finite number"
    if kind is str and limits["path"]:
        return broken_path(value, here)
    if kind is str and not _is_text(value):
        return "text in UTF-8"
    if limits["pattern"] is not None and not re.fullmatch(limits["pattern"][0], value):
        return limits["pattern"][1]
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


def _broken_size_rule(value, limits):
    """`_broken_rule` of an image size."""
    try:
        if type(value) not in (int, str):
            raise ValueError
        height, width = sides(value)
    except ValueError:
        return KINDS[ImageSize]
    each, least, below = " on each side" * (height != width), limits["least"], limits["below"]
    if least is not None and min(height, width) < least:
        return f"at least {least}{each}"
    if below is not None and max(height, width) >= below:
        return f"below {below}{each}"
    return None


def _is_finite(value):
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number, too large for a float
        return False


def _is_text(value):
    """Whether it can be written: bytes that are no text come as halves of characters."""
    return not any("\ud800" <= character <= "\udfff" or character == "\0" for character in value)
