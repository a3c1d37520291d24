"""The progress of a run: on the terminal, and as TensorBoard's curves and pictures."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ncsn_tf.errors import UserError, warn
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.third_rules import is_third
from ncsn_tf.training.step import Totals

_MOST_LEVEL_CURVES = 20
_LEVEL_GROUPS = 10
_FIRST_ESTIMATE = 20.0  # seconds of steps before the time that is left is said
_LONG = 7 * 24 * 3600.0  # seconds, for a CPU
FOLDER = "tensorboard"


def open_writer(folder: str | os.PathLike) -> tf.summary.SummaryWriter:
    """A writer of TensorBoard's files.

    Raises:
        UserError: the folder cannot be written.
    """
    with writable(folder):
        writer = tf.summary.create_file_writer(str(folder))
        with writer.as_default(step=0):
            writer.flush()  # the file is opened here, and not at some later step
    return writer


@contextlib.contextmanager
def writable(folder: str | os.PathLike) -> Iterator[None]:
    """What TensorFlow raises where curves cannot be written, as one line: a UserError."""
    try:
        yield
    except tf.errors.OpError as error:
        cause = (error.message.strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"the curves in {folder} cannot be written: {cause}") from None


class Reporter:
    """Progress to the terminal and scalars to TensorBoard.

    A bar on a terminal, plain lines elsewhere.

    Args:
        config: the run's `Config`.
        totals: the training step's `Totals`.
        writer: a `tf.summary` writer.
        first_step: where this session starts.
        on_cpu: whether it computes on a CPU, for the hint where that takes weeks.
        clock: seconds, for the speed; tests give their own.
    """

    def __init__(
        self,
        config: Config,
        totals: Totals,
        writer: tf.summary.SummaryWriter,
        first_step: int,
        on_cpu: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.config = config
        self.totals = totals
        self.writer = writer
        self.clock = clock
        self.on_cpu = on_cpu
        self.last = (first_step, clock())
        self._step = first_step
        self._began = None  # (step, time) once the first step is done
        self._has_estimated = self._has_reported = False
        self.interactive = sys.stderr.isatty()
        self.bar = tqdm(
            total=config.num_steps,
            initial=first_step,
            unit="step",
            disable=not self.interactive,
            dynamic_ncols=True,
            smoothing=0.1,
        )

    def say(self, text: str) -> None:
        """One line, above the bar if there is one."""
        if self.interactive:
            self.bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def advance(self, count: int = 1) -> None:
        """Move the bar by so many steps; soon after the first, say once how long it will take."""
        self.bar.update(count)
        self._step += count
        if self._began is None or self._has_estimated:
            return
        steps, seconds = self._step - self._began[0], self.clock() - self._began[1]
        if steps and seconds >= _FIRST_ESTIMATE:
            self._has_estimated = True
            self._estimate(seconds / steps)

    def _estimate(self, pace):
        remaining = pace * (self.config.num_steps - self._step)
        is_long = self.on_cpu and remaining >= _LONG
        if self._has_reported and not is_long:
            return
        hint = (
            ": long for a CPU; less work are fewer --features, a smaller --image_size or fewer "
            "--num_steps, and a GPU is some hundred times as fast (docs/performance.md)"
        )
        self.say(f"about {format_time(remaining)} left at {pace:.2g} s a step{hint * is_long}")

    def restart_clock(self, step: int) -> None:
        """Leave what has happened since the last report (compilation, say) out of the speed."""
        self.last = (step, self.clock())
        self._began = self._began or self.last

    def report(self, step: int) -> None:
        """Means since the last report."""
        self._has_reported = True
        loss, norm, levels = self.totals.report()
        now = self.clock()
        last_step, last_time = self.last
        speed = (step - last_step) / max(now - last_time, 1e-9)
        self.last = (step, now)
        scalars = {"train/loss": loss, "train/gradient_norm": norm}
        scalars |= self._by_noise(levels)
        if step > last_step:
            scalars["train/examples_per_second"] = speed * self.config.batch_size
        self.write(step, scalars)
        shown = "no finite step" if loss is None else show_loss(loss, self.config)
        self.bar.set_postfix_str(f"loss {shown}")
        if not self.interactive:
            remaining = (self.config.num_steps - step) / speed if speed else float("inf")
            self.say(
                f"step {step} of {self.config.num_steps}  loss {shown}  {speed:.2f} steps/s  "
                f"{format_time(remaining)} left"
            )

    def _by_noise(self, losses):
        """Curves of the losses by how much noise there was."""
        if not is_third(self.config):
            return level_scalars(losses)
        # The labels of levels fall from the largest; the steps of all else rise with time.
        is_falling = self.config.sde == "ve" and not self.config.continuous
        return time_scalars(losses[::-1] if is_falling else losses)

    def write(self, step: int, scalars: dict[str, float | None]) -> None:
        """Points of TensorBoard's curves; None is left out."""
        with self._writing(step):
            for name, value in scalars.items():
                if value is not None:
                    tf.summary.scalar(name, value)

    def write_picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """A picture for TensorBoard, uint8 [height, width, C]."""
        with self._writing(step):
            tf.summary.image(name, picture[None])

    def close(self) -> None:
        """Leave the terminal, and end TensorBoard's file: whatever ended the run is not hidden."""
        self.bar.close()
        try:
            self.writer.close()
        except tf.errors.OpError as error:
            warn(f"the end of the curves could not be written: {error.message}")

    @contextlib.contextmanager
    def _writing(self, step):
        folder = self.config.run_dir / FOLDER
        with writable(folder), self.writer.as_default(step=step):
            yield


