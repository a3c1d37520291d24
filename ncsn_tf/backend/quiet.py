"""TensorFlow's own lines on stderr, held back while it is imported and started."""

import contextlib
import os
import sys
import tempfile


def quietly() -> contextlib.AbstractContextManager[None]:
    """A context for importing TensorFlow, or starting it, without a word on stderr.

    TensorFlow writes lines about CUDA and oneDNN that no log level silences; they are held back,
    and shown only when the body raises. TF_CPP_MIN_LOG_LEVEL=0 shows them.

    Example:
        >>> with quietly():
        ...     import tensorflow
    """
    return _held_back_stderr() if is_quiet() else contextlib.nullcontext()


def is_quiet() -> bool:
    """Whether TF_CPP_MIN_LOG_LEVEL asks TensorFlow for errors only."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") not in ("0", "1")


@contextlib.contextmanager
def _held_back_stderr():
    """File descriptor 2 goes to a temporary file, which is shown only when the body raises."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
