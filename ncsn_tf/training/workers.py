"""The processes of one training on several machines: what they agree on, and who writes."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, TypeVar

import tensorflow as tf

from ncsn_tf.backend import outcomes, signals
from ncsn_tf.errors import RestartError, UserError
from ncsn_tf.training.resume import RunCheckpoints

# What TensorFlow raises where another worker has gone, depending on what it was just doing.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
# These have other causes too: the message tells.
_MAYBE_LOST = (
    tf.errors.AbortedError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)
_OF_OTHERS = re.compile("collective|task|peer", re.IGNORECASE)

_Result = TypeVar("_Result")


class Workers:
    """The workers of a strategy; one that is alone agrees with itself at no cost.

    All of them call the methods in the same order, and wait for each other in each.

    Args:
        strategy: the distribution strategy.

    Attributes:
        index: which worker this process is.
        count: how many there are.

    Example:
        >>> workers = Workers(tf.distribute.get_strategy())
        >>> workers.count, workers.is_chief, workers.any(True), workers.from_chief(7)
        (1, True, True, 7)
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        resolver = getattr(strategy, "cluster_resolver", None)
        spec = resolver.cluster_spec() if resolver is not None else None
        self.count = spec.num_tasks("worker") if spec else 1
        self.index = resolver.task_id if self.count > 1 else 0
        self._strategy = strategy
        self._sum = tf.function(self._sum_over_workers, autograph=False)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints, curves, pictures and the export."""
        return self.index == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is true for any worker."""
        return bool(flag) if self.count == 1 else self._total(int(bool(flag))) > 0

    def from_chief(self, number: int) -> int:
        """The chief's number; what the others give is not looked at."""
        if self.count == 1:
            return number
        replicas = self._strategy.num_replicas_in_sync // self.count
        return self._total(number if self.is_chief else 0) // replicas

    def of_each(self, number: int) -> list[int]:
        """The number that each worker gives, in their order."""
        if self.count == 1:
            return [number]
        replicas = self._strategy.num_replicas_in_sync // self.count
        own = [number if index == self.index else 0 for index in range(self.count)]
        return [total // replicas for total in self._totals(own)]

    def wait(self) -> None:
        """Return when all workers have come here."""
        self.any(False)

    def by_chief(self, work: Callable[[], _Result]) -> _Result | None:
        """Have the chief do what the others need done; they wait for its end.

        Returns:
            what the work returns; None for the others.

        Raises:
            as `by_all`.
        """
        return self.by_all(work if self.is_chief else lambda: None)

    def by_all(self, work: Callable[[], _Result]) -> _Result:
        """Have each do its part of what all need; they wait for each other.

        Returns:
            what the work returns.

        Raises:
            Exception: what the work raises.
            UserError: for the others, when it raised: they must not start again without end.
        """
        try:
            result = work()
        except Exception as error:
            self.of_each(error.code if isinstance(error, UserError) else 1)
            raise
        for index, code in enumerate(self.of_each(0)):
            if code:
                _stop_with(outcomes.Outcome(index, code))
        return result

    def resume(self, checkpoints: RunCheckpoints) -> bool:
        """Have all workers continue from the checkpoint that the chief finds.

        Returns:
            whether there is one.

        Raises:
            UserError: as `by_chief`.
        """
        resumed = self.by_chief(checkpoints.restore)
        if self.is_chief:
            self.from_chief(int(checkpoints.state.step.numpy()) if resumed else -1)
            return resumed
        step = self.from_chief(-1)
        if step >= 0:
            checkpoints.restore_step(step)
        return step >= 0

    def distribute(self, batches: Callable[..., tf.data.Dataset]) -> Iterable:
        """Global batches, of which each replica of the strategy gets its share, in its place.

        Args:
            batches: called with `shares` and `num_shares` as `data.batches.training_batches`.

        Returns:
            a distributed data set; a worker reads no images but its own.
        """
        if self.count == 1:
            return self._strategy.experimental_distribute_dataset(batches())
        num_shares = self._strategy.num_replicas_in_sync
        here = num_shares // self.count
        shares = range(self.index * here, (self.index + 1) * here)
        return self._strategy.distribute_datasets_from_function(
            lambda _: batches(shares=shares, num_shares=num_shares)
        )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Around work of all: another worker that has gone is one line, and an exit code.

        Raises:
            RestartError: all must be started again.
            UserError: it ended on an error of its own, which would come again.
            signals.Interrupted: it was asked to end where a worker cannot wait for the others.
        """
        try:
            yield
        except (*_LOST, *_MAYBE_LOST) as error:
            is_sure = isinstance(error, _LOST)
            if self.count == 1 or not (is_sure or _OF_OTHERS.search(error.message)):
                raise
            outcome = outcomes.of_others()
            if outcome is not None and outcome.is_asked:
                line = f"{outcomes.ASKED}: nothing was lost; the same command goes on"
                raise signals.Interrupted(line, outcome.code) from None
            if outcome is not None and outcome.is_error:
                _stop_with(outcome)
            first_line = error.message.strip().partition("\n")[0]
            raise RestartError(
                f"worker {self.index} of {self.count} has lost another worker: start all of them "
                "again with the same commands, which resume from the newest checkpoint"
                + ("" if is_sure else f" ({first_line})")
            ) from None

    def _total(self, number):
        return int(self._sum(tf.constant(number, tf.int64)).numpy())

    def _totals(self, numbers):
        return self._sum(tf.constant(numbers, tf.int64)).numpy().tolist()

    def _sum_over_workers(self, number):
        each = self._strategy.run(lambda: tf.identity(number))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None)


def _stop_with(outcome: outcomes.Outcome) -> NoReturn:
    """End as a worker that stopped on an error of its own, which says itself what it was."""
    error = UserError(f"worker {outcome.worker} stopped on an error of its own: see its line")
    error.code = outcome.code
    raise error from None
