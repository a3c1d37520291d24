"""The noise of a run: its stochastic differential equation, or its ladder of noise levels."""

from collections.abc import Callable

import tensorflow as tf

from ncsn_tf.sampling.routes import SdeRoute
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.schedule.sde import SDE, VE, VP, LadderScore, SubVP, score_fn_of
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.third_rules import is_third

__all__ = [
    "equation_of",
    "flow_is_continuous",
    "flow_route",
    "is_third",
    "ladder_of",
    "score_on_ladder",
]

_LAST_SIGMA = 0.01  # of a ladder that no setting ends, in units of images from 0 to 1


def equation_of(config: Config) -> SDE | None:
    """The equation of a run of the third generation; None for the first two.

    Example:
        >>> equation_of(Config(model="ncsnpp", sigma_begin=50.0, num_levels=1000)).prior_std
        50.0
        >>> equation_of(Config()) is None
        True
    """
    if not is_third(config):
        return None
    if config.sde == "ve":
        return VE(config.sigma_end, config.sigma_begin, config.num_levels)
    kind = SubVP if config.sde == "subvp" else VP
    return kind(config.beta_min, config.beta_max, config.num_levels)


def flow_route(config: Config, epsilon: float) -> tf.Tensor | SdeRoute:
    """The way from noise to images of a run's probability flow, for likelihoods.

    Args:
        config: the run's settings.
        epsilon: the time of images, of an equation; see `flow_is_continuous`.

    Returns:
        the ladder, float32 [L], of the first two generations; the route of the equation, which
        calls the network itself, of the third.
    """
    equation = equation_of(config)
    if equation is None:
        return ladder_of(config)
    return SdeRoute(equation, epsilon, flow_is_continuous(config), config.centered)


def flow_is_continuous(config: Config) -> bool:
    """Whether the probability flow asks the network at all times.

    Networks of VP's 1000 discrete steps are asked so too, as in the released code: 999 t is their
    label at any time, and without steps in the score a solver needs fewer evaluations.
    """
    return config.continuous or (config.sde == "vp" and config.num_levels == 1000)


def ladder_of(config: Config) -> tf.Tensor:
    """The noise levels of a run, falling, in units of images from 0 to 1: float32 [L].

    For VE those of the equation; those of a network that sees images from -1 to 1, twice the
    units, are halved. An image under noise of VP or sub-VP is m(t) times one under noise of
    std(t) / m(t): that falls geometrically, as VE's does, from t = 1 to 0.01. With beta_max = 20
    the first is 76. (At t = 0.001 sub-VP's is 0.00006, less than a tenth of a grey level: Langevin
    dynamics of such levels would go nowhere.)

    Example:
        >>> config = Config(model="ddpmpp", num_levels=1000)
        >>> print(ladder_of(config).numpy()[[0, -1]].round(2))
        [7.608e+01 1.000e-02]
    """
    equation = equation_of(config)
    if equation is None:
        return geometric_sigmas(config.sigma_begin, config.sigma_end, config.num_levels)
    unit = 2.0 if config.centered else 1.0
    if isinstance(equation, VE):
        return tf.constant(equation.levels / unit)
    with tf.init_scope():  # known also where a graph is being made
        first = float((equation.std(1.0) / equation.mean_scale(1.0))[0]) / unit
    return geometric_sigmas(first, min(_LAST_SIGMA, 0.01 * first), config.num_levels)


def score_on_ladder(network: Callable, config: Config) -> Callable:
    """The score (x [B, H, W, C], levels int32 [B]) on the run's ladder, of its network.

    For the first two generations the network itself. For the third a `LadderScore`, of images from
    0 to 1, whatever the network sees; its `at_sigma` has the score between levels.

    Args:
        network: of the run, or what stands for it with its weights read, see `read_weights`.
        config: the run's settings.
    """
    equation = equation_of(config)
    if equation is None:
        return network
    score_fn = score_fn_of(network, equation, config.continuous)
    return LadderScore(score_fn, equation, ladder_of(config), config.centered)
