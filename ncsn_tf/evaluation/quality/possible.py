"""Which metrics can be had of samples, by a network, against what: said before any work."""

from collections.abc import Sequence

from ncsn_tf.backend.choices import QUALITY_METRICS
from ncsn_tf.errors import ConfigError, UserError, inform
from ncsn_tf.evaluation.features import FeatureNetwork
from ncsn_tf.evaluation.quality.asked import Asked, unclassifiable
from ncsn_tf.evaluation.quality.figures import PAIRED, too_few
from ncsn_tf.evaluation.quality.names import OF_PROBABILITIES
from ncsn_tf.evaluation.quality.sides import Drawn, Given, Real


def asked_of(metrics: Sequence[str] | None, samples: Drawn | Given) -> Asked | str:
    """The classes that samples were asked to be of, or why "accuracy" cannot be had of them.

    Args:
        metrics: None is all that can be had; else nothing is looked for if accuracy is not of them.
        samples: the first seed range.

    Raises:
        ConfigError: accuracy is named, and there are no classes.
    """
    if metrics is not None and "accuracy" not in metrics:
        return "is not wanted"
    try:
        return samples.asked()
    except UserError as error:
        why = f"needs labels of the samples: {error}"
        if metrics is not None:
            raise ConfigError(f"--metrics=accuracy {why}") from None
        return why


def possible(
    metrics: Sequence[str] | None,
    network: FeatureNetwork,
    num_samples: int,
    real: Real,
    asked: Asked | str,
) -> list[str]:
    """The metrics that can be had; of the whole list the others are said.

    Args:
        metrics: of `QUALITY_METRICS`; None is all that can be had.
        network: the feature network.
        num_samples: of each seed range.
        real: what samples are compared with.
        asked: of `asked_of`.

    Raises:
        ConfigError: one that is named cannot be had.
        UserError: nothing can be had.
    """
    missing = {}
    for name in QUALITY_METRICS:
        why = _why_not(name, network, num_samples, real, asked)
        if why:
            missing[name] = why
    if metrics is None:
        for name, why in missing.items():
            inform(f"{name} left out: it {why}")
        metrics = [name for name in QUALITY_METRICS if name not in missing]
        if not metrics:
            raise UserError(f"nothing can be measured of {num_samples} samples")
    for name in metrics:
        if name in missing:
            raise ConfigError(f"--metrics={name} {missing[name]}")
    return list(metrics)


def _why_not(name, network, num_samples, real, asked):
    """Why a metric cannot be had, in words; "" where it can."""
    if name == "is" and not network.num_classes:
        return f"needs probabilities, which {network.name} does not give: take a classifier"
    if name == "accuracy":
        if isinstance(asked, str):
            return asked
        return unclassifiable(asked, network.name, network.num_classes)
    if name in PAIRED and real.is_moments:
        return "needs images, and --reference has mean and covariance only"
    numbers = [(num_samples, "samples")]
    numbers += [(real.count, "images to compare with")] if name not in OF_PROBABILITIES else []
    return too_few(name, numbers)
