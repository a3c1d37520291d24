"""The flags of which classes are drawn, for commands that draw to look at or to measure."""

import dataclasses
from collections.abc import Sequence

from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.labels import EACH, Labels, choose_labels
from ncsn_tf.settings.options import option, show

GUIDANCE = 1.0


@dataclasses.dataclass(frozen=True)
class ClassOptions:
    """The classes of what is drawn to be looked at or measured: all of them in turn, or some."""

    label: str = option(
        EACH, "of a run that knows classes: a name or number, several as a,b, or each", "classes"
    )
    guidance: float = option(
        GUIDANCE,
        "weight of the class: 1 is the class as learnt, more is surer of it, for twice the work",
        "classes",
        least=0,
        below=1e6,
    )

    def refuse_classes(self, why: str) -> None:
        """Raise a ConfigError for classes that are given where none can be: `why`, in words.

        Example:
            >>> ClassOptions().refuse_classes("cannot be used with --samples")
            >>> ClassOptions(guidance=2.0).refuse_classes("cannot be used with --samples")
            Traceback (most recent call last):
            ncsn_tf.errors.ConfigError: --guidance=2.0 cannot be used with --samples
        """
        for name, usual in (("label", EACH), ("guidance", GUIDANCE)):
            if getattr(self, name) != usual:
                raise ConfigError(f"{show(name, getattr(self, name))} {why}")


def looked_at(
    label: str | int, guidance: float, class_names: Sequence[str], whose: str = "this run"
) -> Labels | None:
    """The classes of what is drawn to be looked at or measured: all in turn, if none are named.

    Args:
        label, guidance, class_names, whose: as of `choose_labels`. `EACH` and 1, the defaults, do
            for a network that knows no classes too, which then draws as ever: None.

    Raises:
        ConfigError: others of a network without classes, or a class that it does not have.

    Example:
        >>> looked_at("each", 2.0, ["cat", "dog"]).names, looked_at("each", 1.0, [])
        (['cat', 'dog'], None)
    """
    if class_names or label != EACH:
        return choose_labels(label, guidance, class_names, whose)
    if guidance != GUIDANCE:
        raise ConfigError(
            f"{show('guidance', guidance)} needs a network that was trained with "
            f"--class_conditional: {whose} knows no classes"
        )
    return None
