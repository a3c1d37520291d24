"""The flags of sample.py that draw images under a condition."""

import dataclasses
from typing import Optional

from ncsn_tf.errors import ConfigError
from ncsn_tf.options import option, show

MASKS = ("left", "right", "top", "bottom", "center", "random")
FILL_FROM = 128  # values of a mask that mean: fill this pixel
MODES = ("inpaint", "colorize", "super_resolve", "interpolate")


@dataclasses.dataclass(frozen=True)
class ConditionOptions:
    """What is known of the images, and where it comes from. One of `MODES` at most is given."""

    # `Optional[X]`, which the flag parser reads, and not `X | None`.
    inpaint: Optional[str] = option(  # noqa: UP045
        None, "fill part of this picture, or of a folder or .npz of them", "condition"
    )
    mask: str = option(
        "right", f"part to fill: {'|'.join(MASKS)}, or a picture, white to be filled", "condition"
    )
    colorize: Optional[str] = option(  # noqa: UP045
        None,
        "colour a picture, a folder or .npz; grey is (R + G + B) / 3",
        "condition",
    )
    super_resolve: Optional[str] = option(  # noqa: UP045
        None, "enlarge this picture, a folder or .npz", "condition"
    )
    factor: int = option(4, "how much --super_resolve enlarges", "condition", least=2)
    resize: bool = option(False, "crop and resize pictures of another size", "condition")
    classifier: Optional[str] = option(  # noqa: UP045
        None, "draw one class, by a file of python -m ncsn_tf.classifier", "condition"
    )
    label: Optional[int] = option(  # noqa: UP045
        None, "the class that --classifier draws", "condition", least=0
    )
    classifier_scale: float = option(1.0, "weight of the classifier", "condition", least=0)
    interpolate: Optional[str] = option(  # noqa: UP045
        None, "from the image of seed A to the noise of seed B: A,B", "condition"
    )

    @property
    def mode(self):
        """The one of `MODES` that is given, or None."""
        return next((name for name in MODES if getattr(self, name) is not None), None)

    def validate_condition(self):
        """Raise a ConfigError for flags that contradict each other."""
        for name in (*MODES[:3], "classifier"):
            if getattr(self, name) == "":
                raise ConfigError(f"{show(name, '')} must name a file")
        given = [name for name in MODES if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(
                f"{show(given[1], getattr(self, given[1]))} cannot be used with "
                f"{show(given[0], getattr(self, given[0]))}"
            )
        self._needs("mask", ("inpaint",))
        self._needs("factor", ("super_resolve",))
        self._needs("resize", MODES[:3])
        if self.classifier and self.label is None:
            raise ConfigError(f"{show('classifier', self.classifier)} needs --label, the class")
        for name in ("label", "classifier_scale"):
            if not self.classifier and getattr(self, name) != _default(self, name):
                raise ConfigError(f"{show(name, getattr(self, name))} needs --classifier")
        if self.interpolate is not None:
            self.interpolated_seeds()

    def _needs(self, name, modes):
        value = getattr(self, name)
        if value != _default(self, name) and self.mode not in modes:
            raise ConfigError(f"{show(name, value)} needs {' or '.join(f'--{m}' for m in modes)}")

    def interpolated_seeds(self):
        """(A, B) of --interpolate=A,B."""
        try:
            first, second = (int(part) for part in self.interpolate.split(","))
        except ValueError:
            first = second = 2**63
        if not all(-(2**63) <= seed < 2**63 for seed in (first, second)):
            raise ConfigError(
                f"{show('interpolate', self.interpolate)} must be two 64-bit seeds, such as 3,8"
            )
        return first, second


def _default(options, name):
    (field,) = (field for field in dataclasses.fields(options) if field.name == name)
    return field.default
