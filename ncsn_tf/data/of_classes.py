"""The images of some classes of a source."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ncsn_tf.data.source import Images, Source
from ncsn_tf.errors import UserError
from ncsn_tf.files import digest


class ChosenImages:
    """Some of other `Images`, by their places there, int64 [n]."""

    def __init__(self, images: Images, chosen: np.ndarray):
        self._images = images
        self._chosen = chosen
        self.shape = (len(chosen), *images.shape[1:])

    def readable(self, places: np.ndarray) -> np.ndarray:
        """See `Images`."""
        return self._images.readable(self._chosen[places])

    def standing_in(self, places: np.ndarray) -> np.ndarray:
        """See `Images`."""
        found = np.array(places)
        for _ in range(len(self._chosen)):
            missing = ~self.readable(found)
            if not missing.any():
                break
            found[missing] = (found[missing] + 1) % len(self._chosen)
        return found

    def pixels(self, places: np.ndarray) -> np.ndarray:
        """See `Images`."""
        return self._images.pixels(self._chosen[places])

    def fingerprint(self) -> str:
        """See `Images`."""
        return digest([self._images.fingerprint().encode(), self._chosen.tobytes()])


def of_classes(source: Source, classes: Sequence[int], names: Sequence[str]) -> Source:
    """The images of a source whose class is one of `classes`; `names` are theirs, for messages.

    Raises:
        UserError: there are none.

    Example:
        >>> from ncsn_tf.data.source import from_arrays
        >>> source = from_arrays(np.zeros([5, 8, 8]), labels=[0, 1, 2, 1, 0])
        >>> of_classes(source, [1], ["dog"]).num_examples
        2
    """
    labels = np.full(source.num_examples, -1) if source.labels is None else source.labels
    chosen = np.flatnonzero(np.isin(labels, classes))
    if not len(chosen):
        raise UserError(f"{source.name} has no images of {', '.join(names)} to compare with")
    images = ChosenImages(source.images, chosen.astype(np.int64))
    return dataclasses.replace(source, images=images, labels=labels[chosen])
