"""Features of many images, tile by tile: the sums of all, the vectors of the first."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ncsn_tf.backend import signals
from ncsn_tf.errors import UserError, warn
from ncsn_tf.evaluation.features import FeatureNetwork
from ncsn_tf.evaluation.metrics import FeatureSums
from ncsn_tf.evaluation.quality.asked import Asked
from ncsn_tf.evaluation.quality.image_sets import ArrayImages, Images
from ncsn_tf.files import digest, read_arrays, save_arrays

PAIRS = 10_000  # vectors that are kept, for figures of pairs: 80 MB of the Inception network's
_SAVE_EVERY = 30.0  # seconds
_STEP = 64  # images between two looks at the clock


class Moments:
    """Mean and covariance that somebody else has computed.

    Args:
        mean: float64 [D].
        covariance: float64 [D, D].
        count: of how many vectors; None where that is not known.
    """

    def __init__(self, mean: np.ndarray, covariance: np.ndarray, count: int | None = None):
        self.mean = mean
        self.covariance = covariance
        self.count = count


class FeatureSet:
    """What figures of quality need to know of a set of images.

    Args:
        sums: of all the images' features: `FeatureSums`, or `Moments`.
        vectors: float32 [n, D], the features of the first images; None where only moments are
            known.
        probabilities: float32 [N, K] of all images; None where the network has none.
        against: what figures say that they were compared with these images, "" for all of a
            training set; see `names.figure_name`.
        label: what the images are, in a word: "train", "test" or a file.

    Attributes:
        asked: the classes that the images were asked to be of; None where there are none.
    """

    def __init__(
        self,
        sums: FeatureSums | Moments,
        vectors: np.ndarray | None = None,
        probabilities: np.ndarray | None = None,
        against: str = "",
        label: str = "train",
    ):
        self.sums = sums
        self.vectors = vectors
        self.probabilities = probabilities
        self.against = against
        self.label = label
        self.asked: Asked | None = None

    @property
    def count(self) -> int | None:
        """N, the number of images; None where it is not known."""
        return self.sums.count


def feature_set(
    images: Images | np.ndarray,
    features: FeatureNetwork,
    *,
    keep: int = PAIRS,
    with_probabilities: bool = True,
    cache: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> FeatureSet:
    """The features of images, with a progress bar.

    Args:
        images: `Images`, or uint8 [N, H, W, C].
        features: the feature network.
        keep: vectors that are kept, of the first images.
        with_probabilities: keep those of all images, where the network has any.
        cache: a folder; what was computed lies there in a file, which is read instead of computing
            it again. It is also written every half a minute, and gone on from.
        clock: seconds; tests give their own.

    Raises:
        UserError: the images cannot be read, features are not finite, or the cache cannot be
            written.

    Example:
        >>> network = FeatureNetwork(
        ...     lambda pixels: (pixels.mean((1, 2), dtype=np.float32), None),
        ...     name="Means", checksum="0" * 16, resize="none", dimension=3,
        ... )
        >>> found = feature_set(np.full([5, 2, 2, 3], 7, np.uint8), features=network)
        >>> found.count, found.sums.mean.tolist(), found.vectors.shape
        (5, [7.0, 7.0, 7.0], (5, 3))
    """
    if isinstance(images, np.ndarray):
        images = ArrayImages(images)
    state = _State(images, features, keep, with_probabilities and features.num_classes > 0, cache)
    if not state.is_whole:
        _compute(state, images, features, clock)
    if not state.sums.count:
        raise UserError(f"{images.name}: there are no images")
    return FeatureSet(*state.parts())


def _compute(state, images, features, clock):
    saved = clock()
    bar = tqdm(total=images.count, initial=state.seen, desc="features", unit="image", disable=None)
    with bar:
        for block in images.blocks(state.seen):
            for start in range(0, len(block), _STEP):
                part = block[start : start + _STEP]
                signals.check()
                found = features(part)
                if not np.isfinite(found.vectors).all():
                    raise UserError(f"{images.name}: {features.name} gives no finite features")
                state.add(found, len(part))
                bar.update(len(part))
                if clock() - saved > _SAVE_EVERY:
                    state.save()
                    saved = clock()
        bar.total = bar.n
        bar.refresh()
    state.is_whole = True
    state.save()


class _State:
    """How far the features of a set of images are computed, in memory and in the cache."""

    def __init__(self, images, features, keep, has_probabilities, cache):
        self.sums = FeatureSums(features.dimension)
        self.seen, self.is_whole = 0, False
        self._keep = keep
        self._vectors, self._probabilities = [], [] if has_probabilities else None
        self._kept = 0
        self._path = None
        if cache is None:
            return
        about = {
            "images": images.fingerprint(),
            "number": images.count,
            **{name: getattr(features, name) for name in ("name", "checksum", "resize")},
            "keep": keep,
            "probabilities": has_probabilities,
        }
        self._about = json.dumps(about, sort_keys=True)
        self._path = cache / f"features-{digest([self._about.encode()])}.npz"
        if self._path.exists():
            try:
                self._read(features)
            except UserError as error:
                warn(f"{error}: computed anew")

    def _read(self, features):
        names = ["about", "count", "shift", "total", "products", "vectors", "seen", "is_whole"]
        names += ["probabilities"] if self._probabilities is not None else []
        stored = read_arrays(self._path, names, "a file of features")
        dimension = features.dimension
        shapes = {"shift": (dimension,), "total": (dimension,), "products": (dimension,) * 2}
        count = int(stored["count"])
        kept = min(count, self._keep)
        shapes |= {"vectors": (kept, dimension)}
        if self._probabilities is not None:
            shapes |= {"probabilities": (count, features.num_classes)}
        if str(stored["about"]) != self._about or any(
            stored[name].shape != shape or not np.isfinite(stored[name]).all()
            for name, shape in shapes.items()
        ):
            raise UserError(f"{self._path} is not a file of these features")
        for name in ("shift", "total", "products"):
            setattr(self.sums, name, stored[name])
        self.sums.count = count
        self.seen, self.is_whole = int(stored["seen"]), bool(stored["is_whole"])
        self._vectors, self._kept = [stored["vectors"]], kept
        if self._probabilities is not None:
            self._probabilities = [stored["probabilities"]]

    def add(self, found, number):
        """Take the features of the next images."""
        self.sums.add(found.vectors)
        self.seen += number
        room = max(0, self._keep - self._kept)
        if room:
            self._vectors.append(found.vectors[:room])
            self._kept += len(self._vectors[-1])
        if self._probabilities is not None:
            self._probabilities.append(found.probabilities)

    def parts(self):
        """(sums, vectors, probabilities)."""
        empty = np.zeros([0, len(self.sums.total)], np.float32)
        vectors = np.concatenate([empty, *self._vectors])
        if self._probabilities is None:
            return self.sums, vectors, None
        return self.sums, vectors, np.concatenate(self._probabilities)

    def save(self):
        """Write the cache, if there is one."""
        if self._path is None or not self.sums.count:
            return
        sums, vectors, probabilities = self.parts()
        self._vectors = [vectors]
        arrays = {name: getattr(sums, name) for name in ("count", "shift", "total", "products")}
        arrays |= {"vectors": vectors, "about": self._about, "seen": self.seen}
        arrays |= {"is_whole": self.is_whole}
        if probabilities is not None:
            self._probabilities = [probabilities]
            arrays |= {"probabilities": probabilities}
        save_arrays(self._path, arrays)
