"""Command lines: flags made from a dataclass, flagfiles, --help and exit codes.

Neither TensorFlow nor absl is imported before a command line has to be parsed, so that `--help`
answers at once.
"""

import contextlib
import dataclasses
import difflib
import itertools
import os
import sys
from pathlib import Path

from ncsn_tf.config import Config
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.options import KINDS, check_options, option_types, show, show_value

_ROOT = Path(__file__).resolve().parent.parent
_FLAGS = _ROOT / "flags"
_HELP = ("--help", "-help", "-h", "--helpfull")
_PLACEHOLDERS = {int: "N", float: "X", str: "TEXT"}
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def parse_config(argv, summary=""):
    """The Config of a training command.

    Without --flagfile, the dataset's own flags/<dataset>.flags is read first, so that the command
    line wins; with it, only the file named there is read. No --dataset means that of the defaults.

    Args:
        argv: the program's name, then its arguments.
        summary: what the program does, for --help.

    Raises:
        ConfigError: a flag that is unknown or cannot be used.
        SystemExit: code 0, after --help was printed.
    """
    _help_if_asked(argv, summary, Config)
    args = list(argv[1:])
    if not any(_flag_name(arg) == "flagfile" for arg in args):
        dataset = _last_value(args, "dataset") or Config.dataset
        flagfile = _dataset_flagfile(dataset)
        if flagfile.is_file():
            if not _is_of_its_dataset(flagfile):
                raise ConfigError(
                    f"--dataset={dataset} is an experiment, not a data set: "
                    f"use --flagfile={flagfile.stem}"
                )
            args = [f"--flagfile={flagfile}", *args]
    values = _parse(args, Config)
    dataset = values["dataset"].value
    if dataset not in (None, Config.dataset) and not values["image_size"].present:
        raise ConfigError(_needs_image_size(dataset))
    return _build(values, Config)


def parse_options(argv, dataclass_type, summary=""):
    """An instance of any frozen dataclass whose fields were made with `options.option`.

    Args and errors are those of `parse_config`; --flagfile is allowed, no file is read unasked.
    """
    _help_if_asked(argv, summary, dataclass_type)
    options = _build(_parse(argv[1:], dataclass_type), dataclass_type)
    check_options(options)
    return options


def help_text(program, summary, dataclass_type):
    """What --help prints: one line a flag with its default in brackets, grouped by `group`."""
    kinds = option_types(dataclass_type)
    groups = {}
    for field in dataclasses.fields(dataclass_type):
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


def run_command(main, argv=None):
    """Run `main(argv)` as a program and exit: 0, or 1 for a UserError, 2 for a ConfigError.

    An error of the user's is one line on stderr; any other exception keeps its traceback.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only
    try:
        code = _exit_code(main, sys.argv if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _stdout_is_broken():
            raise
        code = 141  # as a program that SIGPIPE ended
    sys.exit(code)


def _exit_code(main, argv):
    try:
        main(argv)
    except UserError as error:
        return _complain(f"error: {error}", 2 if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except SystemExit as request:
        return request.code
    return 0


def _complain(message, code):
    with contextlib.suppress(OSError):
        print(" ".join(message.splitlines()), file=sys.stderr, flush=True)
    return code


def _stdout_is_broken():
    """Whether stdout's reader has gone; if so, stdout is closed off for Python's own last flush."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _help_if_asked(argv, summary, dataclass_type):
    if any(arg in _HELP for arg in argv[1:]):
        print(help_text(_program(argv[0]), summary, dataclass_type), end="")
        sys.exit(0)


def _program(name):
    """How the program is called: `train.py`, or `python -m ncsn_tf.export` for a module."""
    path = Path(name)
    if (path.parent / "__init__.py").is_file():
        return f"python -m {path.parent.name}.{path.stem}"
    return path.name if path.suffix else name


def _usage(field, kinds):
    if kinds[field.name] is bool:
        return f"--[no]{field.name}"
    choices = field.metadata["choices"]
    value = "=" + ("|".join(map(str, choices)) if choices else _PLACEHOLDERS[kinds[field.name]])
    return f"--{field.name}{value if field.metadata['bare'] is None else f'[{value}]'}"


