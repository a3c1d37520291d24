"""What happens every so many steps of training: reports, test loss, sample grids."""

import contextlib
import sys
import time

import numpy as np
import tensorflow as tf

from ncsn_tf import images
from ncsn_tf.data import evaluation_batches
from ncsn_tf.objectives import objective_loss
from ncsn_tf.sampler import Sampler
from ncsn_tf.sampling import in_tiles
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.step import corrupt

_MOST_LEVEL_CURVES = 20
_LEVEL_GROUPS = 10


class Every:
    """Calls action(step) at every multiple of `interval`, and at the last step; 0 is never."""

    def __init__(self, interval, action):
        self.interval = interval
        self.action = action

    def is_due(self, step, is_last):
        return bool(self.interval) and (is_last or step % self.interval == 0)


class Reporter:
    """Progress to the terminal and scalars to TensorBoard.

    A bar on a terminal, plain lines elsewhere.

    Args:
        config: the run's `Config`.
        totals: the training step's `Totals`.
        writer: a `tf.summary` writer.
        first_step: where this session starts.
        clock: seconds, for the speed; tests give their own.
    """

    def __init__(self, config, totals, writer, first_step, clock=time.perf_counter):
        from tqdm import tqdm

        self.config = config
        self.totals = totals
        self.writer = writer
        self.clock = clock
        self.last = (first_step, clock())
        self.interactive = sys.stderr.isatty()
        self.bar = tqdm(
            total=config.num_steps,
            initial=first_step,
            unit="step",
            disable=not self.interactive,
            dynamic_ncols=True,
            smoothing=0.1,
        )

    def say(self, text):
        """One line, above the bar if there is one."""
        self.bar.write(text, file=sys.stderr) if self.interactive else print(
            text, file=sys.stderr, flush=True
        )

    def advance(self, count=1):
        self.bar.update(count)

    def restart_clock(self, step):
        """Leave what has happened since the last report (compilation, say) out of the speed."""
        self.last = (step, self.clock())

    def report(self, step):
        """Means since the last report."""
        loss, norm, levels = self.totals.report()
        now = self.clock()
        last_step, last_time = self.last
        speed = (step - last_step) / max(now - last_time, 1e-9)
        self.last = (step, now)
        scalars = {"train/loss": loss, "train/gradient_norm": norm}
        scalars |= level_scalars(levels)
        if step > last_step:
            scalars["train/examples_per_second"] = speed * self.config.batch_size
        self.write(step, scalars)
        shown = "no finite step" if loss is None else f"{loss:.1f}"
        self.bar.set_postfix_str(f"loss {shown}")
        if not self.interactive:
            remaining = (self.config.num_steps - step) / speed if speed else float("inf")
            self.say(
                f"step {step} of {self.config.num_steps}  loss {shown}  {speed:.2f} steps/s  "
                f"{format_time(remaining)} left"
            )

    def write(self, step, scalars):
        with self.writer.as_default(step=step):
            for name, value in scalars.items():
                if value is not None:
                    tf.summary.scalar(name, value)

    def write_picture(self, step, name, picture):
        with self.writer.as_default(step=step):
            tf.summary.image(name, picture[None])

    def close(self):
        self.bar.close()
        self.writer.close()


def level_scalars(losses):
    """A curve for each noise level; of more than 20 levels, ten curves, each the mean of a tenth.

    Args:
        losses: [L], None for a level that was not seen.
    """
    if len(losses) <= _MOST_LEVEL_CURVES:
        return {f"train/loss_level_{i}": value for i, value in enumerate(losses, 1)}
    scalars = {}
    for part in np.array_split(np.arange(len(losses)), _LEVEL_GROUPS):
        seen = [losses[i] for i in part if losses[i] is not None]
        name = f"train/loss_levels_{part[0] + 1:04d}_to_{part[-1] + 1:04d}"
        scalars[name] = float(np.mean(seen)) if seen else None
    return scalars


class TestLoss:
    """The run's objective on test images, with the same noise every time.

    The noise is addressed by the complement of the run's seed: training never draws it.
    """

    __test__ = False  # not a test case, whatever its name says to a test runner

    def __init__(self, network, source, config):
        self.network = network
        self.config = config
        self.sigmas = geometric_sigmas(config.sigma_begin, config.sigma_end, config.num_levels)
        self.batches = list(
            evaluation_batches(
                source, batch_size=config.batch_size, num_batches=config.eval_batches
            ).as_numpy_iterator()
        )
        self._mean_loss = tf.function(self._batch_loss, autograph=False)

    def compute(self):
        """Mean loss over the test batches."""
        values = [
            self._mean_loss(tf.constant(batch), tf.constant(index, tf.int64))
            for index, batch in enumerate(self.batches)
        ]
        return float(np.mean([value.numpy() for value in values]))

    def _batch_loss(self, batch, index):
        config, size = self.config, batch.shape[0]

        def losses(images, positions):
            seeds = tf.fill(tf.shape(positions), tf.constant(~config.seed, tf.int64))
            counters = (positions, index)
            images, labels, noise = corrupt(images, seeds, counters, config)
            return objective_loss(
                self.network, images, labels, noise, self.sigmas, seeds, counters, config
            )

        tile = config.tile_of(size, on_cpu=not tf.config.list_logical_devices("GPU"))
        return tf.reduce_mean(in_tiles(losses, tile, batch, tf.range(size)))


class SampleGrid:
    """Draws the same seeds each time and writes them as one PNG."""

    def __init__(self, network, config):
        self.sampler = Sampler(network, config)
        self.folder = config.run_dir / "samples"
        self.seeds = np.arange(config.num_sample_images)

    def draw(self, step):
        """The grid, uint8 [height, width, C], written to samples/step-<step>.png."""
        samples = images.to_uint8(self.sampler.draw(self.seeds))
        images.save_grid(self.folder / f"step-{step:07d}.png", samples)
        return images.grid(samples)


def format_time(seconds):
    """Seconds as 59s, 12m34s or 5h06m."""
    if not np.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"


@contextlib.contextmanager
def deferred_signals(on_request):
    """SIGINT and SIGTERM ask for an end, once, by calling on_request; the second one kills."""
    import signal

    numbers = (signal.SIGINT, signal.SIGTERM)

    def handle(number, _frame):
        for either in numbers:
            signal.signal(either, signal.SIG_DFL)
        on_request(signal.Signals(number).name)

    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
