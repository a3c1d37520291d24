"""What --help prints of a dataclass's flags: a line each, in groups."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ncsn_tf.backend.sizes import ImageSize
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import AUTO, Switch, flag_fields, option_types, show_value

_HELP = ("--help", "-help", "-h", "--helpfull")
_PLACEHOLDERS = {int: "N", float: "X", str: "TEXT", ImageSize: "N|HxW"}
_WIDEST = 34  # of a flag in help: the longest decides the width of all


def is_help(args: Sequence[str]) -> bool:
    """Whether the arguments ask for help."""
    return any(arg in _HELP for arg in args)


def help_if_asked(argv: Sequence[str], summary: str, dataclass_type: type) -> None:
    """Print the help and end the process, with code 0, where the arguments ask for it."""
    if is_help(argv[1:]):
        program = Path(argv[0]).name if argv[0].endswith(".py") else argv[0]
        print(help_text(program, summary, dataclass_type), end="")
        sys.exit(0)


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
