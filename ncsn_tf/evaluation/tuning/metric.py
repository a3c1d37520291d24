"""The figure of quality that training computes every so many steps: `train.py --metric_every`."""

import math

import keras

from ncsn_tf.errors import ConfigError
from ncsn_tf.evaluation.quality.figure import HIGHER_IS_BETTER
from ncsn_tf.evaluation.quality.history import append
from ncsn_tf.evaluation.quality.online import DivergedError
from ncsn_tf.evaluation.tuning.bench import Bench, measured
from ncsn_tf.settings.config import Config
from ncsn_tf.training.best_files import Measured
from ncsn_tf.training.run_sampler import chain_of, sampler_of

_FLAGS = {"--features": "--metric_features", "--metrics": "--metric"}


class TrainingMetric:
    """The `training.best.Metric` that a run's settings describe.

    Samples are drawn with the run's chain from the seeds 0, 1, ..., the same at each step, and
    compared with the training images. Figures go to metrics.jsonl in the run's folder.
    """

    def __init__(self) -> None:
        self._config: Config | None = None
        self._bench = self._sampler = None

    def open(self, config: Config) -> None:
        """Open the feature network and the images that are compared with.

        Args:
            config: the run's `Config` as it is trained, with the classes of its data, `metric`,
                `metric_samples` and `metric_features`.

        Raises:
            ConfigError: the run's chain cannot draw, or the feature network does not give the
                metric.
            UserError: the feature network or the data cannot be had.
        """
        self._config = config
        chain_of(config)
        try:
            self._bench = Bench(
                config,
                [config.metric],
                config.metric_samples,
                features=config.metric_features,
                inception=config.inception,
            )
        except ConfigError as error:
            line = str(error)
            for theirs, ours in _FLAGS.items():
                line = line.replace(f"{theirs}=", f"{ours}=")
            raise ConfigError(line) from None

    def __call__(self, network: keras.Model, step: int) -> Measured:
        """The figure of the network; not a number where its chains diverge, as early ones do.

        Raises:
            UserError: metrics.jsonl cannot be written.
        """
        config = self._config
        if self._sampler is None:
            self._sampler = sampler_of(network, config)
        is_average = config.ema_decay > 0
        try:
            figures = self._bench(network, config, step, is_average, self._sampler)
        except DivergedError:
            return Measured(config.metric, math.nan, config.metric not in HIGHER_IS_BETTER, {})
        append(config.run_dir, figures)
        return measured(figures[0])
