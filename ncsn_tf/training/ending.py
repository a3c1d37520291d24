"""The end of a run that a signal asks for: the step is saved, whatever the run is doing."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from ncsn_tf.backend import signals
from ncsn_tf.training.resume import RunCheckpoints


class Ending:
    """Saves the step at hand and says so, once a signal has asked for it.

    Between steps, a run whose test loss or sample grid does not come to its own end in time is
    saved by the thread that watches signals. A step cannot be saved before it is done: if it
    takes too long, the newest checkpoint is what stays.

    Args:
        checkpoints: the run's `RunCheckpoints`.
        say: takes the line for the user.
        first_step: where the run starts or resumes.

    Attributes:
        step: the finished step, which the variables hold; None while another one is made.
    """

    def __init__(self, checkpoints: RunCheckpoints, say: Callable[[str], None], first_step: int):
        self._checkpoints = checkpoints
        self._say = say
        self._first_step = self._saved_step = first_step
        self._lock = threading.Lock()  # one writer of checkpoints
        self.step: int | None = None

    def deferred(self) -> contextlib.AbstractContextManager[None]:
        """Around the loop: a signal waits for a place where the step can be saved."""
        return signals.deferred(self._on_overdue)

    @contextlib.contextmanager
    def making_step(self, step: int) -> Iterator[None]:
        """Around the call that makes the step or steps after `step`.

        The first call compiles: there is nothing yet that an end could lose, so it is not awaited.
        """
        self.step = None
        with signals.raising() if step == self._first_step else contextlib.nullcontext():
            yield

    def save(self, step: int) -> None:
        """Write a checkpoint of this step, unless it exists."""
        with self._lock:
            self._checkpoints.save()
            self._saved_step = step

    def save_and_say(self, step: int) -> None:
        """The end: the last checkpoint, and the line that tells of it."""
        self.save(step)
        self._say(self._line(signals.asked(), step))
        signals.settle()

    def _line(self, name, step):
        return f"{name}: saved step {step}; the same command resumes"

    def _on_overdue(self, name):
        """See `signals.deferred`."""
        if not self._lock.acquire(blocking=False):
            return None  # the main thread writes a checkpoint, and ends then
        step = self.step
        if step is None:
            return (
                f"{name}: the step at hand takes too long to wait for; step {self._saved_step} is "
                "saved; the same command resumes"
            )
        # The main thread is within a test loss or a grid, which change no variable of training. The
        # lock is kept: the process ends.
        try:
            self._checkpoints.save()
        except Exception as error:  # whatever it is, the main thread must not wait for this one
            raise signals.Interrupted(f"error: {error}", 1) from None
        raise signals.Interrupted(self._line(name, step), 0)