class Unheard:
    """The reporter of a worker whose chief tells of the progress of all."""

    def say(self, text: str) -> None:
        """One line on stderr."""
        print(text, file=sys.stderr, flush=True)

    def advance(self, count: int = 1) -> None:
        """The chief moves its bar."""

    def restart_clock(self, step: int) -> None:
        """The chief has a clock."""

    def close(self) -> None:
        """Nothing is open."""


def level_scalars(losses: Sequence[float | None]) -> dict[str, float | None]:
    """A curve for each noise level; of more than 20 levels, ten curves, each the mean of a tenth.

    Args:
        losses: [L], None for a level that was not seen.

    Example:
        >>> level_scalars([3.0, None])
        {'train/loss_level_1': 3.0, 'train/loss_level_2': None}
    """
    if len(losses) <= _MOST_LEVEL_CURVES:
        return {f"train/loss_level_{i}": value for i, value in enumerate(losses, 1)}
    scalars = {}
    for part in np.array_split(np.arange(len(losses)), _LEVEL_GROUPS):
        seen = [losses[i] for i in part if losses[i] is not None]
        name = f"train/loss_levels_{part[0] + 1:04d}_to_{part[-1] + 1:04d}"
        scalars[name] = float(np.mean(seen)) if seen else None
    return scalars


def show_loss(loss: float, config: Config) -> str:
    """A loss in words: with more digits where it is a mean over an image's numbers, near 1.

    Example:
        >>> of_vp = Config(model="ddpmpp", continuous=True)
        >>> show_loss(123.456, Config()), show_loss(0.98765, of_vp)
        ('123.5', '0.9877')
    """
    return f"{loss:.{4 if config.reduce_mean is True else 1}f}"


def time_scalars(losses: Sequence[float | None]) -> dict[str, float | None]:
    """A curve for each tenth of the times of an equation: the mean of its steps, each the mean of
    its examples.

    Args:
        losses: [N] of the steps from t = 0 to t = 1, None for one that was not seen. Of fewer than
            ten steps each has its curve.

    Example:
        >>> time_scalars([3.0, None])
        {'train/loss_t_0.00_to_0.50': 3.0, 'train/loss_t_0.50_to_1.00': None}
    """
    scalars, count = {}, len(losses)
    for part in np.array_split(np.arange(count), min(count, _LEVEL_GROUPS)):
        seen = [losses[i] for i in part if losses[i] is not None]
        name = f"train/loss_t_{part[0] / count:.2f}_to_{(part[-1] + 1) / count:.2f}"
        scalars[name] = float(np.mean(seen)) if seen else None
    return scalars


def format_time(seconds: float) -> str:
    """Seconds as 59s, 12m34s, 5h06m, and from two days on as 4d05h.

    Example:
        >>> format_time(754)
        '12m34s'
    """
    if not np.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24}d{hours % 24:02d}h"
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"
