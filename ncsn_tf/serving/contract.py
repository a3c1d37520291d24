"""The signatures of an exported sampler: names, types and shapes of all inputs and outputs.

One table for those who write an export (`signatures`, `conditional_signatures`, `assets`) and for
those who draw from it, loaded here or run by a server. It needs no TensorFlow.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.options import show


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
# Those of conditional sampling, which an export may have besides.
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
SIGNATURES = SAMPLING | CONDITIONAL

# What an export must have at least, so that images can be drawn from it: older exports lack outputs
# that were added since.
_DRAWN = {PNG: ["image_bytes"], PIXELS: ["image"], SETTINGS: ["image_bytes", "image"]}
EXPECTED = {
    name: Signature(
        SIGNATURES[name].inputs, {output: SIGNATURES[name].outputs[output] for output in outputs}
    )
    for name, outputs in _DRAWN.items()
}


def mismatch(name: str, signatures: Mapping[str, Signature]) -> str | None:
    """What is wrong with signature `name` among {name: Signature}; None if it can be used.

    The inputs must be those of `EXPECTED`; outputs that are not asked for may be there as well.

    Example:
        >>> mismatch("sample_uint8", SIGNATURES) is None
        True
        >>> mismatch("sample_uint8", {"classify": Signature({}, {})})
        'it has no signature sample_uint8 (seed int64) -> (image uint8), only classify'
    """
    expected, found = EXPECTED[name], signatures.get(name)
    if found is None:
        # TensorFlow's own, __saved_model_init_op, is for no one.
        there = ", ".join(sorted(key for key in signatures if not key.startswith("__")))
        return f"it has no signature {name} {expected}, only {there or 'none'}"
    if _dtypes(found.inputs) != _dtypes(expected.inputs) or (
        not _dtypes(expected.outputs).items() <= _dtypes(found.outputs).items()
    ):
        return f"its signature {name} is {found}, not {expected}"
    return None


def inputs(
    name: str,
    seeds: Sequence[int] | np.ndarray,
    num_steps_each: int | None = None,
    step_lr: float | None = None,
) -> dict[str, np.ndarray]:
    """The inputs of signature `name`, one of `EXPECTED`: {input: array [len(seeds)]}.

    A setting that is None is left to the export, which takes 0 to mean its own.

    Raises:
        ConfigError: a step size that float32 would make another, 0 or infinite.

    Example:
        >>> for name, array in inputs("sample", [7, 8], num_steps_each=20).items():
        ...     print(name, array.dtype, array.tolist())
        seed int64 [7, 8]
        steps_per_level int32 [20, 20]
        step_lr float32 [0.0, 0.0]
    """
    values = {
        "seed": seeds,
        STEPS: num_steps_each or 0,
        "step_lr": 0.0 if step_lr is None else float32_step_lr(step_lr),
    }
    return {
        key: np.full(len(seeds), values[key], tensor.dtype)
        for key, tensor in SIGNATURES[name].inputs.items()
    }


def float32_step_lr(step_lr: float) -> np.float32:
    """The step size as the export takes it; a ConfigError where that would be 0 or infinite.

    Example:
        >>> float(float32_step_lr(0.5))
        0.5
    """
    with np.errstate(over="ignore", under="ignore"):
        value = np.float32(step_lr)
    if not 0 < value < np.inf:
        raise ConfigError(
            f"{show('step_lr', step_lr)} would be {value:g} to an export, which takes float32"
        )
    return value


def diverged(count: int, step_lr: float | None) -> str:
    """What there is to say of images whose chains diverged, by a step size; None is the export's.

    Example:
        >>> diverged(3, 1e38)
        'the chains of 3 images diverged: --step_lr=1e+38 must be smaller'
    """
    images = f"{count} image{'s'[: count > 1]}"
    size = "the export's own step size" if step_lr is None else show("step_lr", step_lr)
    return f"the chains of {images} diverged: {size} must be smaller"


def _dtypes(tensors):
    return {name: tensor.dtype for name, tensor in tensors.items()}
