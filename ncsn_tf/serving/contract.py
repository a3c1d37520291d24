"""The signatures of an exported sampler: names, types and shapes of all inputs and outputs.

One table for those who write an export (`signatures`, `conditional_signatures`, `assets`) and for
those who draw from it, loaded here or run by a server. It needs no TensorFlow.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Type and shape of one input or output.

    Attributes:
        dtype: name of the type, such as "int64".
        shape: sizes of the axes; None where the shape is not known. A size is a number, the name of
            one that differs between exports, or None where it is not known.
    """

    dtype: str
    shape: tuple[int | str | None, ...] | None = None

    def sized(self, sizes: Mapping[str, int]) -> "Tensor":
        """The tensor with numbers for the sizes that have a name; without one, a size is None.

        Example:
            >>> Tensor("uint8", ("batch", "height", 1)).sized({"height": 32})
            Tensor(dtype='uint8', shape=(None, 32, 1))
        """
        shape = [sizes.get(size) if isinstance(size, str) else size for size in self.shape]
        return dataclasses.replace(self, shape=tuple(shape))


@dataclasses.dataclass(frozen=True)
class Signature:
    """What goes in and what comes out, a `Tensor` by name.

    Example:
        >>> print(SIGNATURES["sample_uint8"])
        (seed int64) -> (image uint8)
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]

    def __str__(self):
        sides = [
            ", ".join(f"{name} {tensor.dtype}" for name, tensor in sorted(side.items()))
            for side in (self.inputs, self.outputs)
        ]
        return " -> ".join(f"({side})" for side in sides)


def image_sizes(image_shape: tuple[int, int, int], factor: int = 1) -> dict[str, int]:
    """The numbers of the table's sizes, for `Tensor.sized`; `factor` is that of `super_resolve`.

    Example:
        >>> image_sizes((8, 8, 3), factor=2)
        {'height': 8, 'width': 8, 'channels': 3, 'small_height': 4, 'small_width': 4}
    """
    height, width, channels = image_shape
    small = {"small_height": height // factor, "small_width": width // factor}
    return {"height": height, "width": width, "channels": channels, **small}


def _row(dtype, *sizes):
    """A tensor with a number, or an array, for each image of the batch."""
    return Tensor(dtype, ("batch", *sizes))


# The number of the interface, in every export's metadata; it rises when what requests or answers
# mean changes. 1: none was written. 2: shapes and numbers of rows are checked; nothing that is not
# finite leaves: 0 `steps_per_level` tells that a chain diverged.
INTERFACE = 2

_SIZES = ("height", "width", "channels")
_SEED = {"seed": _row("int64")}
_IMAGE = {"image": _row("uint8", *_SIZES)}
_IMAGE_BYTES = {"image_bytes": _row("string")}

PNG = "serving_default"
PIXELS = "sample_uint8"
SETTINGS = "sample"
STEPS = "steps_per_level"  # also an output of `sample`: what became of the input, 0 if it diverged
OF_CLASSES = "sample_of_classes"
NAMES = "class_names"
# What requests to a network that knows classes say of each image. A label outside [0, K) is no
# class, and a guidance that is not finite or below 0 stands for 1.
LABELS = {"class_label": _row("int32"), "guidance": _row("float32")}
# The signatures of every export.
SAMPLING = {
    PNG: Signature(_SEED, _IMAGE_BYTES),
    PIXELS: Signature(_SEED, _IMAGE),
    SETTINGS: Signature(
        _SEED | {STEPS: _row("int32"), "step_lr": _row("float32")},
        _IMAGE_BYTES | _IMAGE | {"samples": _row("float32", *_SIZES), STEPS: _row("int32")},
    ),
    # `label` is the noise level, by the name that it has in the paper's code.
    "score": Signature(
        {"x": _row("float32", *_SIZES), "label": _row("int32")},
        {"score": _row("float32", *_SIZES)},
    ),
}
# Those of a network that knows classes. `class_names` tells the name of each number, and how many
# classes there are; the name is empty for numbers of none.
LABELLED = {
    OF_CLASSES: Signature(
        SAMPLING[SETTINGS].inputs | LABELS,
        SAMPLING[SETTINGS].outputs | {"class_label": _row("int32")},
    ),
    NAMES: Signature(
        {"class_label": _row("int32")},
        {"name_bytes": _row("string"), "num_classes": _row("int32")},
    ),
}
# Those of conditional sampling, which an export may have besides. Of a network that knows classes,
# those of `OF_ANY_CLASS` also take `LABELS`.
CONDITIONAL = {
    "inpaint": Signature(
        _SEED | _IMAGE | {"mask": _row("uint8", "height", "width", 1)}, _IMAGE_BYTES | _IMAGE
    ),
    "colorize": Signature(
        _SEED | {"image": _row("uint8", "height", "width", 1)}, _IMAGE_BYTES | _IMAGE
    ),
    "super_resolve": Signature(
        _SEED | {"image": _row("uint8", "small_height", "small_width", "channels")},
        _IMAGE_BYTES | _IMAGE,
    ),
    "interpolate": Signature(
        _SEED | {"other_seed": _row("int64"), "share": _row("float32")}, _IMAGE_BYTES | _IMAGE
    ),
    "sample_class": Signature(_SEED | {"label": _row("int32")}, _IMAGE_BYTES | _IMAGE),
}
OF_ANY_CLASS = ("inpaint", "colorize", "super_resolve", "interpolate")
# That of exports whose chain is a solver of few steps; of them a request may choose the number of
# evaluations.
FEW = "sample_evaluations"
FEW_OF_CLASSES = "sample_evaluations_of_classes"
EVALUATIONS = "num_evaluations"  # also an output: what became of the input, 0 if it diverged
OF_FEW_STEPS = {
    FEW: Signature(
        _SEED | {EVALUATIONS: _row("int32")}, _IMAGE_BYTES | _IMAGE | {EVALUATIONS: _row("int32")}
    )
}
# That of such an export of a network that knows classes.
LABELLED_FEW_STEPS = {
    FEW_OF_CLASSES: Signature(
        OF_FEW_STEPS[FEW].inputs | LABELS,
        OF_FEW_STEPS[FEW].outputs | {"class_label": _row("int32")},
    )
}
SIGNATURES = SAMPLING | CONDITIONAL | OF_FEW_STEPS
ALL = SAMPLING | LABELLED | CONDITIONAL | OF_FEW_STEPS | LABELLED_FEW_STEPS

# What an export must have at least, so that images can be drawn from it: older exports lack outputs
# that were added since.
_DRAWN = {PNG: ["image_bytes"], PIXELS: ["image"], SETTINGS: ["image_bytes", "image"]}
_DRAWN[FEW] = _DRAWN[SETTINGS]
EXPECTED = {
    name: Signature(
        SIGNATURES[name].inputs, {output: SIGNATURES[name].outputs[output] for output in outputs}
    )
    for name, outputs in _DRAWN.items()
}


_DRAWN_OF_CLASSES = {
    name: Signature(
        ALL[name].inputs, {output: ALL[name].outputs[output] for output in _DRAWN[SETTINGS]}
    )
    for name in (OF_CLASSES, FEW_OF_CLASSES)
}


def inputs_of(name: str, labelled: bool = False) -> dict[str, Tensor]:
    """The inputs of a signature, for a network that knows classes or for one that does not.

    Example:
        >>> [*inputs_of("interpolate", labelled=True)]
        ['seed', 'other_seed', 'share', 'class_label', 'guidance']
    """
    return ALL[name].inputs | (LABELS if labelled and name in OF_ANY_CLASS else {})


def mismatch(name: str, signatures: Mapping[str, Signature]) -> str | None:
    """What is wrong with signature `name` among {name: Signature}; None if it can be used.

    The inputs must be those of `EXPECTED`; outputs that are not asked for may be there as well.

    Example:
        >>> mismatch("sample_uint8", SIGNATURES) is None
        True
        >>> mismatch("sample_uint8", {"classify": Signature({}, {})})
        'it has no signature sample_uint8 (seed int64) -> (image uint8), only classify'
    """
    expected = (EXPECTED | _DRAWN_OF_CLASSES)[name]
    found = signatures.get(name)
    if found is None and name in _DRAWN_OF_CLASSES and OF_CLASSES not in signatures:
        return f"it has no signature {name}: its network knows no classes"
    if found is None:
        # TensorFlow's own, __saved_model_init_op, is for no one.
        there = ", ".join(sorted(key for key in signatures if not key.startswith("__")))
        return f"it has no signature {name} {expected}, only {there or 'none'}"
    if _dtypes(found.inputs) != _dtypes(expected.inputs) or (
        not _dtypes(expected.outputs).items() <= _dtypes(found.outputs).items()
    ):
        return f"its signature {name} is {found}, not {expected}"
    return None


def _dtypes(tensors):
    return {name: tensor.dtype for name, tensor in tensors.items()}
