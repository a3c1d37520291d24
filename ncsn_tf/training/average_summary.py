"""What a run has of averages of any length: its snapshots, and which lengths they give."""

from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np

from ncsn_tf.errors import UserError
from ncsn_tf.settings.config import Config
from ncsn_tf.training import average_files
from ncsn_tf.training.average_files import About
from ncsn_tf.training.checkpoint_choice import steps_in_words
from ncsn_tf.training.power_average import attainable, gamma_of

_MOST_SNAPSHOTS = 64  # in one fit: more of them give no nearer average


class Snapshot(NamedTuple):
    """A snapshot that can be read.

    Attributes:
        step: training steps done.
        lengths: the relative lengths that it keeps.
        num_bytes: its size on the disk.
    """

    step: int
    lengths: tuple[float, ...]
    num_bytes: int


class Summary(NamedTuple):
    """What a run has of averages of any length.

    Attributes:
        snapshots: in the order of their steps.
        shortest, longest: the lengths, as texts, that can be made at the last of their steps;
            empty where there is none.
        problems: a line for each file that cannot be used.
    """

    snapshots: tuple[Snapshot, ...]
    shortest: str
    longest: str
    problems: tuple[str, ...]

    @property
    def lengths(self) -> tuple[float, ...]:
        """The relative lengths that are kept."""
        return tuple(sorted({length for each in self.snapshots for length in each.lengths}))

    def words(self) -> list[str]:
        """What there is in a line, then what can be made of it, then the problems."""
        lines = []
        if self.snapshots:
            steps = [each.step for each in self.snapshots]
            kept = ", ".join(f"{length:g}" for length in self.lengths)
            size = sum(each.num_bytes for each in self.snapshots) / 1e6
            lines.append(f"lengths {kept}, snapshots of {steps_in_words(steps)}, {size:,.1f} MB")
            lines.append(f"--ema={self.shortest} to --ema={self.longest} at step {steps[-1]}")
        return [*lines, *self.problems]


def summary(run_dir: str | PathLike, config: Config, layout: str | None = None) -> Summary | None:
    """What there is of averages of any length; None of a run that has none.

    Args:
        run_dir: the run's folder.
        config: its settings.
        layout: of the run's network, see `average_files.layout_of`; None takes that of the newest
            snapshot.

    Files that cannot be used are problems and no error: without them averages can be made.
    """
    steps = average_files.listed(run_dir) if config.ema_power else []
    if not steps:
        return None
    whose = "the newest snapshot" if layout is None else "the run's checkpoints"
    abouts, snapshots, problems = [], [], []
    for step in reversed(steps):
        try:
            about = average_files.read_about(run_dir, step)
            layout = layout or about.layout
            average_files.check_layout(run_dir, about, layout, whose)
            num_bytes = average_files.path_of(run_dir, step).stat().st_size
        except (UserError, FileNotFoundError) as error:
            if average_files.path_of(run_dir, step).exists():  # else the training has removed it
                problems.insert(0, f"{error}; it must be removed before --ema is used")
        else:
            abouts.insert(0, about)
            snapshots.insert(0, Snapshot(step, about.lengths, num_bytes))
    bounds = ("", "")
    if abouts:
        taken = chosen([about.step for about in abouts])
        known = profiles([about for about in abouts if about.step in taken])
        bounds = bounds_in_words(known, abouts[-1].updates)
    return Summary(tuple(snapshots), *bounds, tuple(problems))


def chosen(steps: Sequence[int]) -> list[int]:
    """Those of the steps whose snapshots one fit takes; of many 64, spread evenly.

    Example:
        >>> chosen([3, 6]), len(chosen(range(1000)))
        ([3, 6], 64)
    """
    if len(steps) <= _MOST_SNAPSHOTS:
        return list(steps)
    places = np.linspace(0, len(steps) - 1, _MOST_SNAPSHOTS).round().astype(int)
    return [steps[place] for place in places]


def profiles(abouts: Sequence[About]) -> list[tuple[int, float]]:
    """(t, gamma) of the averages in snapshots, as `power_average.fit` takes them.

    Example:
        >>> [(t, round(gamma, 2)) for t, gamma in profiles([About(9, 8, (0.05, 0.1), "")])]
        [(8, 16.97), (8, 6.94)]
    """
    return [(about.updates, gamma_of(length)) for about in abouts for length in about.lengths]


def bounds_in_words(known: Sequence[tuple[int, float]], updates: int) -> tuple[str, str]:
    """The shortest and the longest average that the known ones give after so many updates.

    In few digits, which are no shorter and no longer.
    """
    shortest, longest = attainable(known, updates)
    return f"{np.ceil(shortest * 1e4) / 1e4:.4g}", f"{np.floor(longest * 1e4) / 1e4:.4g}"
