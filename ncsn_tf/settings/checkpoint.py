"""Which checkpoint of a run a command opens: a flag of all that open one."""

import os
from typing import Any

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.settings.options import option, show

NEWEST = "newest"
BEST = "best"
_STEP = "[0-9]{1,18}"
_WORDS = "best, newest or a step"


def checkpoint_option() -> Any:
    """The field `checkpoint` of a command's options.

    Example:
        >>> checkpoint_option().default
        'newest'
    """
    return option(
        NEWEST,
        "of the run: best, newest or a step",
        "source",
        pattern=(f"{BEST}|{NEWEST}|{_STEP}", _WORDS),
    )


def step_of(checkpoint: str | int) -> int:
    """The step that `checkpoint` names.

    Raises:
        ConfigError: it is none.

    Example:
        >>> step_of("500"), step_of(500)
        (500, 500)
    """
    text = str(checkpoint)
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{show('checkpoint', checkpoint)} must be {_WORDS}")
    return int(text)


def no_checkpoint(run_dir: str | os.PathLike) -> UserError:
    """The error of a run without any checkpoint.

    Example:
        >>> str(no_checkpoint("runs/none"))
        'runs/none holds no checkpoint: train first, or name another --workdir'
    """
    return UserError(f"{run_dir} holds no checkpoint: train first, or name another --workdir")
