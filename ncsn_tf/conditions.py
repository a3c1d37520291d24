"""What sample.py's conditional modes ask of a checkpoint's sampler."""

import numpy as np

from ncsn_tf import noisy_classifier, pictures
from ncsn_tf.conditional import InterpolatingLangevin, Known, Measurement, Mixture
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.guidance import GuidedScore
from ncsn_tf.options import show
from ncsn_tf.samplers import make_completion_chain, make_sigmas, require_langevin

_GREY = 96  # where nothing is known


def open_condition(options, config):
    """The condition that flags describe, or None.

    Args:
        options: `draw.SampleOptions`, validated.
        config: the run's `Config` with the flags' chain settings.

    Raises:
        ConfigError: a mode that the run's network or sampler cannot have.
        UserError: a picture that cannot be used.
    """
    if options.mode is None:
        return None
    require_langevin(config)
    return Interpolation(options, config) if options.interpolate else Completion(options, config)


def guided(network, options, config):
    """The score function of the class that flags ask for; the network itself if they do not.

    Raises:
        ConfigError: a class that the classifier does not know.
        UserError: the classifier cannot be read, or is for other images or noise levels.
    """
    if not options.classifier:
        return network
    classifier = load_classifier(options.classifier, config)
    if options.label >= classifier.num_classes:
        raise ConfigError(
            f"{show('label', options.label)} must be below the classifier's "
            f"{classifier.num_classes} classes"
        )
    return GuidedScore(network, classifier, options.label, options.classifier_scale)


def load_classifier(path, config):
    """The classifier in a file, for a run's images and noise levels.

    Raises:
        UserError: the file cannot be read, or is for other images or noise levels.
    """
    classifier = noisy_classifier.load(path)
    if tuple(classifier.image_shape) != config.image_shape or not (
        len(classifier.sigmas) == config.num_levels
        and np.allclose(classifier.sigmas, make_sigmas(config))
    ):
        raise UserError(f"classifier {path} is for images or noise levels other than the run's")
    return classifier


class Completion:
    """Images of which part is known: inpainting, colourisation, super-resolution.

    Image i of N completes picture i modulo the number of pictures.

    Attributes:
        chain: the `sampling.Chain` to draw with.
        inputs: uint8 [M, H, W, C], what is known of each picture, grey where nothing is.
    """

    def __init__(self, options, config):
        read = {"inpaint": _inpaint, "colorize": _colorize, "super_resolve": _super_resolve}
        values, unknown, measurement = read[options.mode](options, config)
        self._first_seed = options.seed
        self._known = Known(
            (values / 255).astype(np.float32),
            np.broadcast_to(~unknown[None, :, :, None], (*values.shape[:3], 1)).astype(np.float32),
        )
        self.inputs = np.where(unknown[:, :, None], _GREY, np.round(values)).astype(np.uint8)
        self.chain = make_completion_chain(config, measurement, options.denoise)

    def rows(self, seeds):
        """(seeds of the chains, what `Rows.condition` is for them)."""
        # Python integers: the difference of two int64 may not fit one.
        index = [(int(seed) - self._first_seed) % len(self.inputs) for seed in seeds]
        return seeds, Known(*(array[index] for array in self._known))


class Interpolation:
    """Images between that of one seed and the noise of another.

    Image i of N has the angle i / (N - 1) of a quarter turn, whatever the batch.
    """

    inputs = None

    def __init__(self, options, config):
        self._own, self._other = options.interpolated_seeds()
        self._count = options.count()
        self.chain = InterpolatingLangevin(make_sigmas(config), config.denoise)

    def rows(self, seeds):
        """(seeds of the chains, what `Rows.condition` is for them)."""
        angles = seeds / max(self._count - 1, 1) * (np.pi / 2)
        # Rounded so that a quarter turn's cosine is 0.
        own, other = (np.round(fn(angles), 12).astype(np.float32) for fn in (np.cos, np.sin))
        others = np.full(len(seeds), self._other, np.int64)
        return np.full(len(seeds), self._own, np.int64), Mixture(others, own, other)


def _inpaint(options, config):
    images = pictures.load(options.inpaint, config.image_shape, options.resize)
    unknown = pictures.load_mask(options.mask, config.image_size, options.resize)
    return np.stack(images).astype(np.float64), unknown, Measurement()


def _colorize(options, config):
    if config.channels != 3:
        raise ConfigError(f"{show('colorize', options.colorize)} needs a network that draws colour")
    images = pictures.load(options.colorize, config.image_shape, options.resize, also_grey=True)
    means = [image.mean(-1, keepdims=True) for image in images]
    return np.repeat(means, 3, axis=-1), _nowhere(config), Measurement(grey=True)


def _super_resolve(options, config):
    factor, size = options.factor, config.image_size
    if size % factor:
        raise ConfigError(
            f"{show('factor', factor)} must divide the {size} pixels of the network's images"
        )
    small = size // factor
    images = pictures.load(
        options.super_resolve, config.image_shape, options.resize, also_sizes=[small]
    )
    measured = []
    for image in images:
        if len(image) == size:
            image = image.reshape(small, factor, small, factor, -1).mean((1, 3))
        measured.append(image.repeat(factor, 0).repeat(factor, 1))
    return np.stack(measured), _nowhere(config), Measurement(factor)


def _nowhere(config):
    return np.zeros(config.image_shape[:2], bool)
