"""The network that a run's settings describe."""

from ncsn_tf.errors import ConfigError
from ncsn_tf.models.ddpm import DDPM
from ncsn_tf.models.ncsnpp import NCSNpp
from ncsn_tf.models.networks import NCSN, NCSNv2
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.third_rules import is_third, numbers
from ncsn_tf.training.run_equation import equation_of, ladder_of


def build_network(config: Config, recompute: bool = False) -> NCSN | NCSNv2 | NCSNpp:
    """The network of a run, with fresh weights: every command builds it here.

    Args:
        config: the run's `Config`.
        recompute: whether to compute activations again for the gradient, which saves memory.

    Raises:
        ConfigError: a class-conditional run whose classes are not known: data decide them.

    Example:
        >>> config = Config(model="ncsnv2", image_size=8, channels=1, features=2, num_levels=3)
        >>> network = build_network(config)
        >>> type(network).__name__, network.image_shape
        ('NCSNv2', (8, 8, 1))
    """
    shape, features = config.image_shape, config.features
    if config.class_conditional and not config.num_classes:
        raise ConfigError("--class_conditional=true: the names of the classes are not known yet")
    common = {
        "recompute": recompute,
        "num_classes": config.num_classes,
        "dtype": config.settled().precision,
    }
    if is_third(config):
        return _third(config, common)
    if config.model == "ncsnv2":
        return NCSNv2(shape, features, ladder_of(config), config.depth, **common)
    return NCSN(shape, features, config.num_levels, **common)


def _third(config, common):
    """`NCSNpp` or `DDPM`."""
    of_labels = config.scale_by_sigma and config.embedding == "positional"
    sizes = {
        "multipliers": numbers(config.multipliers),
        "num_res_blocks": config.num_res_blocks,
        "attention_sizes": numbers(config.attention_sizes),
        "scale_by_sigma": config.scale_by_sigma,
        "sigmas": equation_of(config).levels if of_labels else None,
        "centered": config.centered,
        "dropout": config.dropout,
        **common,
    }
    if config.model == "ddpm":
        return DDPM(config.image_shape, config.features, **sizes)
    return NCSNpp(
        config.image_shape,
        config.features,
        embedding=config.embedding,
        block=config.block,
        fir=config.fir,
        progressive_input=config.progressive_input,
        progressive=config.progressive,
        progressive_combine=config.progressive_combine,
        skip_rescale=config.skip_rescale,
        **sizes,
    )
