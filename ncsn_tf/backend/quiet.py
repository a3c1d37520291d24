"""TensorFlow's own lines on stderr, held back while it is imported and started."""

import contextlib
import os
import sys
import tempfile

from ncsn_tf.backend import signals


def quietly() -> contextlib.AbstractContextManager[None]:
    """A context for importing TensorFlow, or starting it, without a word on stderr.

    TensorFlow writes lines about CUDA and oneDNN that no log level silences; they are held back,
    and shown only when the body fails. TF_CPP_MIN_LOG_LEVEL=0 shows them. A signal ends a command
    at once: an import that meets an exception can turn it into another one, or swallow it.

    Example:
        >>> with quietly():
        ...     import tensorflow
    """
    return _held_back_stderr() if is_quiet() else signals.at_once()


def is_quiet() -> bool:
    """Whether TF_CPP_MIN_LOG_LEVEL asks TensorFlow for errors only."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") not in ("0", "1")


@contextlib.contextmanager
def _held_back_stderr():
    """File descriptor 2 goes to a temporary file, which is shown only when the body fails."""
    with signals.at_once(), contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(tempfile.TemporaryFile())
        except OSError:  # no folder for temporary files, or no room there: not quiet, then
            yield
            return
        _flush()
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            _flush()
            os.dup2(stderr, 2)
            os.close(stderr)


def _flush():
    if sys.stderr is not None:
        sys.stderr.flush()
