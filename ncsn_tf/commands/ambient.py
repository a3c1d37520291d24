"""What a command finds when it starts: streams, environment, folder. Made to serve, or refused."""

import io
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence

from ncsn_tf.errors import ConfigError, UserError


def settle() -> None:
    """Give the process streams that can be written to, and choose what is the program's choice.

    To be called before anything is opened: a file that got descriptor 1 would take what is printed.
    """
    _open_streams()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only
    # Keras is the program's own: a keras.json with another backend, precision or order of axes is
    # for others. (The package sets KERAS_BACKEND, for notebooks too.)
    os.environ["KERAS_HOME"] = os.devnull
    if any(option.partition(":")[0] == "error" for option in sys.warnoptions):
        # PYTHONWARNINGS=error: TensorFlow cannot be imported so. They are shown instead.
        warnings.simplefilter("default")
    # Before and after the command, while Python starts and shuts down, a Ctrl-C kills: it would end
    # in a traceback. Within the command it means what `backend.signals` makes of it.
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def check(argv: Sequence[str]) -> None:
    """Refuse what no command can work with.

    Args:
        argv: the program's name and its arguments.

    Raises:
        ConfigError: an argument that is not text, or a TF_CONFIG that is none.
        UserError: the current folder was removed.
    """
    for argument in argv[1:]:
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = argument.encode(errors="surrogateescape").decode(errors="backslashreplace")
            raise ConfigError(f"{shown} is not UTF-8: name files and folders in UTF-8") from None
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"the current folder cannot be used ({error.strerror}): cd to one that exists"
        ) from None
    _check_tf_config(os.environ.get("TF_CONFIG"))


def _check_tf_config(text):
    """TF_CONFIG describes a cluster; one process of it is what a command is."""
    if not text:
        os.environ.pop("TF_CONFIG", None)  # TensorFlow takes an empty one for a broken one
        return
    try:
        is_object = isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise ConfigError("the environment variable TF_CONFIG is not a JSON object: unset it")


def _open_streams():
    """stdin, stdout and stderr that are there, print every text, and lines as they come."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:  # closed by who started the command: `2>&-`
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", closefd=False))
    if _is_own(sys.stderr, 2):
        sys.stderr = _stderr()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What the encoding cannot say, such as a name in another script, is escaped.
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def _is_own(stream, descriptor):
    """Whether a stream is a usual one of the process's, and not a test's or another program's."""
    try:
        is_own = isinstance(stream, io.TextIOWrapper) and stream.fileno() == descriptor
    except (OSError, ValueError):
        return False
    return is_own and not isinstance(getattr(stream.buffer, "raw", None), _Lossy)


def _stderr():
    """stderr whose lines may get lost: a closed terminal or a full disk must not end a training."""
    buffer = io.BufferedWriter(_Lossy(2, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding=sys.stderr.encoding, write_through=True)


class _Lossy(io.FileIO):
    """Drops what cannot be written."""

    def write(self, data: bytes) -> int:
        try:
            return super().write(data) or len(data)
        except OSError:
            return len(data)
