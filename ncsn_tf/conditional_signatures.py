"""The functions of an exported sampler that draw images of which something is known."""

import numpy as np
import tensorflow as tf

from ncsn_tf import sampling
from ncsn_tf.condition_options import FILL_FROM
from ncsn_tf.conditional import InterpolatingLangevin, Known, Measurement, Mixture
from ncsn_tf.errors import ConfigError
from ncsn_tf.guidance import GuidedChain
from ncsn_tf.options import show
from ncsn_tf.samplers import make_chain, make_completion_chain, make_sigmas, require_langevin
from ncsn_tf.sampling import Rows


def conditional_functions(network, config, factor=4, denoise=None, classifier=None, scale=1.0):
    """A `tf.function` for each way of completing images; all inputs and outputs are batches [B].

    * `inpaint`: seed, image [B, H, W, C], mask [B, H, W, 1] -> image_bytes, image
    * `colorize`, for C = 3: seed, image [B, H, W, 1] -> image_bytes, image
    * `super_resolve`: seed, image [B, H / factor, W / factor, C] -> image_bytes, image
    * `interpolate`: seed, other_seed, share -> image_bytes, image
    * `sample_class`, with a classifier: seed, label -> image_bytes, image

    Seeds are int64, images and masks are uint8; where the mask is 128 or more the image is filled.
    `share`, float32, goes from the image of `seed` at 0 to the noise of `other_seed` at 1, a
    quarter turn; `label` is int32. Outside their range both are moved to its nearest end. The chain
    has the run's settings. No value of an input fails, and whatever it is merged with, a row
    has the same answer, bit for bit. The network is in the export once for all of them.

    Args:
        network: the score network, `(x, labels) -> score`.
        config: the run's `Config`; its sampling settings are the chain's.
        factor: how much `super_resolve` enlarges.
        denoise: as in `samplers.make_completion_chain`.
        classifier, scale: as in `guidance.GuidedScore`; None leaves `sample_class` out.

    Returns:
        {name: tf.function}.

    Raises:
        ConfigError: a sampler other than annealed Langevin, or a factor that does not divide the
            size of the images.
    """
    require_langevin(config)
    size, _, channels = config.image_shape
    if size % factor:
        raise ConfigError(f"{show('factor', factor)} must divide the {size} pixels of the images")
    score = tf.function(network, autograph=False)

    def completed(seed, values, places, measurement):
        chain = make_completion_chain(config, measurement, denoise)
        return drawn(chain, seed, Known(values, places))

    def drawn(chain, seed, condition):
        rows = Rows.fill(seed, config.step_lr, config.num_steps_each, condition)
        x = sampling.draw(chain, score, rows, config.image_shape, tile=config.sampling_tile)
        image = sampling.to_uint8(x)
        return {"image_bytes": tf.io.encode_png(image), "image": image}

    def everywhere(seed):
        return tf.ones([tf.size(seed), size, size, 1])

    def inpaint(seed, image, mask):
        places = tf.cast(mask < FILL_FROM, tf.float32)
        return completed(seed, _to_float(image), places, Measurement())

    def colorize(seed, image):
        values = tf.tile(_to_float(image), [1, 1, 1, 3])
        return completed(seed, values, everywhere(seed), Measurement(grey=True))

    def super_resolve(seed, image):
        values = tf.repeat(tf.repeat(_to_float(image), factor, axis=1), factor, axis=2)
        values = tf.ensure_shape(values, [None, *config.image_shape])
        return completed(seed, values, everywhere(seed), Measurement(factor))

    def interpolate(seed, other_seed, share):
        share = tf.where(tf.math.is_nan(share), 0.0, tf.clip_by_value(share, 0.0, 1.0))
        angle = share * (np.pi / 2)
        own = tf.where(share < 1.0, tf.cos(angle), 0.0)  # rounding would leave 4e-8
        chain = InterpolatingLangevin(make_sigmas(config), config.denoise)
        return drawn(chain, seed, Mixture(other_seed, own, tf.sin(angle)))

    def sample_class(seed, label):
        label = tf.clip_by_value(label, 0, classifier.num_classes - 1)
        return drawn(GuidedChain(make_chain(config), classifier, scale), seed, label)

    small = size // factor
    inputs = {
        inpaint: [_pixels("image", size, channels), _pixels("mask", size, 1)],
        super_resolve: [_pixels("image", small, channels)],
        interpolate: [
            tf.TensorSpec([None], tf.int64, "other_seed"),
            tf.TensorSpec([None], tf.float32, "share"),
        ],
    }
    if channels == 3:
        inputs[colorize] = [_pixels("image", size, 1)]
    if classifier is not None:
        inputs[sample_class] = [tf.TensorSpec([None], tf.int32, "label")]
    seed = tf.TensorSpec([None], tf.int64, "seed")
    return {
        function.__name__: tf.function(function, [seed, *specs], autograph=False)
        for function, specs in inputs.items()
    }


def _to_float(image):
    """uint8 -> [0, 1], looked up: some graphs would multiply by 1 / 255 instead of dividing."""
    table = (np.arange(256) / 255).astype(np.float32)
    return tf.gather(tf.constant(table), tf.cast(image, tf.int32))


def _pixels(name, size, channels):
    return tf.TensorSpec([None, size, size, channels], tf.uint8, name)
