"""Command lines: a dataclass's fields as absl flags, flagfiles that are found by name, --help.

TensorFlow is not imported, so that `--help` and mistakes are answered at once.
"""

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from absl import flags

from ncsn_tf.backend.choices import THIRD_MODELS
from ncsn_tf.backend.sizes import ImageSize, as_setting
from ncsn_tf.errors import ConfigError
from ncsn_tf.files import array_headers, broken_path, is_array, map_array, shipped, user_path
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import (
    AUTO,
    KINDS,
    Switch,
    check_given,
    check_values,
    flag_fields,
    option_types,
    show,
    show_value,
    with_homes,
)
from ncsn_tf.settings.published import published
from ncsn_tf.settings.rules import check_dataset
from ncsn_tf.settings.sampler_choice import check_choice, tell_choice

Options = TypeVar("Options")

_FLAGS = shipped("flags")
_HELP = ("--help", "-help", "-h", "--helpfull")
_PLACEHOLDERS = {int: "N", float: "X", str: "TEXT", ImageSize: "N|HxW"}
_WIDEST = 34  # of a flag in help: the longest decides the width of all


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


def parse_config(argv: Sequence[str], summary: str = "") -> Config:
    """The Config of a training command.

    Without --flagfile, the dataset's own flags/<dataset>.flags is read first, so that the command
    line wins; with it, only the file named there is read. No --dataset means that of the defaults.
    A network of the third generation takes the data's settings alone from the dataset's flagfile,
    which is of another experiment, and those that nobody gave from what was published for it.

    Args:
        argv: the program's name, then its arguments.
        summary: what the program does, for --help.

    Raises:
        ConfigError: a flag that is unknown or cannot be used.
        SystemExit: code 0, after --help was printed.

    Example:
        >>> config = parse_config(["train.py", "--dataset=mnist", "--features=16"])
        >>> config.image_shape, config.features
        ((28, 28, 1), 16)
        >>> parse_config(["train.py", "--model=ncsnpp", "--sde=ve", "--continuous"]).sigma_begin
        50.0
        >>> parse_config(["train.py", "--features=many"])
        Traceback (most recent call last):
        ncsn_tf.errors.ConfigError: --features=many must be a whole number
    """
    _help_if_asked(argv, summary, Config)
    args = list(argv[1:])
    values = own = _read(args, Config)
    if not is_given(args, "flagfile"):
        dataset = values["dataset"].value or Config.dataset
        check_dataset(dataset)
        flagfile = _dataset_flagfile(dataset)
        if flagfile.is_file():
            if not _is_of_its_dataset(flagfile):
                raise ConfigError(
                    f"{show('dataset', dataset)} is an experiment, not a data set: "
                    f"use --flagfile={flagfile.stem}"
                )
            values = _read([f"--flagfile={flagfile}", *args], Config)
    dataset = values["dataset"].value
    check_dataset(dataset)
    # Not in Config: the runs of `training.arrays` have arrays without a file.
    if dataset == "arrays" and not values["data_dir"].value:
        raise ConfigError("--data_dir= must name the .npy or .npz that --dataset=arrays reads")
    if dataset != Config.dataset and not values["image_size"].present:
        raise ConfigError(_needs_image_size(dataset, values["data_dir"].value))
    values = values.flag_values_dict()
    if values["model"] in THIRD_MODELS:
        values = _with_published(values, own)
    check_given(Config, values)
    check_values(Config, values)
    if own["denoise"].present:
        check_choice({"sampler": values["sampler"], "denoise": own["denoise"].value})
    config = Config(**values)
    tell_choice(values, config)
    return config


def parse_options(argv: Sequence[str], dataclass_type: type[Options], summary: str = "") -> Options:
    """An instance of any frozen dataclass whose fields were made with `options.option`.

    Args and errors are those of `parse_config`; --flagfile is allowed, no file is read unasked.

    Example:
        >>> from ncsn_tf.settings.chain import ChainOptions
        >>> options = parse_options(["sample.py", "--sampler=pc", "--snr", "0.2"], ChainOptions)
        >>> options.sampler, options.snr, options.denoise
        ('pc', 0.2, None)
    """
    _help_if_asked(argv, summary, dataclass_type)
    values = _read(list(argv[1:]), dataclass_type).flag_values_dict()
    check_given(dataclass_type, values)
    check_values(dataclass_type, values)
    return dataclass_type(**with_homes(dataclass_type, values))


def is_given(args: Sequence[str], name: str) -> bool:
    """Whether a flag is among the arguments, as `--name`, `--name=x`, `-name` or `-name=x`.

    Example:
        >>> is_given(["--dataset=mnist"], "dataset"), is_given(["dataset"], "dataset")
        (True, False)
    """
    return any(arg[0:1] == "-" and arg.lstrip("-").partition("=")[0] == name for arg in args)


