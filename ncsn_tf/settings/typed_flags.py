"""A dataclass's fields as absl flags, set by arguments and by flagfiles that are found by name."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from ncsn_tf.backend.sizes import ImageSize, as_setting
from ncsn_tf.errors import ConfigError
from ncsn_tf.files import broken_path, shipped
from ncsn_tf.settings.options import AUTO, KINDS, Switch, flag_fields, option_types, show

FLAGFILES = shipped("flags")


class _SizeParser(flags.ArgumentParser):
    """As absl's parsers, of image sizes."""

    def parse(self, argument: Any) -> ImageSize:
        return as_setting(argument)


class _SwitchParser(flags.BooleanParser):
    """As absl's parser of booleans, with "auto" beside them."""

    def parse(self, argument: Any) -> Switch:
        return AUTO if argument == AUTO else super().parse(argument)


_PARSERS = {
    int: flags.IntegerParser(),
    float: flags.FloatParser(),
    bool: flags.BooleanParser(),
    Switch: _SwitchParser(),
    str: flags.ArgumentParser(),
    ImageSize: _SizeParser(),
}


class _Parser(flags.ArgumentParser):
    """absl's parser of a kind of value, with an error that says what would be right."""

    def __init__(self, name: str, kind: type):
        self.name, self.kind = name, kind

    def parse(self, argument: Any) -> Any:
        try:
            return _PARSERS[self.kind].parse(argument)
        except ValueError:
            message = f"{show(self.name, argument)} must be {KINDS[self.kind]}"
            raise flags.IllegalFlagValueError(message) from None


class _FlagValues(flags.FlagValues):
    """absl's flags, whose --flagfile may name a file of flags/, and none that includes itself."""

    def _get_flag_file_lines(self, filename, parsed_file_stack=None):
        path = str(_find_flagfile(filename))
        if path in (parsed_file_stack or ()):
            raise ConfigError(f"--flagfile={filename} includes itself")
        try:
            lines = super()._get_flag_file_lines(path, parsed_file_stack)
        except (flags.CantOpenFlagFileError, UnicodeDecodeError) as error:
            raise ConfigError(f"--flagfile={filename} cannot be read: {error}") from None
        return [line for line in lines if not line.startswith(("#", "//"))]  # indented comments


def read_flags(args: Sequence[str], dataclass_type: type) -> flags.FlagValues:
    """The dataclass's fields as absl flags, set by the arguments and the flagfiles among them.

    Their types are absl's work; bounds and choices are left to `check_options`, for they hold
    where no flag was read, too: in a Config made by code, or from JSON.

    Raises:
        ConfigError: a flag that is unknown, or a value that is not of its type.

    Example:
        >>> from ncsn_tf.settings.chain import ChainOptions
        >>> values = read_flags(["--snr=0.2"], ChainOptions)
        >>> values["snr"].value, values["snr"].present
        (0.2, 1)
    """
    values, bare, kinds = _FlagValues(), {}, option_types(dataclass_type)
    for field in flag_fields(dataclass_type):
        name, kind, about = field.name, kinds[field.name], field.metadata
        parser, is_boolean = _Parser(name, kind), kind in (bool, Switch)
        flag = flags.Flag(parser, None, name, field.default, about["help"], boolean=is_boolean)
        flags.DEFINE_flag(flag, values)
        if about["bare"] is not None:
            bare[f"-{name}"] = bare[f"--{name}"] = show(name, about["bare"])
    try:
        args = values.read_flags_from_files(args, force_gnu=False)
        leftover = values(["", *(bare.get(arg, arg) for arg in args)])[1:]
    except (flags.Error, ValueError) as error:
        raise ConfigError(str(error)) from None
    if leftover:
        raise ConfigError(f"unexpected argument {leftover[0]!r}: flags are given as --name=value")
    return values


def _find_flagfile(name):
    rule = broken_path(name)
    if rule:
        raise ConfigError(f"--flagfile={name} must be {rule}")
    path = Path(name).expanduser()
    for candidate in (path, FLAGFILES.parent / path, FLAGFILES / path, FLAGFILES / f"{name}.flags"):
        if os.path.isfile(candidate):  # Path.is_file raises where a name is too long
            return candidate.resolve()
    known = ", ".join(sorted(path.stem for path in FLAGFILES.glob("*.flags")))
    raise ConfigError(f"--flagfile={name} is not a file, nor one of flags/: {known}")
