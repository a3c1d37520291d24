"""`--sweep=NAME=VALUES`: the values of a setting that are tried one after the other."""

from __future__ import annotations

import dataclasses
import math

from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.chain import ChainOptions
from ncsn_tf.settings.class_flags import ClassOptions
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import check_given, check_values, option_types, show

_KINDS = {name: kind for name, kind in option_types(ChainOptions).items() if kind in (int, float)}
_KINDS["guidance"] = float  # of the classes that a chain draws
SWEPT = tuple(_KINDS)
MOST = 1000  # values
_DIGITS = 4  # of values between first and last, so that they can be typed
# Their effect goes by ratios, whatever the range.
_BY_RATIO = ("step_lr", "snr", "ode_tolerance", "ode_rtol", "ode_atol", "num_evaluations")
_FORM = (
    "NAME=FIRST:LAST:COUNT or NAME=VALUE,VALUE,..., such as step_lr=1e-6:1e-4:7, with NAME one of "
    + ", ".join(SWEPT)
)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A setting of a chain, or guidance, and the values that are tried.

    Attributes:
        name: of the setting, one of `SWEPT`.
        values: in the order in which they are tried, no two alike.
        by_ratio: whether a plot spaces them by their ratios.
    """

    name: str
    values: tuple[int | float, ...]
    by_ratio: bool

    @classmethod
    def parse(cls, text: str) -> Sweep:
        """The sweep that --sweep describes.

        Args:
            text: "NAME=FIRST:LAST:COUNT", values that rise or fall from the first to the last; or
                "NAME=VALUE,VALUE,...". A range is geometric for step sizes, signal-to-noise ratios
                and tolerances, and for others where it is positive and spans more than a decade.
                Those of a whole number are rounded, and then each is tried once.

        Raises:
            ConfigError: it is none, or a value is out of bounds.

        Example:
            >>> Sweep.parse("step_lr=1e-6:1e-4:3").values
            (1e-06, 1e-05, 0.0001)
            >>> Sweep.parse("num_steps_each=1:5:9").values
            (1, 2, 3, 4, 5)
            >>> Sweep.parse("snr=0.1,0.16").values
            (0.1, 0.16)
            >>> Sweep.parse("guidance=0:4:5").values
            (0.0, 1.0, 2.0, 3.0, 4.0)
        """
        name, _, values = text.partition("=")
        if name not in SWEPT or not values:
            raise _wrong(text)
        kind = _KINDS[name]
        try:
            if ":" in values:
                first, last, count = values.split(":")
                found = _range(name, kind, _number(kind, first), _number(kind, last), int(count))
            else:
                found = [_number(kind, value) for value in values.split(",")]
        except ValueError:
            raise _wrong(text) from None
        found = tuple(dict.fromkeys(found))
        for value in found:
            _check(text, name, value)
        return cls(name, found, _is_by_ratio(name, min(found), max(found)))


def _wrong(text):
    return ConfigError(f"{show('sweep', text)} must be {_FORM}")


def _number(kind, text):
    value = kind(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _range(name, kind, first, last, count):
    """The values of a range."""
    if not 2 <= count <= MOST or first == last:
        raise ValueError
    places = [index / (count - 1) for index in range(1, count - 1)]
    if _is_by_ratio(name, min(first, last), max(first, last)):
        between = [first * (last / first) ** place for place in places]
    else:
        between = [first + (last - first) * place for place in places]
    if kind is int:
        return [first, *map(round, between), last]
    return [first, *(float(f"{value:.{_DIGITS}g}") for value in between), last]


def _is_by_ratio(name, least, most):
    return least > 0 and (name in _BY_RATIO or most > 10 * least)


def _check(text, name, value):
    """Raise a ConfigError for a value that the setting cannot have."""
    kind = ClassOptions if name == "guidance" else ChainOptions
    settings = {field.name: field.default for field in dataclasses.fields(kind)}
    try:
        check_values(kind, {**settings, name: value})
        if kind is ChainOptions:
            check_given(Config, {name: value})
    except ConfigError as error:
        raise ConfigError(f"{show('sweep', text)}: {error}") from None
