"""A command as a program: which one it is, its errors as one line, its exit code."""

import contextlib
import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence

import ncsn_tf
from ncsn_tf.errors import ConfigError, UserError

# Name -> (module in this package, what the command does). What `ncsn` can do, in one table.
COMMANDS = {
    "train": ("train", "train a network; the same command again resumes the run"),
    "sample": ("sample", "draw images from a run, an export or a server"),
    "evaluate": ("evaluate", "bits per dimension and test loss of a run"),
    "export": ("export", "write a run's sampler as a SavedModel for TensorFlow Serving"),
    "schedule": ("schedule", "choose noise levels and step size for your own images"),
    "report": ("report", "write a page on a run: curves, samples, neighbours, scores"),
    "neighbors": ("neighbors", "find the training images nearest to samples"),
    "classifier": ("classifier", "train a classifier of noisy images, to draw one class"),
    "import": ("import_reference", "turn a checkpoint of the reference programs into a run"),
    "toy": ("toy", "why score-based sampling needs noise: two modes in the plane"),
}


def main(program: str = "ncsn") -> None:
    """`ncsn COMMAND [--flag=value ...]`: run the command that the command line names, and exit.

    Args:
        program: how the program was called, for its lines of usage.
    """
    run_command(run_named, [program, *sys.argv[1:]])


def run_named(argv: Sequence[str]) -> None:
    """Run the command that the first argument names, or print the list of commands.

    Args:
        argv: the program's name, then its arguments. Without any, the list is printed.

    Raises:
        ConfigError: there is no such command.
    """
    program, *args = argv
    name = args[0] if args else "help"
    if name in ("--help", "-help", "-h", "--helpfull", "help"):
        print(_list_of_commands(program))
    elif name == "--version":
        print(f"ncsn {ncsn_tf.__version__}")
    elif name in COMMANDS:
        command = importlib.import_module(f"ncsn_tf.commands.{COMMANDS[name][0]}")
        command.main([f"{program} {name}", *args[1:]])
    else:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(COMMANDS)}"
        raise ConfigError(f"{name} is not a command; {hint}")


def _list_of_commands(program):
    width = max(map(len, COMMANDS))
    lines = (f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items())
    usage = f"usage: {program} COMMAND [--flag=value ...]"
    return "\n".join([usage, "", *lines, "", f"{program} COMMAND --help lists a command's flags."])


def run_command(main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> None:
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
