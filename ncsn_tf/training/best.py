"""Training keeps the checkpoint of the best figure of quality apart from the last ones."""

import math
import time
from collections.abc import Callable
from typing import Protocol

import keras

from ncsn_tf.errors import UserError, warn
from ncsn_tf.settings.config import Config
from ncsn_tf.training import best_files, checkpoint_reading
from ncsn_tf.training.best_files import Measured
from ncsn_tf.training.reporter import Reporter, format_time
from ncsn_tf.training.state import TrainingState


class Metric(Protocol):
    """Computes a figure of a network's quality. It draws no random numbers that training draws."""

    def open(self, config: Config) -> None:
        """Get ready; called once, before the first step.

        Args:
            config: the run's `Config` as it is trained, with the classes of its data.

        Raises:
            UserError: it cannot be computed here.
        """

    def __call__(self, network: keras.Model, step: int) -> Measured:
        """The figure of a network that was trained for so many steps.

        Raises:
            signals.Interrupted: an end was asked for meanwhile.
        """


class MetricOf:
    """The `Metric` of a function (network, config) -> number, of which the lower is the better."""

    def __init__(self, measure: Callable[[keras.Model, Config], float]):
        self._measure = measure
        self._config: Config | None = None
        self._name = getattr(measure, "__name__", type(measure).__name__)

    def open(self, config: Config) -> None:
        """See `Metric`."""
        self._config = config

    def __call__(self, network: keras.Model, step: int) -> Measured:
        """See `Metric`."""
        return Measured(self._name, float(self._measure(network, self._config)), True, {})


class KeepBest:
    """Measures the evaluation network, tells of the figure, and keeps the checkpoint if it is best.

    A resumed run knows the best figure so far. That of another metric counts for nothing: the
    checkpoint stays until there is a figure of this one.

    Args:
        state, config, reporter: those of the run.
        metric: what is computed.
        save_best: writes the step at hand as the best checkpoint, of the figure it is given.
    """

    def __init__(
        self,
        state: TrainingState,
        config: Config,
        reporter: Reporter,
        metric: Metric,
        save_best: Callable[[Measured], None],
    ):
        self.state, self.config, self.reporter = state, config, reporter
        self.metric = metric
        self.save_best = save_best
        self.best = _best_so_far(config.run_dir)

    def __call__(self, step: int) -> None:
        started = time.perf_counter()
        self.state.refresh_average()
        figure = self.metric(self.state.evaluation_network, step)
        is_there = math.isfinite(figure.value)
        if is_there and self.best is not None and not figure.is_like(self.best):
            self.reporter.say(
                f"the best checkpoint so far was chosen by another figure, {self.best.name}: "
                "the choice begins anew"
            )
            self.best = None
        shown = f"{figure.value:.4g}" if is_there else "cannot be had yet, the chains diverge"
        note = ""
        if figure.is_better_than(self.best):
            self.save_best(figure)
            self.best = figure
            note = ", the best so far"
        elif self.best is not None:
            note = f", the best so far is {self.best.value:.4g}"
        if is_there:
            self.reporter.write(step, {f"quality/{figure.name}": figure.value})
        took = format_time(time.perf_counter() - started)
        self.reporter.say(
            f"step {step} of {self.config.num_steps}  {figure.name} {shown}{note} ({took})"
        )
        self.reporter.restart_clock(step)


def _best_so_far(run_dir):
    """The figure of the best checkpoint; None without any. One that is damaged is set aside."""
    path = best_files.path_of(run_dir)
    if path is None:
        return None
    cause = checkpoint_reading.damage(path)
    if cause is None:
        try:
            return best_files.read_figure(path)
        except UserError as error:
            cause = str(error)
    new = checkpoint_reading.rename_damaged(path)
    warn(f"the best checkpoint {path} is damaged ({cause}): set aside as {new}, another is chosen")
    return None
