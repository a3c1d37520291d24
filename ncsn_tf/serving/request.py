"""What is asked of an exported sampler: which signature, with which inputs, for given settings.

For an export that is loaded here as for one that a server runs. It needs no TensorFlow.
"""

from collections.abc import Sequence

import numpy as np

from ncsn_tf.errors import ConfigError
from ncsn_tf.serving.contract import (
    ALL,
    EVALUATIONS,
    FEW,
    FEW_OF_CLASSES,
    OF_CLASSES,
    SETTINGS,
    STEPS,
)
from ncsn_tf.settings.labels import Labels
from ncsn_tf.settings.options import show


def inputs(
    name: str,
    seeds: Sequence[int] | np.ndarray,
    num_steps_each: int | None = None,
    step_lr: float | None = None,
    labels: Labels | None = None,
    num_evaluations: int | None = None,
) -> dict[str, np.ndarray]:
    """The inputs of signature `name`, one of `EXPECTED`: {input: array [len(seeds)]}.

    A setting that is None is left to the export, which takes 0 to mean its own. `labels` are the
    classes of the images, for `OF_CLASSES` and `FEW_OF_CLASSES`.

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
        EVALUATIONS: num_evaluations or 0,
        "step_lr": 0.0 if step_lr is None else float32_step_lr(step_lr),
    }
    if labels is not None:
        values |= {"class_label": labels.of(seeds), "guidance": labels.guidance}
    return {
        key: np.full(len(seeds), values[key], tensor.dtype)
        for key, tensor in ALL[name].inputs.items()
    }


def signature_of(
    num_steps_each: int | None,
    step_lr: float | None,
    num_evaluations: int | None,
    of_classes: bool = False,
) -> str | None:
    """The signature of requests with these settings; None for those that have none.

    Args:
        num_steps_each, step_lr, num_evaluations: None is the export's own.
        of_classes: whether images of classes are asked for.

    Raises:
        ConfigError: settings that no signature takes together.

    Example:
        >>> signature_of(20, None, None), signature_of(None, None, 20)
        ('sample', 'sample_evaluations')
        >>> signature_of(None, None, 20, of_classes=True)
        'sample_evaluations_of_classes'
    """
    others = {"num_steps_each": num_steps_each, "step_lr": step_lr}
    given = [show(name, value) for name, value in others.items() if value is not None]
    if num_evaluations is None:
        return OF_CLASSES if of_classes else SETTINGS if given else None
    if given:
        raise ConfigError(
            f"{given[0]} cannot be used with {show(EVALUATIONS, num_evaluations)}: "
            "no chain has both"
        )
    return FEW_OF_CLASSES if of_classes else FEW


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