def _parse(args, dataclass_type):
    """absl's FlagValues after reading the arguments; all values are still text."""
    from absl import flags

    values, bare, kinds = flags.FlagValues(), {}, option_types(dataclass_type)
    for field in dataclasses.fields(dataclass_type):
        name, about = field.name, field.metadata["help"]
        text = flags.ArgumentParser()
        flag = flags.Flag(text, None, name, None, about, boolean=kinds[name] is bool)
        flags.DEFINE_flag(flag, values)
        if field.metadata["bare"] is not None:
            bare[f"-{name}"] = bare[f"--{name}"] = show(name, field.metadata["bare"])
    args = [bare.get(arg, arg) for arg in _expand_flagfiles(args)]
    try:
        leftover = values(["", *args])[1:]
    except flags.UnrecognizedFlagError as error:
        hint = _did_you_mean(error.flagname, list(values), "--")
        raise ConfigError(f"--{error.flagname} is not a flag{hint or '; see --help'}") from None
    except (flags.Error, ValueError) as error:
        raise ConfigError(str(error)) from None
    if leftover:
        raise ConfigError(f"unexpected argument {leftover[0]!r}: flags are given as --name=value")
    return values


def _build(values, dataclass_type):
    given = {}
    for name, kind in option_types(dataclass_type).items():
        if values[name].present:
            value = values[name].value
            try:
                given[name] = _BOOLEANS[value.lower()] if kind is bool else kind(value)
            except (KeyError, ValueError):
                raise ConfigError(f"{show(name, value)} must be {KINDS[kind]}") from None
    return dataclass_type(**given)


def _expand_flagfiles(args, parents=()):
    """The arguments, with each --flagfile replaced by the lines of its file."""
    expanded, pending = [], iter(args)
    for arg in pending:
        if _flag_name(arg) != "flagfile":
            expanded.append(arg)
            continue
        name = arg.partition("=")[2] if "=" in arg else next(pending, "")
        if not name:
            raise ConfigError("--flagfile needs the name of a file")
        path = _find_flagfile(name)
        if path in parents:
            raise ConfigError(f"--flagfile={name} includes itself")
        expanded += _expand_flagfiles(_flagfile_lines(path), (*parents, path))
    return expanded


def _find_flagfile(name):
    path = Path(name).expanduser()
    for candidate in (path, _ROOT / path, _FLAGS / path, _FLAGS / f"{name}.flags"):
        if candidate.is_file():
            return candidate.resolve()
    known = ", ".join(sorted(path.stem for path in _FLAGS.glob("*.flags")))
    raise ConfigError(f"--flagfile={name} is not a file, nor one of flags/: {known}")


def _flagfile_lines(path):
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--flagfile={path} cannot be read: {error}") from None
    return [line for line in lines if line and not line.startswith(("#", "//"))]


def _flag_name(arg):
    """'dataset' for `--dataset`, `-dataset` and `--dataset=x`; None for what is not a flag."""
    return arg.lstrip("-").partition("=")[0] if arg.startswith("-") else None


def _last_value(args, name):
    """The value that wins among `--name=x` and `--name x`; None without one."""
    value = None
    for arg, following in itertools.pairwise([*args, None]):
        if _flag_name(arg) == name:
            value = arg.partition("=")[2] if "=" in arg else following
    return value


def _known_datasets():
    return [path.stem for path in _FLAGS.glob("*.flags") if _is_of_its_dataset(path)]


def _is_of_its_dataset(path):
    """Whether a flagfile is its data set's own: others are read only when they are named."""
    dataset = _last_value(_expand_flagfiles(_flagfile_lines(path)), "dataset")
    return dataset in (None, path.stem)


def _dataset_flagfile(dataset):
    return _FLAGS / f"{dataset.partition(':')[0]}.flags"  # a TFDS version follows the colon


def _needs_image_size(dataset):
    flagfile = _dataset_flagfile(dataset)
    hint = f" (or --flagfile={flagfile.stem})"
    if not flagfile.is_file():
        close = _did_you_mean(dataset, _known_datasets(), "--dataset=")
        hint = f": there is no flags/{flagfile.name}{close}"
    return f"--dataset={dataset} needs an explicit --image_size{hint}"


def _did_you_mean(name, known, prefix):
    close = difflib.get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""