def is_help(args: Sequence[str]) -> bool:
    """Whether the arguments ask for help."""
    return any(arg in _HELP for arg in args)


def help_text(program: str, summary: str, dataclass_type: type) -> str:
    """What --help prints: one line a flag with its default in brackets, grouped by `group`.

    Example:
        >>> from ncsn_tf.settings.chain import ChainOptions
        >>> help_text("ncsn sample", "Draw images.", ChainOptions).splitlines()[:3]
        ['usage: ncsn sample [--flag=value ...]', '', 'Draw images.']
    """
    kinds = option_types(dataclass_type)
    groups = {}
    for field in flag_fields(dataclass_type):
        help, default = field.metadata["help"], field.default
        if default not in (None, ""):
            help += f" [{show_value(default)}]"
        groups.setdefault(field.metadata["group"], []).append((_usage(field, kinds), help))
    default = " [flags/<dataset>.flags]" if issubclass(dataclass_type, Config) else ""
    flagfile = ("--flagfile=FILE", f"a file of flags, or its name in flags/{default}")
    groups["command line"] = [flagfile, ("--help", "print this and stop")]
    width = max(len(usage) for lines in groups.values() for usage, _ in lines)
    text = [f"usage: {program} [--flag=value ...]", *(["", summary.strip()] if summary else [])]
    for group, lines in groups.items():
        text += ["", f"{group}:", *(f"  {usage:<{width}}  {help}" for usage, help in lines)]
    return "\n".join(text) + "\n"


def _help_if_asked(argv, summary, dataclass_type):
    if is_help(argv[1:]):
        program = Path(argv[0]).name if argv[0].endswith(".py") else argv[0]
        print(help_text(program, summary, dataclass_type), end="")
        sys.exit(0)


def _usage(field, kinds):
    if kinds[field.name] is bool:
        return f"--[no]{field.name}"
    if kinds[field.name] == Switch:
        return f"--[no]{field.name}[={AUTO}]"
    choices = [choice for choice in field.metadata["choices"] or () if choice != AUTO]
    value = "=" + ("|".join(map(str, choices)) or _PLACEHOLDERS[kinds[field.name]])
    if len(f"--{field.name}{value}") > _WIDEST:
        value = "=NAME"  # the help says which
    return f"--{field.name}{value if field.metadata['bare'] is None else f'[{value}]'}"


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


def _read(args, dataclass_type):
    """The dataclass's fields as absl flags, set by the arguments and the flagfiles among them.

    Their types are absl's work; bounds and choices are left to `check_options`, for they hold
    where no flag was read, too: in a Config made by code, or from JSON.
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


def _with_published(values, own):
    """The settings of a network of the third generation: what nobody gave is as published.

    Args:
        values: {setting: value}, those of the dataset's flagfile among them.
        own: the flags that were given.
    """
    default = published(values["model"], values["sde"], values["continuous"])

    def value(field):
        if own[field.name].present:
            return own[field.name].value
        if field.name in default:
            return default[field.name]
        return values[field.name] if field.metadata["group"] == "data" else field.default

    return {field.name: value(field) for field in flag_fields(Config)}


def _find_flagfile(name):
    rule = broken_path(name)
    if rule:
        raise ConfigError(f"--flagfile={name} must be {rule}")
    path = Path(name).expanduser()
    for candidate in (path, _FLAGS.parent / path, _FLAGS / path, _FLAGS / f"{name}.flags"):
        if os.path.isfile(candidate):  # Path.is_file raises where a name is too long
            return candidate.resolve()
    known = ", ".join(sorted(path.stem for path in _FLAGS.glob("*.flags")))
    raise ConfigError(f"--flagfile={name} is not a file, nor one of flags/: {known}")


def _known_datasets():
    return [path.stem for path in _FLAGS.glob("*.flags") if _is_of_its_dataset(path)]


def _is_of_its_dataset(path):
    """Whether a flagfile is its data set's own: others are read only when they are named."""
    dataset = _read([f"--flagfile={path}"], Config)["dataset"]
    return not dataset.present or dataset.value == path.stem


def _dataset_flagfile(dataset):
    return _FLAGS / f"{dataset.partition(':')[0]}.flags"  # a TFDS version follows the colon


def _needs_image_size(dataset, data_dir):
    flagfile = _dataset_flagfile(dataset)
    hint = f" (or --flagfile={flagfile.stem})"
    if dataset == "arrays":
        hint = f": {_shapes(data_dir)}"
    elif not flagfile.is_file():
        close = difflib.get_close_matches(dataset.lower(), _known_datasets(), n=1)
        hint = f": there is no flags/{flagfile.name}"
        hint += f"; did you mean --dataset={close[0]}?" if close else ""
    return f"--dataset={dataset} needs an explicit --image_size{hint}"


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
