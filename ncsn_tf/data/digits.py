"""scikit-learn's handwritten digits: 1,797 grey images of 8 x 8, there without a download."""

import numpy as np
import tensorflow as tf

from ncsn_tf.data.source import Source, crop_and_resize, from_arrays


def load(
    split: str,
    data_dir: str,
    image_shape: tuple[int, int, int],
    crop_size: int,
    cache_dir: str = "",
) -> Source:
    """The digits with their labels; the last tenth of a fixed permutation is for test.

    Arguments are those of `sources.LOADERS`; `data_dir` and `cache_dir` are not looked at.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    values = digits.images[..., None]  # [1797, 8, 8, 1], 0 to 16
    pixels = np.round(values * (255 / 16)).astype(np.uint8)
    order = np.random.RandomState(0).permutation(len(pixels))
    num_test = len(pixels) // 10
    order = order[:-num_test] if split == "train" else order[-num_test:]
    with tf.device("CPU:0"):
        chosen = crop_and_resize(pixels[order], image_shape[:2], crop_size).numpy()
    chosen = np.repeat(chosen, image_shape[2], axis=-1)
    return from_arrays(chosen, digits.target[order], "digits", digits.target_names)
