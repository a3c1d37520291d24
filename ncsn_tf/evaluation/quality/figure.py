"""A figure of quality with all that it depends on."""

import dataclasses
import math
from typing import Any

HIGHER_IS_BETTER = ("is", "precision", "recall", "accuracy")
# What a line of metrics.jsonl must have to be one, and of which type.
_NEEDED = {"name": str, "metric": str, "value": (int, float), "num_samples": int}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of quality: what it is called, its value, and what it was measured of and with.

    Attributes:
        name: by `names.figure_name`, such as "FD-Train-digits-1k".
        metric: "fid", "kid", "is", "precision", "recall", "accuracy", "copies" or "test_loss".
        value: the figure; of several seed ranges their mean.
        spread: standard error of "kid" and "accuracy", deviation over the splits of "is"; of
            several seed ranges the deviation over these. None where there is none.
        num_samples: how many samples it is of.
        num_reference: how many images these are compared with; None where that is not known.
        reference: what these images are: "train", "test", or a file.
        features: name of the feature network, None where none is needed.
        checksum: of the feature network.
        resize: what the feature network does to the size of images.
        sampler: settings of the chain, {name: value}; {} where they are not known.
        weights: "average", "raw" or "average of length 0.1"; None where that is not known.
        length: relative length of the average that the weights are; None of others.
        step: of the run's checkpoint; None for images from elsewhere.
        seeds: (first, number) of the samples; None where they are not known.
        source: the export or the file that the samples are of; None for a run's checkpoint.
        ranges: the values of several seed ranges, in their order; () of one.
        details: more numbers, {name: value}.
        time: when it was measured, "YYYY-MM-DD HH:MM:SS".

    Example:
        >>> figure = Figure("FID-5k", "fid", 12.3, num_samples=5000)
        >>> Figure.from_dict(figure.to_dict()) == figure
        True
        >>> print(figure)
        FID-5k 12.3
    """

    name: str
    metric: str
    value: float
    spread: float | None = None
    num_samples: int = 0
    num_reference: int | None = None
    reference: str = "train"
    features: str | None = None
    checksum: str | None = None
    resize: str | None = None
    sampler: dict[str, Any] = dataclasses.field(default_factory=dict)
    weights: str | None = None
    length: float | None = None
    step: int | None = None
    seeds: tuple[int, int] | None = None
    source: str | None = None
    ranges: tuple[float, ...] = ()
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    time: str = ""

    def __str__(self) -> str:
        """One line for people."""
        text = f"{self.name} {self.value:.4g}"
        if self.ranges:
            deviation = f", deviation {self.spread:.2g}"
            least = f"minimum {min(self.ranges):.4g}, mean {self.value:.4g}{deviation}"
            return f"{text} ({least}, of {len(self.ranges)} seed ranges)"
        return text if self.spread is None else f"{text} +- {self.spread:.2g}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "Figure":
        """The figure of a JSON object; what is not known here is left out.

        Raises:
            ValueError: it is none.
        """
        if not isinstance(values, dict):
            raise ValueError("not an object")
        for name, kind in _NEEDED.items():
            if not isinstance(values.get(name), kind) or isinstance(values[name], bool):
                raise ValueError(f"no {name}")
        step, ranges = values.get("step"), values.get("ranges") or ()
        if not math.isfinite(values["value"]) or not (step is None or type(step) is int):
            raise ValueError("no finite value, or no step")
        known = {field.name for field in dataclasses.fields(cls)}
        kept = {name: value for name, value in values.items() if name in known}
        for name in ("sampler", "details"):
            kept[name] = kept.get(name) if isinstance(kept.get(name), dict) else {}
        seeds = kept.get("seeds")
        return cls(**{**kept, "ranges": tuple(ranges), "seeds": seeds and tuple(seeds)})
