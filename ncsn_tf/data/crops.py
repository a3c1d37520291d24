"""Which part of a picture is kept: one rule for training, pictures to complete and masks."""


def centred_box(
    height: int, width: int, wanted: tuple[int, int], crop_size: int = 0
) -> tuple[int, int, int, int]:
    """The centred rectangle of a picture that has the shape of the wanted images.

    It is the largest one: as high or as wide as the picture, its other side rounded to whole
    pixels.

    Args:
        height, width: of the picture, at least 1.
        wanted: height and width of the images that are made of it; their ratio counts.
        crop_size: the rectangle's shorter side; 0, or more than the largest rectangle's, means the
            largest.

    Returns:
        (top, left, height, width).

    Example:
        >>> centred_box(60, 100, wanted=(32, 32))
        (0, 20, 60, 60)
        >>> centred_box(60, 100, wanted=(32, 64))
        (5, 0, 50, 100)
        >>> centred_box(60, 100, wanted=(32, 64), crop_size=30)
        (15, 20, 30, 60)
    """
    across, along = sorted(wanted)  # the shorter and the longer side

    def other(side, of, to):
        """The side that goes with another, of a rectangle with sides of : to."""
        return max(1, (2 * side * to + of) // (2 * of))  # rounded

    rows, columns = wanted
    if height * columns <= width * rows:
        box = (height, other(height, rows, columns))
    else:
        box = (other(width, columns, rows), width)
    if 0 < crop_size < min(box):
        longer = other(crop_size, across, along)
        box = (crop_size, longer) if rows <= columns else (longer, crop_size)
    return (height - box[0]) // 2, (width - box[1]) // 2, *box
