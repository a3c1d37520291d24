"""Relative lengths of averages of the weights: what a user may ask for.

What they mean is in `training.power_average`.
"""

from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.options import option, show

# From 0.2887 on the weights of the first steps would count the most.
SHORTEST, LONGEST = 0.001, 0.2886
_MOST = 1000  # lengths that one command makes


def lengths_of(flag: str, text: str) -> tuple[float, ...]:
    """The relative lengths that a flag lists; none of an empty text.

    Args:
        flag: its name, for the error.
        text: numbers with commas.

    Raises:
        ConfigError: they are not numbers, out of bounds, or one is there twice.

    Example:
        >>> lengths_of("ema", "0.05,0.1")
        (0.05, 0.1)
        >>> lengths_of("ema", "0.5")
        Traceback (most recent call last):
        ncsn_tf.errors.ConfigError: --ema=0.5 must be lengths from 0.001 to 0.2886, such as 0.05,0.1
    """
    try:
        lengths = tuple(float(part) for part in text.split(",")) if text else ()
        good = all(SHORTEST <= length <= LONGEST for length in lengths)
    except ValueError:
        good = False
    if not good or len(set(lengths)) < len(lengths) or len(lengths) > _MOST:
        rule = f"lengths from {SHORTEST} to {LONGEST}, such as 0.05,0.1"
        again = ", each once" if good else ""
        raise ConfigError(f"{show(flag, text)} must be {rule}{again}")
    return lengths


def check_length(length: float) -> None:
    """Raise a ConfigError for a number that cannot be the relative length of an average.

    Example:
        >>> check_length(0.1)
    """
    lengths_of("ema", str(length))


def ema_option() -> object:
    """The field `ema` of the options of a command that takes one average.

    Example:
        >>> ema_option().default is None
        True
    """
    return option(
        None,
        "the average of this length instead, as 0.1, of a run with --ema_power",
        "source",
        least=SHORTEST,
        below=LONGEST + 1e-6,
    )


def check_ema(ema: float | None, average: bool, pretrained: str = "") -> None:
    """Raise a ConfigError unless the flags of a command that name weights go together.

    Example:
        >>> check_ema(0.1, False)
        Traceback (most recent call last):
        ncsn_tf.errors.ConfigError: --average=false cannot be used with --ema=0.1
    """
    if ema is None:
        return
    if not average:
        raise ConfigError(f"{show('average', average)} cannot be used with {show('ema', ema)}")
    if pretrained:
        raise ConfigError(
            f"{show('ema', ema)} cannot be used with {show('pretrained', pretrained)}, which is "
            "one checkpoint of averaged weights"
        )


def check_kept(text: str, every: int) -> None:
    """Raise a ConfigError unless a run can keep averages of these lengths.

    Args:
        text: `Config.ema_power`.
        every: `Config.ema_every`.

    Example:
        >>> check_kept("0.05,0.1", 0)
        >>> check_kept("0.1", 0)
        Traceback (most recent call last):
        ncsn_tf.errors.ConfigError: --ema_power=0.1 must be two to four lengths, such as 0.05,0.1
    """
    kept = lengths_of("ema_power", text)
    if every and not kept:
        raise ConfigError(f"{show('ema_every', every)} needs --ema_power")
    if kept and not 2 <= len(kept) <= 4:
        raise ConfigError(
            f"{show('ema_power', text)} must be two to four lengths, such as 0.05,0.1"
        )


def interval_of(every: int, num_steps: int, checkpoint_every: int) -> int:
    """Steps between two snapshots of a run's averages.

    Args:
        every: as it was given; 0 is a twentieth of the run, and where that is longer than from one
            checkpoint to the next, a multiple of it.
        num_steps, checkpoint_every: those of the run.

    Example:
        >>> interval_of(0, 200_000, 5000), interval_of(0, 310_000, 5000), interval_of(7, 100, 50)
        (10000, 15000, 7)
    """
    if every:
        return every
    interval = max(1, num_steps // 20)
    if interval > checkpoint_every:
        interval -= interval % checkpoint_every
    return interval
