"""Networks measured one after the other, by the same feature network, images and seeds."""

import dataclasses
import time
from collections.abc import Callable, Sequence

from ncsn_tf.errors import ConfigError
from ncsn_tf.evaluation.features import open_features
from ncsn_tf.evaluation.quality.asked import of_seeds, unclassifiable
from ncsn_tf.evaluation.quality.figure import HIGHER_IS_BETTER, Figure
from ncsn_tf.evaluation.quality.figures import too_few
from ncsn_tf.evaluation.quality.online import draw_and_measure
from ncsn_tf.evaluation.quality.sets import PAIRS
from ncsn_tf.evaluation.quality.sides import Real
from ncsn_tf.sampling.sampler import Sampler
from ncsn_tf.settings.class_flags import GUIDANCE, looked_at
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.labels import EACH
from ncsn_tf.training.best_files import Measured

_NOT_DECIDING = ("value", "spread", "step", "ranges", "details", "time", "name")


class Bench:
    """Draws and measures samples of networks.

    Args:
        config: a run's `Config`: its images are what is compared with.
        metrics: see `figures_of`; the first one decides what is best.
        num_samples: how many are drawn of each network.
        seed: of the first sample; sample i has seed + i, of every network.
        features, inception: see `open_features`.
        split, num_images: see `reference_of`.
        batch_size: images at a time; changes none.
        label, guidance: the classes that are drawn, see `class_flags.looked_at`; images are
            compared with those of the same classes.

    Attributes:
        labels: the classes that are drawn; None of a run that knows none.

    Raises:
        ConfigError: no such feature network, a metric that it does not give, or classes that the
            run does not have.
        UserError: the feature network or the data cannot be had.
    """

    def __init__(
        self,
        config: Config,
        metrics: Sequence[str],
        num_samples: int,
        *,
        seed: int = 0,
        features: str = "train",
        inception: str = "",
        split: str = "train",
        num_images: int = 0,
        batch_size: int = 64,
        label: str = EACH,
        guidance: float = GUIDANCE,
    ):
        self.labels = looked_at(label, guidance, config.class_names)
        if "accuracy" in metrics and self.labels is None:
            raise ConfigError(
                "accuracy needs labels of the samples: they are of a network that knows no classes"
            )
        self.metrics = tuple(metrics)
        self.num_samples = num_samples
        self.seed = seed
        self.features = open_features(features, inception=inception, config=config)
        for metric in metrics:
            if metric == "is" and not self.features.num_classes:
                raise ConfigError(
                    f"is needs probabilities, which {self.features.name} does not give: take a "
                    "classifier as feature network"
                )
            if metric == "accuracy":
                classes = of_seeds(self.labels, range(num_samples))
                why = unclassifiable(classes, self.features.name, self.features.num_classes)
                if why:
                    raise ConfigError(f"accuracy {why}")
            why = too_few(metric, [(num_samples, "samples")])
            if why:
                raise ConfigError(f"{metric} {why}")
        real = Real(config, "", split, num_images, () if self.labels is None else self.labels.some)
        self.reference = real.features(self.features, PAIRS, config.cache_dir)
        self._batch_size = batch_size

    def about(self) -> dict[str, object]:
        """What decides the figures besides network and chain, as JSON can hold it."""
        classes = {}
        if self.labels is not None and not self.labels.are_each:
            classes["labels"] = list(self.labels.classes)
        if self.labels is not None and self.labels.guidance != GUIDANCE:
            classes["guidance"] = self.labels.guidance
        return {
            **classes,
            "metrics": list(self.metrics),
            "num_samples": self.num_samples,
            "seed": self.seed,
            "features": self.features.name,
            "checksum": self.features.checksum,
            "resize": self.features.resize,
            "reference": self.reference.label,
            "num_reference": self.reference.count,
        }

    def __call__(
        self,
        network: Callable,
        config: Config,
        step: int,
        is_average: bool,
        sampler: Sampler | None = None,
        guidance: float | None = None,
    ) -> list[Figure]:
        """The figures of a network, in the order of the metrics.

        Args:
            network: the score network.
            config: its run's `Config`, with the chain's settings.
            step: training steps done.
            is_average: whether its weights are an average.
            sampler: the sampler of both, where there is one already.
            guidance: another one than that of `labels`.

        Raises:
            DivergedError: the chains diverged.
        """
        labels = self.labels
        if guidance is not None:
            labels = dataclasses.replace(labels, guidance=guidance)
        found = draw_and_measure(
            network,
            config,
            self.features,
            self.reference,
            self.metrics,
            self.num_samples,
            self.seed,
            self._batch_size,
            sampler,
            labels,
        )
        known = {"step": step, "weights": "average" if is_average else "raw"}
        known["time"] = time.strftime("%Y-%m-%d %H:%M:%S")
        return [dataclasses.replace(found[metric], **known) for metric in self.metrics]


def measured(figure: Figure) -> Measured:
    """A figure as the one by which a checkpoint is chosen.

    Example:
        >>> figure = Figure("FID-5k", "fid", 12.5, num_samples=5000, step=10)
        >>> measured(figure).value, measured(figure).is_lower_better
        (12.5, True)
    """
    about = {name: value for name, value in figure.to_dict().items() if name not in _NOT_DECIDING}
    return Measured(figure.name, figure.value, figure.metric not in HIGHER_IS_BETTER, about)
