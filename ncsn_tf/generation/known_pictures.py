"""What is known of pictures that conditional sampling completes.

Each function reads pictures, and returns their values, float [M, H, W, C] from 0 to 255, the places
that are unknown, bool [H, W], and the `Measurement` that is known. A picture that cannot be used is
a UserError, one of another size a `pictures.SizeError`.
"""

import os

import numpy as np

from ncsn_tf.data import pictures
from ncsn_tf.data.masks import load_mask
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.sampling.conditional import Measurement
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import show

Known = tuple[np.ndarray, np.ndarray, Measurement]


def of_masked(config: Config, path: str | os.PathLike, mask: str, resize: bool) -> Known:
    """What is known of pictures of which a part is to be filled.

    Raises:
        ConfigError: a mask that fills nothing or all.
        UserError: a picture or mask that cannot be read.
    """
    images = pictures.load(path, config.image_shape, resize, crop_size=config.crop_size)
    try:
        unknown = load_mask(mask, config.image_shape[:2], resize, config.crop_size)
    except FileNotFoundError as error:
        raise UserError(f"--{error}") from None
    except ValueError as error:
        raise ConfigError(f"--{error}") from None
    return np.stack(images).astype(np.float64), unknown, Measurement()


def of_grey(config: Config, path: str | os.PathLike, resize: bool) -> Known:
    """What is known of pictures that are to be given colour: the mean of each pixel's channels.

    Raises:
        ConfigError: the network draws no colour.
    """
    if config.channels != 3:
        raise ConfigError(f"{show('colorize', path)} needs a network that draws colour")
    images = pictures.load(path, config.image_shape, resize, crop_size=config.crop_size)
    means = [image.mean(-1, keepdims=True) for image in images]
    return np.repeat(means, 3, axis=-1), _nowhere(config), Measurement(grey=True)


def of_small(config: Config, path: str | os.PathLike, factor: int, resize: bool) -> Known:
    """What is known of pictures that are to be enlarged: the means of blocks.

    Raises:
        ConfigError: a factor that does not divide the images' size.
    """
    height, width, _ = config.image_shape
    if height % factor or width % factor:
        raise ConfigError(
            f"{show('factor', factor)} must divide the {config.image_size} pixels of the network's "
            "images"
        )
    small = (height // factor, width // factor)
    images = pictures.load(path, config.image_shape, resize, [small], config.crop_size)
    measured = []
    for image in images:
        if image.shape[:2] != small:
            image = image.reshape(small[0], factor, small[1], factor, -1).mean((1, 3))
        measured.append(image.repeat(factor, 0).repeat(factor, 1))
    return np.stack(measured), _nowhere(config), Measurement(factor)


def _nowhere(config):
    return np.zeros(config.image_shape[:2], bool)
