"""The names of classes, and labels as numbers."""

from collections import Counter
from collections.abc import Sequence

import numpy as np


def numbered(values: np.ndarray, names: Sequence[str] = ()) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels that are names, as numbers.

    Args:
        values: [N], names, of text or bytes in UTF-8.
        names: the classes in their order; without any, all values, sorted.

    Returns:
        (labels int64 [N], names of the classes).

    Raises:
        ValueError: a value is none of the names.

    Example:
        >>> labels, names = numbered(np.array(["dog", "cat", "dog"]))
        >>> labels.tolist(), names
        ([1, 0, 1], ('cat', 'dog'))
    """
    values = as_text(values)
    names = tuple(names) or tuple(np.unique(values).tolist())
    numbers = {name: number for number, name in enumerate(names)}
    unknown = [value for value in values.tolist() if value not in numbers]
    if unknown:
        raise ValueError(f"one of them is {unknown[0]!r}, which is none of the classes")
    return np.array([numbers[value] for value in values.tolist()], np.int64), names


def as_text(values: np.ndarray) -> np.ndarray:
    """Names as text, where they are bytes in UTF-8.

    Example:
        >>> as_text(np.array([b"cat"])).tolist()
        ['cat']
    """
    values = np.asarray(values)
    return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values


def names_of(labels: np.ndarray, names: Sequence[str] = ()) -> tuple[str, ...]:
    """A name of its own for each class.

    Args:
        labels: int [N], below the number of names if there are names; below 0 is no class.
        names: of the classes. Those that are the same get their numbers; without any, the numbers
            are the names.

    Example:
        >>> names_of(np.array([0, 2, -1]))
        ('0', '1', '2')
        >>> names_of(np.array([0, 2]), ["crane", "cat", "crane"])
        ('crane (0)', 'cat', 'crane (2)')
    """
    if not len(names):
        return tuple(str(number) for number in range(int(labels.max()) + 1))
    counts = Counter(names)
    return tuple(
        f"{name} ({number})" if counts[name] > 1 or not name else str(name)
        for number, name in enumerate(names)
    )
