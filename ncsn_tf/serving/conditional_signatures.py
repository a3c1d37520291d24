"""The functions of an exported sampler for conditional sampling: what is known of each image comes
with its request."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ncsn_tf import sampling
from ncsn_tf.data.masks import FILL_FROM
from ncsn_tf.errors import ConfigError
from ncsn_tf.models.noisy_classifier import NoisyClassifier
from ncsn_tf.sampling import (
    GuidedChain,
    Known,
    Measurement,
    Mixture,
    OfClass,
    Rows,
)
from ncsn_tf.serving.signatures import of_requests
from ncsn_tf.serving.specs import compiled, image_outputs
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import show
from ncsn_tf.training.run_conditions import (
    completion_chain,
    guided_score,
    interpolation_chain,
    require_conditional,
)
from ncsn_tf.training.run_sampler import chain_of, chain_score


def conditional_functions(
    network: Callable,
    config: Config,
    *,
    factor: int = 4,
    denoise: bool | None = None,
    classifier: NoisyClassifier | None = None,
    scale: float = 1.0,
) -> dict[str, Callable]:
    """A `tf.function` for each signature in `contract.CONDITIONAL` that the network can have.

    * `inpaint` fills the image where its mask is 128 or more.
    * `colorize`, for networks that draw colour, takes a grey image.
    * `super_resolve` takes an image of 1 / factor of the size.
    * `interpolate` goes from the image of `seed`, at the `share` 0, to the noise of `other_seed`,
      at 1: a quarter turn.
    * `sample_class`, with a classifier, draws the class `label`.

    Of a network that knows classes, all but `sample_class` also take the class of each image and
    its guidance, see `contract.LABELS`.

    A share or a class outside its range is moved to the nearest end. The chain has the run's
    settings. No value of an input fails, an image whose chain diverged is black, and whatever it is
    merged with, a row has the same answer, bit for bit. The network is in the export once for all
    of them.

    Args:
        network: the run's network.
        config: the run's `Config`; its sampling settings are the chain's.
        factor: how much `super_resolve` enlarges.
        denoise: as in `run_conditions.completion_chain`.
        classifier, scale: as in `sampling.GuidedScore`; None leaves `sample_class` out.

    Raises:
        ConfigError: a sampler other than annealed Langevin and predictor-corrector, or a factor
            that does not divide the size of the images.
    """
    require_conditional(config)
    height, width, channels = config.image_shape
    if height % factor or width % factor:
        raise ConfigError(
            f"{show('factor', factor)} must divide the {config.image_size} pixels of the images"
        )
    score = chain_score(tf.function(network, autograph=False), config)

    def completed(name, seed, values, places, measurement, labels):
        chain = completion_chain(config, measurement, denoise)
        return drawn(name, chain, seed, Known(values, places), labels)

    def drawn(name, chain, seed, condition, labels=(), score_fn=score):
        classes = of_requests(*labels, config.num_classes) if labels else ()
        rows = Rows.fill(seed, config.step_lr, config.num_steps_each, condition, *classes)
        tile = config.sampling_tile
        x = sampling.draw(chain, score_fn, rows, config.image_shape, clip=False, tile=tile)
        return image_outputs(name, x)

    def everywhere(seed):
        return tf.ones([tf.size(seed), height, width, 1])

    def inpaint(seed, image, mask, *labels):
        places = tf.cast(mask < FILL_FROM, tf.float32)
        return completed("inpaint", seed, _to_float(image), places, Measurement(), labels)

    def colorize(seed, image, *labels):
        values = tf.tile(_to_float(image), [1, 1, 1, 3])
        grey = Measurement(grey=True)
        return completed("colorize", seed, values, everywhere(seed), grey, labels)

    def super_resolve(seed, image, *labels):
        values = tf.repeat(tf.repeat(_to_float(image), factor, axis=1), factor, axis=2)
        values = tf.ensure_shape(values, [None, *config.image_shape])
        blocks = Measurement(factor)
        return completed("super_resolve", seed, values, everywhere(seed), blocks, labels)

    def interpolate(seed, other_seed, share, *labels):
        share = tf.where(tf.math.is_nan(share), 0.0, tf.clip_by_value(share, 0.0, 1.0))
        angle = share * (np.pi / 2)
        own = tf.where(share < 1.0, tf.cos(angle), 0.0)  # rounding would leave 4e-8
        chain = interpolation_chain(config)
        mixture = Mixture(other_seed, own, tf.sin(angle))
        return drawn("interpolate", chain, seed, mixture, labels)

    def sample_class(seed, label):
        label = tf.clip_by_value(label, 0, classifier.num_classes - 1)
        score_fn = guided_score(score, config, classifier, scale)
        chain = GuidedChain(chain_of(config))
        return drawn("sample_class", chain, seed, OfClass(label), score_fn=score_fn)

    functions = [inpaint, super_resolve, interpolate]
    if channels == 3:
        functions.append(colorize)
    if classifier is not None:
        functions.append(sample_class)
    named = {function.__name__: function for function in functions}
    return compiled(named, config.image_shape, factor, bool(config.class_names))


def _to_float(image):
    """uint8 -> [0, 1], looked up: some graphs would multiply by 1 / 255 instead of dividing."""
    table = (np.arange(256) / 255).astype(np.float32)
    return tf.gather(tf.constant(table), tf.cast(image, tf.int32))
