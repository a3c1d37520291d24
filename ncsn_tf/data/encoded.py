"""Encoded pictures in memory, decoded when they are wanted; those that cannot be are left out."""

import threading
from collections.abc import Callable, Sequence
from concurrent import futures

import numpy as np

from ncsn_tf.data.decoding import PictureError
from ncsn_tf.errors import UserError, warn
from ncsn_tf.files import digest

NAMED = 20  # records that are named; of more, the number is said


class EncodedImages:
    """The images of encoded records, as `source.Images`: each is decoded once, and kept.

    Whether a record can be decoded depends on the record alone, so that what is read here is a
    function of the places that are asked for, in whatever order that happens. The first time that a
    record turns out to be undecodable, it is named on stderr.

    Args:
        records: N encoded pictures, bytes each.
        decode: one record -> uint8 [H, W, C]; raises a `PictureError`.
        image_shape: (H, W, C).
        name: of the data, for messages.

    Example:
        >>> images = EncodedImages([b"a", b"b"], lambda record: np.full([1, 1, 1], record[0]),
        ...                        (1, 1, 1), "letters")
        >>> images.readable(np.array([1, 0])).tolist(), images.pixels(np.array([1, 0])).tolist()
        ([True, True], [[[[98]]], [[[97]]]])
    """

    def __init__(
        self,
        records: Sequence[bytes],
        decode: Callable[[bytes], np.ndarray],
        image_shape: tuple[int, int, int],
        name: str,
    ):
        self.shape = (len(records), *image_shape)
        self._records = records
        self._decode = decode
        self._name = name
        self._causes = {}  # place -> why it cannot be decoded
        self._lock = threading.Lock()
        self._decoded = np.zeros(self.shape, np.uint8)  # takes memory as it is filled
        self._is_decoded = np.zeros(len(records), bool)

    def readable(self, places: np.ndarray) -> np.ndarray:
        """Which records at places can be decoded, which they are: bool [n]."""
        missing = places[~self._is_decoded[places]]
        if len(missing):
            with futures.ThreadPoolExecutor() as pool:
                list(pool.map(self._read, missing))
        return self._is_decoded[places]

    def standing_in(self, places: np.ndarray) -> np.ndarray:
        """Places, each that cannot be decoded replaced by the next that can be: int64 [n].

        Raises:
            UserError: no record can be decoded; see `check`.
        """
        if self._is_decoded[places].all():
            return places
        return np.array([self._next_readable(int(place)) for place in places], np.int64)

    def pixels(self, places: np.ndarray) -> np.ndarray:
        """The images at places, each of which can be decoded: uint8 [n, H, W, C]."""
        for place in places[~self._is_decoded[places]]:
            self._read(place)
        return self._decoded[places]

    def fingerprint(self) -> str:
        """Of the records."""
        return digest(self._records)

    def check(self) -> None:
        """Raise a UserError if there is no record that can be decoded; one is looked for."""
        cause = ""
        for record in self._records:
            try:
                self._decode(record)
                return
            except PictureError as error:
                cause = cause or error.cause
        raise none_decodable(len(self._records), self._name, cause)

    def _read(self, place):
        """Whether a record can be decoded; its image is kept."""
        if not self._is_decoded[place] and place not in self._causes:
            try:
                self._decoded[place] = self._decode(self._records[place])
                self._is_decoded[place] = True  # after its pixels: other threads look here
            except PictureError as error:
                self._leave_out(int(place), error.cause)
        return self._is_decoded[place]

    def _next_readable(self, place):
        for step in range(len(self._records)):
            candidate = (place + step) % len(self._records)
            if self._read(candidate):
                return candidate
        raise UserError(f"no example of {self._name} can be decoded")

    def _leave_out(self, place, cause):
        with self._lock:
            if place in self._causes:
                return
            self._causes[place] = cause
            count = len(self._causes)
        if count <= NAMED:
            warn(undecodable(place, self._name, cause))
        elif count & (count - 1) == 0:
            warn(f"{count} examples of {self._name} are left out so far, undecodable")


def undecodable(place: int, name: str, cause: str) -> str:
    """What is said of a record that cannot be decoded."""
    return f"example {place} of {name} left out, undecodable ({cause})"


def none_decodable(number: int, name: str, cause: str) -> UserError:
    """The error about a data set without a record that can be decoded."""
    return UserError(f"none of the {number} examples of {name} can be decoded: {cause}")
