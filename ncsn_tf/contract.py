"""The signatures of an exported sampler, as those who draw from it need them.

One table for an export that is loaded here and for one that a server runs. All inputs have shape
[batch]; `image` has shape [batch, H, W, C], `image_bytes` holds a PNG an element.
"""

import dataclasses

import numpy as np

from ncsn_tf.errors import ConfigError
from ncsn_tf.options import show


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Type and shape of one input or output; an unknown size is None, so is an unknown shape."""

    dtype: str
    shape: tuple | None = None


@dataclasses.dataclass(frozen=True)
class Signature:
    """{name: Tensor} of what goes in and of what comes out."""

    inputs: dict
    outputs: dict

    def __str__(self):
        sides = [
            ", ".join(f"{name} {tensor.dtype}" for name, tensor in sorted(side.items()))
            for side in (self.inputs, self.outputs)
        ]
        return " -> ".join(f"({side})" for side in sides)


_SEED = {"seed": Tensor("int64")}
_SETTINGS = {"steps_per_level": Tensor("int32"), "step_lr": Tensor("float32")}
_IMAGE = {"image": Tensor("uint8")}
_IMAGE_BYTES = {"image_bytes": Tensor("string")}

PNG = "serving_default"
PIXELS = "sample_uint8"
SETTINGS = "sample"
STEPS = "steps_per_level"  # also an output of `sample`: what became of the input
EXPECTED = {
    PNG: Signature(_SEED, _IMAGE_BYTES),
    PIXELS: Signature(_SEED, _IMAGE),
    SETTINGS: Signature(_SEED | _SETTINGS, _IMAGE_BYTES | _IMAGE),
}


def mismatch(name, signatures):
    """What is wrong with signature `name` among {name: Signature}; None if it can be used.

    The inputs must be those of `EXPECTED`; outputs that are not asked for may be there as well.
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


def inputs(name, seeds, num_steps_each=None, step_lr=None):
    """The inputs of signature `name` for the seeds: {input: array [len(seeds)]}.

    A setting that is None is left to the export, which takes 0 to mean its own.

    Raises:
        ConfigError: a step size that float32 would make another, 0 or infinite.
    """
    arrays = {"seed": np.asarray(seeds, np.int64)}
    if name == SETTINGS:
        arrays["steps_per_level"] = np.full(len(seeds), num_steps_each or 0, np.int32)
        step_lr = 0.0 if step_lr is None else float32_step_lr(step_lr)
        arrays["step_lr"] = np.full(len(seeds), step_lr, np.float32)
    return arrays


def float32_step_lr(step_lr):
    """The step size as the export takes it; a ConfigError where that would be 0 or infinite."""
    with np.errstate(over="ignore", under="ignore"):
        value = np.float32(step_lr)
    if not 0 < value < np.inf:
        raise ConfigError(
            f"{show('step_lr', step_lr)} would be {value:g} to an export, which takes float32"
        )
    return value


def _dtypes(tensors):
    return {name: tensor.dtype for name, tensor in tensors.items()}
