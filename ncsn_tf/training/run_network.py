"""The network that a run's settings describe."""

from ncsn_tf.models.networks import NCSN, NCSNv2
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.settings.config import Config


def build_network(config: Config, recompute: bool = False) -> NCSN | NCSNv2:
    """The network of a run, with fresh weights: every command builds it here.

    Args:
        config: the run's `Config`.
        recompute: whether to compute activations again for the gradient, which saves memory.

    Example:
        >>> config = Config(model="ncsnv2", image_size=8, channels=1, features=2, num_levels=3)
        >>> network = build_network(config)
        >>> type(network).__name__, network.image_shape
        ('NCSNv2', (8, 8, 1))
    """
    shape, features = config.image_shape, config.features
    options = {"recompute": recompute, "dtype": config.settled().precision}
    if config.model == "ncsnv2":
        sigmas = geometric_sigmas(config.sigma_begin, config.sigma_end, config.num_levels)
        return NCSNv2(shape, features, sigmas, config.depth, **options)
    return NCSN(shape, features, config.num_levels, **options)
