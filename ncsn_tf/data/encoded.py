"""Encoded pictures in memory, decoded when they are wanted; those that cannot be are left out."""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from ncsn_tf.data.decoding import PictureError
from ncsn_tf.errors import UserError, warn

_CACHE_BYTES = 2**29  # data sets whose pixels take no more are decoded only once
_NAMED = 20  # records that are named; of more, the number is said now and then


class EncodedImages:
    """The images of encoded records.

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
        >>> places, pixels = images.at(np.array([1, 0]))
        >>> places.tolist(), pixels.ravel().tolist()
        ([1, 0], [98, 97])
    """

    def __init__(
        self,
        records: Sequence[bytes],
        decode: Callable[[bytes], np.ndarray],
        image_shape: tuple[int, int, int],
        name: str,
    ):
        self._records = records
        self._decode = decode
        self._shape = image_shape
        self._name = name
        self._causes = {}  # place -> why it cannot be decoded
        self._lock = threading.Lock()
        self._cache = None
        if len(records) * int(np.prod(image_shape)) <= _CACHE_BYTES:
            self._cache = np.zeros([len(records), *image_shape], np.uint8)
            self._is_cached = np.zeros(len(records), bool)

    def read(self, place: int) -> np.ndarray | None:
        """One image, uint8 [H, W, C]; None where it cannot be decoded, which is said once."""
        if self._cache is not None and self._is_cached[place]:
            return self._cache[place]
        if place in self._causes:
            return None
        try:
            pixels = self._decode(self._records[place])
        except PictureError as error:
            self._leave_out(int(place), error.cause)
            return None
        if self._cache is not None:
            self._cache[place] = pixels
            self._is_cached[place] = True  # after its pixels: other threads look here
        return pixels

    def at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The images at places; for one that cannot be decoded the next that can stands in.

        Args:
            places: int64 [B] in [0, N); after N - 1 comes 0.

        Returns:
            (their places, int64 [B], which are other ones for those that are undecodable; uint8
            [B, H, W, C]).

        Raises:
            UserError: no record can be decoded; see `check`.
        """
        if self._cache is not None and self._is_cached[places].all():
            return places, self._cache[places]
        found = np.array(places, np.int64)
        pixels = np.empty([len(places), *self._shape], np.uint8)
        for row, place in enumerate(found):
            found[row], pixels[row] = self._next_readable(place)
        return found, pixels

    def readable_at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `at`, without the images that cannot be decoded: (int64 [b], uint8 [b, H, W, C])."""
        read = [(place, self.read(place)) for place in places]
        kept = [(place, pixels) for place, pixels in read if pixels is not None]
        found = np.array([place for place, _ in kept], np.int64)
        pixels = np.array([pixels for _, pixels in kept], np.uint8)
        return found, pixels.reshape(len(kept), *self._shape)

    def check(self) -> None:
        """Raise a UserError if there is no record that can be decoded; one is looked for."""
        cause = ""
        for record in self._records:
            try:
                self._decode(record)
                return
            except PictureError as error:
                cause = cause or error.cause
        raise UserError(
            f"none of the {len(self._records)} examples of {self._name} can be decoded: {cause}"
        )

    def _next_readable(self, place):
        for step in range(len(self._records)):
            candidate = (place + step) % len(self._records)
            pixels = self.read(candidate)
            if pixels is not None:
                return candidate, pixels
        raise UserError(f"no example of {self._name} can be decoded")

    def _leave_out(self, place, cause):
        with self._lock:
            if place in self._causes:
                return
            self._causes[place] = cause
            count = len(self._causes)
        if count <= _NAMED:
            warn(f"example {place} of {self._name} left out, undecodable ({cause})")
        elif count & (count - 1) == 0:
            warn(f"{count} examples of {self._name} are left out so far, undecodable")
