"""The end of a run that a signal asks for: the step is saved, whatever the run is doing."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from ncsn_tf.backend import signals
from ncsn_tf.backend.outcomes import ASKED, NOTE, leave_note
from ncsn_tf.training.best_files import Measured
from ncsn_tf.training.resume import RunCheckpoints
from ncsn_tf.training.workers import Workers


class Ending:
    """Saves the step at hand and says so, once a signal has asked for it.

    Between steps, a run whose test loss or sample grid does not come to its own end in time is
    saved by the thread that watches signals. A step cannot be saved before it is done: if it
    takes too long, the newest checkpoint is what stays.

    Args:
        checkpoints: the run's `RunCheckpoints`.
        say: takes the line for the user.
        first_step: where the run starts or resumes.
        is_saved: whether there is a checkpoint of that step.
        workers: of which the chief alone writes checkpoints.

    Attributes:
        step: the finished step, which the variables hold; None while another one is made.
    """

    def __init__(
        self,
        checkpoints: RunCheckpoints,
        say: Callable[[str], None],
        first_step: int,
        is_saved: bool,
        workers: Workers,
    ):
        self._workers = workers
        self._checkpoints = checkpoints
        self._say = say
        self._first_step = first_step
        self._saved_step = first_step if is_saved else None
        self._note = checkpoints.config.run_dir / NOTE
        self._lock = threading.Lock()  # one writer of checkpoints
        self.step: int | None = None

    def deferred(self) -> contextlib.AbstractContextManager[None]:
        """Around the loop: a signal waits for a place where the step can be saved."""
        elsewhere = None
        if self._workers.count > 1 and self._workers.is_chief:
            self._note.unlink(missing_ok=True)
            elsewhere = self._note.exists
        return signals.deferred(self._on_overdue, elsewhere)

    @contextlib.contextmanager
    def until_made(self, step: int) -> Iterator[None]:
        """Around what comes before the first step: an end raises, for there is nothing to save.

        The first batch may be long in coming, and the first call compiles. After the first step,
        nothing happens here.
        """
        if step != self._first_step:
            yield
            return
        with signals.raising():
            signals.check()  # it may have been asked for just before
            yield

    @contextlib.contextmanager
    def making_step(self, step: int) -> Iterator[None]:
        """Around the call that makes the step or steps after `step`."""
        self.step = None
        with self.until_made(step):
            yield

    def save(self, step: int) -> None:
        """Write a checkpoint of this step, unless it exists."""
        with self._lock:
            if self._workers.is_chief:
                self._checkpoints.save()
            self._saved_step = step

    def save_averages(self, step: int) -> None:
        """Write a snapshot of the averages of `--ema_power` at this step, on the chief."""
        with self._lock:
            if self._workers.is_chief:
                self._checkpoints.save_averages()

    def save_best(self, figure: Measured) -> None:
        """Write the step at hand as the best checkpoint, on the chief."""
        with self._lock:
            self._checkpoints.save_best(figure)

    def save_and_say(self, step: int) -> None:
        """The end: the last checkpoint, and the line that tells of it."""
        self.save(step)
        self._workers.wait()  # for the checkpoint, before anybody leaves
        if self._workers.is_chief:
            self._note.unlink(missing_ok=True)
        self._say(self._line(signals.asked() or ASKED, step))
        signals.settle()

    def _line(self, name, step):
        return f"{name}: saved step {step}; the same command resumes"

    def _on_overdue(self, name):
        """See `signals.deferred`."""
        if self._workers.count > 1:
            # All end at the same step: whoever leaves before takes it from the others. The chief
            # may be in a test loss or a grid, where it looks for this note.
            if not self._workers.is_chief:
                leave_note(self._note)
            return None
        if not self._lock.acquire(blocking=False):
            return None  # the main thread writes a checkpoint, and ends then
        step = self.step
        if step is None:
            saved = self._saved_step
            outcome = (
                "no step is saved yet; the same command starts again"
                if saved is None
                else f"step {saved} is saved; the same command resumes"
            )
            return f"{name}: the step at hand takes too long to wait for; {outcome}"
        # The main thread is within a test loss or a grid, which change no variable of training. The
        # lock is kept: the process ends.
        try:
            self._checkpoints.save()
        except Exception as error:  # whatever it is, the main thread must not wait for this one
            raise signals.Interrupted(f"error: {error}", 1) from None
        code = self._checkpoints.config.stopped_code
        raise signals.Interrupted(self._line(name, step), code)
