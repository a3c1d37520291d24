"""Trained networks that come with the package: a flag of commands that draw from one.

Each is a folder of `zoo/` like that of any run, without what only training needs: `config.json`,
a checkpoint of the averaged weights, and a card, README.md.
"""

from pathlib import Path
from typing import Any

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.files import shipped
from ncsn_tf.settings.options import option, show

# {name: folder in zoo/}
PRETRAINED = {"mnist": "mnist-ncsnv2", "mnist-ncsn": "mnist-ncsn", "cifar10": "cifar10-ncsnpp"}


def pretrained_option() -> Any:
    """The field `pretrained` of a command's options.

    Example:
        >>> pretrained_option().default
        ''
    """
    return option("", f"a network that is here: {', '.join(PRETRAINED)}", "source")


def check_pretrained(name: str, workdir: str, checkpoint: str, default: str, average: bool) -> None:
    """Raise a ConfigError unless the flags of a command can go together with `--pretrained`.

    Args:
        name: the network, "" without the flag.
        workdir, checkpoint, average: the flags that name another one.
        default: what `checkpoint` is where it is not given.

    Example:
        >>> check_pretrained("mnist", "", "newest", "newest", True)
        >>> check_pretrained("mni", "", "newest", "newest", True)
        Traceback (most recent call last):
        ncsn_tf.errors.ConfigError: --pretrained=mni is not there; known: mnist, mnist-ncsn, cifar10
    """
    if not name:
        return
    if name not in PRETRAINED:
        known = ", ".join(PRETRAINED)
        raise ConfigError(f"{show('pretrained', name)} is not there; known: {known}")
    other = None
    if workdir:
        other = show("workdir", workdir)
    elif checkpoint != default:
        other = show("checkpoint", checkpoint)
    elif not average:
        other = show("average", average)
    if other is not None:
        raise ConfigError(
            f"{other} cannot be used with {show('pretrained', name)}, which is one checkpoint of "
            "averaged weights"
        )


def pretrained_run(name: str) -> Path:
    """The folder of a trained network.

    Raises:
        UserError: it did not come with this installation.

    Example:
        >>> (pretrained_run("mnist") / "config.json").is_file()
        True
    """
    folder = shipped("zoo") / PRETRAINED[name]
    if not folder.is_dir():
        raise UserError(
            f"{show('pretrained', name)}: {folder} is missing, install the package again"
        )
    return folder
