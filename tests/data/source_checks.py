"""What the tests of the kinds of data sets share."""

import numpy as np


def images(source):
    """All images in the source's own order: uint8 [N, H, W, C]."""
    decoded = source.images.pixels(np.arange(source.num_examples))
    assert decoded.dtype == np.uint8
    assert decoded.shape == (source.num_examples, *source.image_shape)
    return decoded


def one_line(error):
    """The message of a raised error, which is one line."""
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message
