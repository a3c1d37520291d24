"""Sizes of images, which settings and library both take: one number for squares, or two.

It imports nothing of TensorFlow, so that `--help` and mistakes do not wait for it.
"""

import operator
import re
from collections.abc import Sequence

# What a setting holds: the side of square images, or height and width as in "48x64".
ImageSize = int | str


def sides(size: ImageSize | Sequence[int]) -> tuple[int, int]:
    """The height and the width that a size means.

    Args:
        size: the side of square images, text such as "32" or "48x64" (height x width), or
            (height, width).

    Raises:
        ValueError: anything else.

    Example:
        >>> sides(32), sides("48x64"), sides((48, 64))
        ((32, 32), (48, 64), (48, 64))
    """
    if isinstance(size, str):
        # Digits in ASCII only; a sign is for the message, which then says what is too small.
        found = re.fullmatch(r"([+-]?[0-9]+)(?:x([0-9]+))?", size.strip())
        numbers = [] if found is None else [number for number in found.groups() if number]
    elif isinstance(size, Sequence):
        numbers = size if len(size) == 2 else []
    else:
        numbers = [size]
    if not numbers or any(isinstance(number, bool) for number in numbers):
        raise ValueError(f"a size is a number, or height x width such as 48x64, not {size!r}")
    convert = int if isinstance(size, str) else operator.index
    try:
        height, width = convert(numbers[0]), convert(numbers[-1])
    except TypeError:
        raise ValueError(f"height and width are whole numbers, not {size!r}") from None
    return height, width


def as_setting(size: ImageSize | Sequence[int]) -> ImageSize:
    """A size in the one way that settings hold it: squares as a number.

    Example:
        >>> as_setting("32"), as_setting("48x48"), as_setting((48, 64))
        (32, 48, '48x64')
    """
    height, width = sides(size)
    return height if height == width else f"{height}x{width}"
