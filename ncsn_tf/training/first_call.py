"""The first call of a step that XLA compiles: what XLA cannot take is one line."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from ncsn_tf.errors import UserError, is_of_memory, original

_TYPES = (
    tf.errors.InvalidArgumentError,
    tf.errors.UnimplementedError,
    tf.errors.InternalError,
)
# What is compiled is one node of the graph that calls it.
_OF_XLA = re.compile("xla|hlo|compil|PartitionedCall", re.IGNORECASE)
# Another worker, the data, a device that fails.
_OF_OTHERS = re.compile(
    "collective|iterator|CUDA_ERROR|DNN library|failed to (run|launch|execute)", re.IGNORECASE
)
# Before what is said stand headings, and where in the program the nodes were made.
_HEADING = re.compile(
    r"\s|$|Graph execution error|Detected at node|<stack traces|Node: |[0-9]+ root error"
)
_NUMBER = re.compile(r"\s*\([0-9]+\) [A-Z_]+: *")  # of one error of several, of replicas


@contextlib.contextmanager
def compiled_by_xla() -> Iterator[None]:
    """Around the first call of a step that XLA compiles.

    Raises:
        UserError: XLA cannot convert or compile it; one line. Other errors stay what they are.

    Example:
        >>> with compiled_by_xla():
        ...     raise tf.errors.UnimplementedError(None, None, "HLO opcode fft")
        Traceback (most recent call last):
        ncsn_tf.errors.UserError: XLA cannot compile the training step: HLO opcode fft; ...
    """
    try:
        yield
    except _TYPES as error:
        is_of_others = is_of_memory(error) or _OF_OTHERS.search(error.message)
        if original(error) is not error or is_of_others or not _OF_XLA.search(error.message):
            raise
        raise UserError(
            f"XLA cannot compile the training step: {_first_line(error)}; --nojit_compile trains "
            "without XLA"
        ) from error


def _first_line(error):
    """What an error says, in the first line that says it."""
    lines = [_NUMBER.sub("", line) for line in error.message.splitlines()]
    lines = [line for line in lines if not _HEADING.match(line)]
    return lines[0].strip() if lines else type(error).__name__
