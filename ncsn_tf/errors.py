"""Mistakes that a person can put right, and warnings: each is one line, without a traceback."""

import contextlib
import functools
import sys
from collections.abc import Callable


class UserError(Exception):
    """Something that the user or their machine must put right; a command ends with exit code 1."""

    code = 1


class ConfigError(UserError, ValueError):
    """A flag or setting that cannot be used; a command ends with exit code 2."""

    code = 2


class RestartError(UserError):
    """Another process of the same work has ended: start all again; exit code 75 (EX_TEMPFAIL)."""

    code = 75


_last = []  # what the last function of `keeping` that failed has raised


def keeping(function: Callable) -> Callable:
    """A function for TensorFlow to call, which makes an error of its own of what that raises.

    What it raises is kept, so that `original` can tell where a command ends.
    """

    @functools.wraps(function)
    def keep(*arguments):
        try:
            return function(*arguments)
        except Exception as error:
            _last[:] = [error]
            raise

    return keep


def original(error: Exception) -> Exception:
    """What a function of `keeping` raised, where an error is TensorFlow's of it; or the error.

    Example:
        >>> original(ValueError("another"))
        ValueError('another')
    """
    if type(error).__module__.startswith("tensorflow."):
        for kept in _last:
            if f"{type(kept).__name__}: " in str(error):
                return kept
    return error


def is_of_memory(error: Exception) -> bool:
    """Whether memory was short.

    TensorFlow's errors are told by name and words: a command may have ended before TensorFlow was
    imported. Libraries of a device tell it through other errors of TensorFlow's.

    Example:
        >>> is_of_memory(MemoryError()), is_of_memory(ValueError("out of memory"))
        (True, False)
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    words = str(error).lower().replace("_", " ")
    said = "out of memory" in words or "resource exhausted" in words
    return type(error).__module__.startswith("tensorflow.") and said


def warn(message: str) -> None:
    """Tell the user, on stderr, of something that is left out or amiss: one line, always shown.

    What is meant for the user goes this way and not through a logger, which may be silenced.
    """
    inform(f"warning: {message}")


def inform(message: str) -> None:
    """Tell the user something, on stderr: one line, always shown.

    Names of files may be in it: see `plain`.
    """
    if sys.stderr is not None:  # None where the program was started with stderr closed
        with contextlib.suppress(OSError):
            print(plain(message), file=sys.stderr, flush=True)


def plain(message: str) -> str:
    """A message as one line that steers no terminal: other characters than text are escaped.

    Example:
        >>> print(plain("a name\\x1b[2J of two\\nlines"))
        a name\\x1b[2J of two lines
    """
    line = " ".join(message.splitlines())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
