"""Cats in colour, composed of the parts of the package robohash: body, fur, eyes, mouth, accessory.

The parts were drawn by David Revoy (https://www.peppercarrot.com/extras/html/2016_cat-generator/)
and are under CC-BY-4.0: whoever shows them, or cats composed of them, names him.
"""

import functools
import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ncsn_tf.data.crops import centred_box
from ncsn_tf.data.decoding import PictureError, in_channels
from ncsn_tf.data.source import Source
from ncsn_tf.errors import UserError, inform
from ncsn_tf.files import digest

NUM_TRAIN, NUM_TEST = 20_000, 2_000  # of some 360,000 cats
SEED = 2016  # of which cats these are, and in what order
ATTRIBUTION = "robohash_cats: cats drawn by David Revoy, CC-BY-4.0, of the package robohash"
_PACKAGE = "robohash"
_INSTALL = "pip install --no-deps robohash==2.0"  # 44 MB
_SET = ("sets", "set4")
# White, as is seen behind all transparent pictures here. Noise that is left on it is cut off at 1.
_BACKGROUND = 255.0
_BLOCK = 2**22  # pixels that are composed together
# What the bodies of version 2.0 look like; files of other names are called by these.
_COLOURS = {
    **{"body0": "maroon", "body1": "green", "body2": "black", "body3": "lilac", "body4": "red"},
    **{"body5": "sand", "body6": "pink", "body7": "brown", "body8": "blue", "body9": "yellow"},
    **{"body10": "ochre", "body11": "grey", "body12": "tan", "body13": "cream"},
    **{"body14": "orange"},
}


def load(
    split: str,
    data_dir: str,
    image_shape: tuple[int, int, int],
    crop_size: int,
    cache_dir: str = "",
) -> Source:
    """20,000 cats for training and 2,000 others for test; the class is the colour of the body.

    Which cats these are is drawn once, without repetition, from a fixed seed. Where there are fewer
    combinations than 22,000, one in 11 is for test.

    Arguments are those of `sources.LOADERS`; `data_dir` and `cache_dir` are not looked at.

    Raises:
        UserError: the package robohash is not installed or damaged, or its parts are smaller than
            the images that are wanted.
    """
    layers = [list(_files(folder)) for folder in _layers()]
    parts = [_shrunk(files, image_shape[:2], crop_size) for files in layers]
    # Files that look alike, such as the two without any fur, would make the same cat twice. Bodies
    # are classes, and stay.
    parts[1:] = [_distinct(layer) for layer in parts[1:]]
    sizes = [len(layer) for layer in parts]
    order = np.random.RandomState(SEED).permutation(math.prod(sizes))[: NUM_TRAIN + NUM_TEST]
    num_test = len(order) * NUM_TEST // (NUM_TRAIN + NUM_TEST)
    order = order[: len(order) - num_test] if split == "train" else order[len(order) - num_test :]
    chosen = np.stack(np.unravel_index(order, sizes), axis=1)
    _attribute()
    cats = ComposedImages(parts, chosen, image_shape[2])
    return Source(cats, "robohash_cats", chosen[:, 0], _class_names(layers[0]))


class ComposedImages:
    """Images of parts that lie over one another, on white; they are composed when asked for.

    Args:
        parts: of each layer, from the lowest, uint8 [k, H, W, 4]: red, green and blue, each
            multiplied by the opacity, and the opacity.
        chosen: int [N, layers], the part of each layer that an image has.
        channels: C, 1 (their luminance) or 3.

    Example:
        >>> half_red = np.full([1, 2, 2, 4], (100, 0, 0, 127), np.uint8)
        >>> images = ComposedImages([half_red], np.zeros([5, 1], int), channels=3)
        >>> images.shape, images.pixels(np.array([4]))[0, 0, 0].tolist()
        ((5, 2, 2, 3), [228, 128, 128])
    """

    def __init__(self, parts: Sequence[np.ndarray], chosen: np.ndarray, channels: int):
        self.parts, self.chosen = parts, chosen
        self.shape = (len(chosen), *parts[0].shape[1:3], channels)

    def readable(self, places: np.ndarray) -> np.ndarray:
        return np.ones(len(places), bool)

    def standing_in(self, places: np.ndarray) -> np.ndarray:
        return places

    def pixels(self, places: np.ndarray) -> np.ndarray:
        pixels = np.empty((len(places), *self.shape[1:]), np.uint8)
        size = max(1, _BLOCK // math.prod(self.shape[1:3]))
        for start in range(0, len(places), size):
            block = slice(start, start + size)
            pixels[block] = self._composed(self.chosen[places[block]])
        return pixels

    def fingerprint(self) -> str:
        return digest([*(np.ascontiguousarray(part).data for part in self.parts), self.chosen])

    def _composed(self, chosen):
        colours = _BACKGROUND
        for layer, places in zip(self.parts, chosen.T, strict=True):
            part = layer[places].astype(np.float32)
            colours = colours * (1 - part[..., 3:] / 255) + part[..., :3]
        colours = np.round(np.minimum(colours, 255)).astype(np.uint8)
        rows = Image.fromarray(colours.reshape(-1, *colours.shape[2:]))  # one picture, for Pillow
        return np.asarray(in_channels(rows, self.shape[3])).reshape(-1, *self.shape[1:])


def _layers():
    """The folders of the parts, from the lowest layer: by the second number of their names."""
    spec = importlib.util.find_spec(_PACKAGE)  # imported, it would want a package of its own
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "the data set robohash_cats needs the package robohash, of the extra `cats`: "
            f"{_INSTALL}"
        )
    root = Path(spec.submodule_search_locations[0], *_SET)
    folders = [path for path in root.glob("*#*") if any(_files(path))]
    if not folders:
        raise UserError(f"{root} has no parts of cats: {_INSTALL} --force-reinstall")
    return sorted(folders, key=lambda path: path.name.partition("#")[2])


def _files(folder):
    return sorted(folder.glob("*.png"))


def _shrunk(files, size, crop_size):
    """Parts in the size of the images, each pixel the mean of those that it covers.

    The mean is taken of colours times opacity: else what is wholly transparent, whatever colour
    it has, would stain the rims.

    Returns:
        uint8 [k, H, W, 4], as `ComposedImages` takes them.
    """
    shrunk = []
    for file in files:
        try:
            picture = Image.open(file).convert("RGBA").convert("RGBa")
        except (OSError, SyntaxError, ValueError) as error:
            cause = getattr(error, "strerror", None) or "it is damaged"
            raise PictureError(file, f"{cause}: {_INSTALL} --force-reinstall") from None
        top, left, rows, columns = centred_box(picture.height, picture.width, size, crop_size)
        if rows < size[0] or columns < size[1]:
            raise UserError(
                f"cats of {size[0]}x{size[1]} pixels cannot be made of parts of {rows}x{columns}: "
                "image_size, and crop_size if it is given, are at most that"
            )
        box = (left, top, left + columns, top + rows)
        shrunk.append(picture.resize(size[::-1], Image.Resampling.BOX, box))
    return np.stack([np.asarray(picture) for picture in shrunk])


def _distinct(parts):
    _, first = np.unique(parts, axis=0, return_index=True)
    return parts[np.sort(first)]


def _class_names(files):
    """What the classes are called, by the files of the bodies.

    Example:
        >>> _class_names([Path("000#body0.png"), Path("015#calico.png")])
        ('maroon', 'calico')
    """
    names = (file.stem.rpartition("#")[2] for file in files)
    return tuple(_COLOURS.get(name, name) for name in names)


@functools.cache  # once, of however many splits
def _attribute():
    inform(ATTRIBUTION)
