"""The nearest of many vectors, exact and in bounded memory."""

import typing
from collections.abc import Iterable

import numpy as np


class Neighbors(typing.NamedTuple):
    """The nearest vectors of each query, nearest first, the lower index first among equals.

    Attributes:
        distances: float64 [Q, k], Euclidean.
        indices: int64 [Q, k], places in the order in which the blocks were read.
        mirrored: bool [Q, k], whether the query's mirror image was the nearer one.
    """

    distances: np.ndarray
    indices: np.ndarray
    mirrored: np.ndarray


def nearest(
    queries: np.ndarray,
    blocks: Iterable[np.ndarray],
    num_neighbors: int,
    mirror_images: np.ndarray | None = None,
) -> Neighbors:
    """The k nearest vectors of each query, by an exhaustive search.

    d(q, x) = || q - x ||, or min(|| q - x ||, || q' - x ||) with q' the mirror image of q

    from || q ||^2 + || x ||^2 - 2 q.x in float64: of whole numbers (pixels) that is exact, as long
    as the squares stay below 2^53. Q x c distances are in memory at a time, for a block of c
    vectors, and never all the vectors' differences. (scikit-learn's brute-force search does not
    keep the order among equals, and wants all the vectors in memory.)

    Args:
        queries: [Q, D], any numeric type.
        blocks: iterable of [c, D], the vectors to search, in the order of their indices.
        num_neighbors: k; fewer are found where there are fewer vectors.
        mirror_images: [Q, D], the mirrored queries, or None for no mirroring. For pixels,
            || q' - x || is the distance of q from the mirrored x.

    Returns:
        `Neighbors` of shape [Q, min(k, vectors)].

    Raises:
        ValueError: no queries, no vectors, k below 1, or shapes that do not fit.

    Example:
        >>> vectors = np.array([[0, 0], [3, 4], [0, 1]])
        >>> found = nearest(np.array([[0, 0]]), [vectors[:2], vectors[2:]], num_neighbors=2)
        >>> found.indices.tolist(), found.distances.tolist()
        ([[0, 2]], [[0.0, 1.0]])
    """
    queries = np.asarray(queries)
    if queries.ndim != 2 or len(queries) == 0 or num_neighbors < 1:
        raise ValueError(
            f"queries must be [Q, D] and num_neighbors at least 1, not {queries.shape} "
            f"and {num_neighbors}"
        )
    if mirror_images is not None:
        if np.shape(mirror_images) != queries.shape:
            raise ValueError(f"mirror_images must be {queries.shape}, as the queries")
        queries = np.concatenate([queries, mirror_images])
    queries = queries.astype(np.float64)  # [Q or 2 Q, D]
    rows = len(queries) // (1 if mirror_images is None else 2)

    squared = np.empty([rows, 0])
    indices, mirrored = np.empty([rows, 0], np.int64), np.empty([rows, 0], bool)
    start = 0
    for block in blocks:
        block = np.asarray(block, np.float64)
        if block.ndim != 2 or block.shape[1] != queries.shape[1]:
            raise ValueError(f"a block has shape {block.shape}, not [c, {queries.shape[1]}]")
        found, flipped = _squared_distances(queries, block, rows)
        places = np.broadcast_to(np.arange(start, start + len(block)), found.shape)
        squared = np.concatenate([squared, found], axis=1)
        # Stable: among equals those that came first stay, and they have the lower indices.
        order = np.argsort(squared, axis=1, kind="stable")[:, :num_neighbors]
        squared = np.take_along_axis(squared, order, 1)
        indices = np.take_along_axis(np.concatenate([indices, places], 1), order, 1)
        mirrored = np.take_along_axis(np.concatenate([mirrored, flipped], 1), order, 1)
        start += len(block)
    if start == 0:
        raise ValueError("there are no vectors to search")
    return Neighbors(np.sqrt(squared), indices, mirrored)


def _squared_distances(queries, block, rows):
    """Squared distances of a block, and where those of the mirror images are smaller: [Q, c]."""
    squares = np.square(queries).sum(1)[:, None] + np.square(block).sum(1)
    squared = squares - 2.0 * (queries @ block.T)
    squared = np.maximum(squared, 0.0)  # of features, rounding can leave less than nothing
    plain, mirrored = squared[:rows], squared[rows:]
    if not len(mirrored):
        return plain, np.zeros(plain.shape, bool)
    return np.minimum(plain, mirrored), mirrored < plain
