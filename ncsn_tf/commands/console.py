"""A command as a program: which one it is, its errors as one line, its exit code."""

import contextlib
import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence

import ncsn_tf
from ncsn_tf.backend import signals
from ncsn_tf.commands import ambient, failures
from ncsn_tf.errors import ConfigError, UserError, plain

# Name -> (module in this package, what the command does). What `ncsn` can do, in one table.
COMMANDS = {
    "train": ("train", "train a network; the same command again resumes the run"),
    "sample": ("sample", "draw images from a run, an export or a server"),
    "app": ("app", "draw in the browser: see chains, paint what is to be filled"),
    "evaluate": ("evaluate", "figures of quality, bits per dimension and test loss of a run"),
    "merge": ("merge", "put together the images that several processes drew (sample --shard)"),
    "export": ("export", "write a run's sampler as a SavedModel for TensorFlow Serving"),
    "schedule": ("schedule", "choose noise levels and step size for your own images"),
    "report": ("report", "write a page on a run: curves, samples, neighbours, scores"),
    "neighbors": ("neighbors", "find the training images nearest to samples"),
    "classifier": ("classifier", "train a classifier of noisy images, to draw one class"),
    "import": ("import_reference", "turn a checkpoint of the reference programs into a run"),
    "toy": ("toy", "why score-based sampling needs noise: two modes in the plane"),
    "info": ("info", "versions, devices and folders, for a bug report"),
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
        command(name)([f"{program} {name}", *args[1:]])
    else:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(COMMANDS)}"
        raise ConfigError(f"{name} is not a command; {hint}")


def _list_of_commands(program):
    width = max(map(len, COMMANDS))
    lines = (f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items())
    usage = f"usage: {program} COMMAND [--flag=value ...]"
    return "\n".join([usage, "", *lines, "", f"{program} COMMAND --help lists a command's flags."])


def command(name: str) -> Callable[[Sequence[str]], None]:
    """A command's `main`, imported when it is called: signals end that import in one line too."""

    def main(argv: Sequence[str]) -> None:
        importlib.import_module(f"ncsn_tf.commands.{COMMANDS[name][0]}").main(argv)

    main.__module__ = f"ncsn_tf.commands.{COMMANDS[name][0]}"  # for `failures.command_of`
    return main


def run_command(main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> None:
    """Run `main(argv)` as a program and exit: 0, or 1 for a UserError, 2 for a ConfigError.

    An error of the user's is one line on stderr; any other exception keeps its traceback. A signal
    that asks for an end is one line too: see `backend.signals`.
    """
    ambient.settle()
    argv = sys.argv if argv is None else argv
    try:
        with signals.watched():
            code = _exit_code(main, argv)
        sys.stdout.flush()
    except OSError:
        code = _code_of_lost_stdout()
        if not code:
            raise
    sys.exit(code)


def _exit_code(main, argv):
    try:
        ambient.check(argv)
        main(argv)
    except UserError as error:
        return _complain(f"error: {error}", error.code)
    except signals.Interrupted as end:
        return _complain(end.line, end.code)
    except KeyboardInterrupt:  # of a command that does not run in the main thread
        return _complain("interrupted", 130)
    except SystemExit as request:
        return request.code
    except Exception as error:
        line = failures.explanation(error, failures.command_of(main, argv))
        if line is None:
            raise
        return _complain(f"error: {line}", 1)
    return 0


def _complain(message, code):
    with contextlib.suppress(OSError):
        print(plain(message), file=sys.stderr, flush=True)
    return code


def _code_of_lost_stdout():
    """The exit code where stdout cannot be written: 141 where its reader has gone; 0 where it can.

    It is closed off then, for Python's own last flush.
    """
    try:
        print(flush=True)
        return 0
    except BrokenPipeError:
        code = 141  # as a program that SIGPIPE ended
    except OSError as error:
        code = _complain(f"error: stdout cannot be written: {error.strerror}", 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
