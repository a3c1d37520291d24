"""Checkpoints of the reference PyTorch programs: what is in them, and their conversion to a run."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ncsn_tf.errors import UserError
from ncsn_tf.models.reference_unet import unet_settings
from ncsn_tf.models.reference_weights import load_reference_weights
from ncsn_tf.schedule import geometric_sigmas

__all__ = [
    "ReferenceCheckpoint",
    "load_reference_weights",
    "network_settings",
    "read_checkpoint",
]


_FREQUENCIES = "all_modules.0.W"


class ReferenceCheckpoint(NamedTuple):
    """What a file of the reference trainer holds.

    Attributes:
        weights: {reference name: float32 array}, `sigmas` among them but for NCSN.
        average: the same with the averaged weights; None where the file has no average.
        step: training steps done; 0 where the file does not say.
    """

    weights: dict[str, np.ndarray]
    average: dict[str, np.ndarray] | None
    step: int


def read_checkpoint(path: str | os.PathLike) -> ReferenceCheckpoint:
    """Read a checkpoint of the reference trainer.

    The file holds [state dict, optimizer state], for NCSNv2 [state dict, optimizer state, epoch,
    step, averaged parameters], the last of them only where there was an average; for the third
    generation {"model": state dict, "ema": {"shadow_params": list, ...}, "step", "optimizer"},
    where the list has the averages of the trained parameters, in their order and without their
    names. Names may carry the `module.` prefix of a data-parallel model. Only tensors, and the
    numpy scalar that the third generation's learning rate is, are unpickled (`weights_only=True`).

    Raises:
        UserError: no PyTorch, no such file, or another kind of file.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     state = {"module.begin_conv.bias": torch.zeros(2)}
        ...     torch.save([state, {}, 3, 1000], f"{folder}/checkpoint.pth")
        ...     checkpoint = read_checkpoint(f"{folder}/checkpoint.pth")
        >>> checkpoint.weights["begin_conv.bias"].tolist(), checkpoint.step
        ([0.0, 0.0], 1000)
    """
    try:
        import torch
    except ImportError:
        raise UserError(
            "reading a .pth file needs PyTorch: pip install -r requirements-pytorch.txt"
        ) from None
    try:
        with torch.serialization.safe_globals(_numpy_scalar()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # torch raises whatever its unpickler and its zip reader raise
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a checkpoint of tensors: {line}") from None
    if isinstance(content, dict) and {"model", "ema", "step"} <= content.keys():
        return _third_generation(content, path)
    parts = content if isinstance(content, (list, tuple)) and content else [content]
    weights = _arrays(parts[0])
    if weights is None:
        raise UserError(f"{path} is not a checkpoint of the reference trainer: no state dict in it")
    step = parts[3] if len(parts) > 3 and isinstance(parts[3], int) else 0
    average = None
    if len(parts) > 4:
        average = _arrays(parts[4])
        if average is None:
            raise UserError(f"{path}: its fifth part is not the averaged weights")
        # The reference averages parameters only: the noise levels are not among them.
        average = {**average, **{name: weights[name] for name in weights if name == "sigmas"}}
    return ReferenceCheckpoint(weights, average, step)


def _numpy_scalar():
    """What makes up a pickled numpy.float64, by the names of either numpy, and nothing else."""
    (scalar, (dtype, *_)) = np.float64(0).__reduce__()
    names = [f"numpy.{core}.multiarray.scalar" for core in ("_core", "core")]
    return [*((scalar, name) for name in names), np.dtype, type(dtype)]


def _third_generation(content, path):
    weights = _arrays(content["model"])
    if weights is None:
        raise UserError(f"{path} is not a checkpoint of the reference trainer: no state dict in it")
    # Its buffers and its Fourier frequencies are not trained, and so not averaged.
    trained = [name for name in weights if name not in ("sigmas", _FREQUENCIES)]
    ema = content["ema"]
    shadow = ema.get("shadow_params") if isinstance(ema, dict) else None
    averages = _arrays(dict(zip(trained, shadow, strict=False))) if shadow else None
    shapes = {name: weights[name].shape for name in trained}
    if (
        averages is None
        or len(shadow) != len(trained)
        or {name: average.shape for name, average in averages.items()} != shapes
    ):
        raise UserError(f"{path}: its averaged weights are not those of its {len(trained)} weights")
    step = content["step"]
    return ReferenceCheckpoint(
        weights, {**weights, **averages}, step if isinstance(step, int) else 0
    )


def _arrays(state):
    """{name without prefix: float32 array}; None when it is not a dict of tensors."""
    import torch

    if not isinstance(state, dict) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        return None
    return {
        name.removeprefix("module."): value.to(torch.float32).numpy()
        for name, value in state.items()
    }


def network_settings(arrays: Mapping[str, np.ndarray], path: str | os.PathLike) -> dict[str, Any]:
    """The settings of a run that the weights themselves show.

    Args:
        arrays: {reference parameter name: array}, as `read_checkpoint` returns them.
        path: the file they are from, for messages.

    Returns:
        {setting: value}: model, features, channels and num_levels; for NCSNv2 depth too, and
        sigma_begin, sigma_end and num_levels only if `sigmas` is among the arrays. For the third
        generation, whose files hold `sigmas` whatever the equation, those and what `unet_settings`
        says.

    Raises:
        UserError: the arrays are not those of a network of the three generations, or its noise
            levels are not a geometric sequence.

    Example:
        >>> kernel, table = np.zeros([16, 3, 3, 3]), np.zeros([10, 48])
        >>> arrays = {"begin_conv.weight": kernel, "normalizer.embed.weight": table}
        >>> network_settings(arrays, "checkpoint.pth")
        {'model': 'ncsn', 'features': 16, 'channels': 3, 'num_levels': 10}
    """
    if any(name.startswith("all_modules.") for name in arrays):
        try:
            return {**unet_settings(arrays), **_noise_levels(arrays, path)}
        except ValueError as error:
            raise UserError(f"{path}: {error}") from None
    kernel, table = arrays.get("begin_conv.weight"), arrays.get("normalizer.embed.weight")
    if kernel is None or kernel.ndim != 4:
        raise UserError(f"{path} does not hold the weights of an NCSN, NCSNv2 or NCSN++")
    sizes = {"features": kernel.shape[0], "channels": kernel.shape[1]}
    if table is not None and table.ndim == 2:
        return {"model": "ncsn", **sizes, "num_levels": table.shape[0]}
    if "normalizer.alpha" not in arrays:
        raise UserError(f"{path} does not hold the weights of an NCSN or NCSNv2")
    stages = {name.split(".")[0] for name in arrays}
    depth = "deepest" if "res31" in stages else "deeper" if "res5" in stages else "base"
    return {"model": "ncsnv2", "depth": depth, **sizes, **_noise_levels(arrays, path)}


def _noise_levels(arrays, path):
    if "sigmas" not in arrays:
        return {}
    sigmas = arrays["sigmas"].ravel()
    # The shortest decimals of the float32 ends: 0.01, not 0.009999999776.
    begin, end = (float(str(sigma)) for sigma in sigmas[[0, -1]])
    try:
        expected = geometric_sigmas(begin, end, len(sigmas)).numpy()
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    if not np.allclose(sigmas, expected, rtol=1e-4, atol=0.0):
        raise UserError(f"{path}: its {len(sigmas)} noise levels are not a geometric sequence")
    return {"sigma_begin": begin, "sigma_end": end, "num_levels": len(sigmas)}
