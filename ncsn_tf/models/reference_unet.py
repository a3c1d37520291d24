"""What the weights of a reference NCSN++, DDPM++ or DDPM show of its settings."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ncsn_tf.models.unet_steps import unet_steps

_PYRAMIDS = (("none", "sum"), ("residual", "sum"), ("input_skip", "sum"), ("input_skip", "cat"))
_PROGRESSIVES = ("none", "output_skip", "residual")
_MOST_LEVELS = 12


def unet_settings(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The settings of a network of the third generation that its weights show.

    Not among them: the equation, but for a Fourier embedding, which is told sigma; whether sums are
    divided, the result divided by sigma, images centred; a filter, but in a residual pyramid, else
    it is the published one's.

    Args:
        arrays: {reference parameter name: array}, with names such as `all_modules.3.Conv_0.weight`.

    Returns:
        {setting: value} of a run, and `attention_levels`: which levels have attention, for of which
        width they are is not to be seen.

    Raises:
        ValueError: the modules are not those of such a network.

    Example:
        >>> from ncsn_tf import NCSNpp
        >>> from ncsn_tf.models.reference_weights import reference_shapes
        >>> network = NCSNpp((8, 8, 1), features=4, multipliers=(1, 2), num_res_blocks=1)
        >>> arrays = {name: np.zeros(shape) for name, shape in reference_shapes(network).items()}
        >>> settings = unet_settings(arrays)
        >>> settings["model"], settings["multipliers"], settings["embedding"]
        ('ncsnpp', '1,2', 'fourier')
    """
    modules = _modules(arrays)
    is_fourier = "W" in modules.get(0, {})
    first = is_fourier + 2  # after the embedding: the first convolution
    kernel = modules.get(first, {}).get("weight", ())
    if len(kernel) != 4 or not min(kernel):
        raise ValueError("its first modules are not those of a network with a condition")
    features, channels = kernel[:2]
    seen = {index: _kind(parts) for index, parts in modules.items() if index >= first}
    has_nin = any({"NIN_0.W", "Conv_0.weight"} <= parts.keys() for parts in modules.values())
    block = "ddpm" if has_nin else "biggan"
    for pyramid, progressive, (levels, blocks) in itertools.product(
        _PYRAMIDS, _PROGRESSIVES, _sizes(seen, block)
    ):
        found = _network(
            seen, features, channels, block, pyramid, progressive, levels, blocks, first
        )
        if found is not None:
            break
    else:
        raise ValueError("its modules are not those of an NCSN++, DDPM++ or DDPM")
    plain = pyramid[0] == progressive == "none"
    model = "ncsnpp" if is_fourier or not plain else "ddpm" if block == "ddpm" else "ddpmpp"
    settings = {
        "model": model,
        **found,
        "features": features,
        "channels": channels,
        "num_res_blocks": blocks,
        "embedding": "fourier" if is_fourier else "positional",
        "block": block,
        "progressive_input": pyramid[0],
        "progressive_combine": pyramid[1],
        "progressive": progressive,
    }
    if is_fourier:
        settings |= {"sde": "ve", "continuous": True}
    if any("Conv2d_0.weight" in parts for parts in modules.values()):
        settings["fir"] = True
    elif any(kind == ("convolution", 3) for kind, _ in seen.values()):
        settings["fir"] = False
    return settings


def _modules(arrays):
    """{index of a module: {name of its parameter: shape}}."""
    modules = {}
    for name, array in arrays.items():
        match = re.fullmatch(r"all_modules\.([0-9]{1,5})\.(.+)", name)
        if match:
            modules.setdefault(int(match[1]), {})[match[2]] = np.shape(array)
    return modules


def _kind(parts):
    """(what a module is, its channels), as `_expected` has it."""
    if len(parts.get("NIN_3.W", ())) == 2:
        return "attend", parts["NIN_3.W"][1]
    kernels = [parts[name] for name in ("Conv_0.weight", "Conv2d_0.weight") if name in parts]
    if kernels and len(kernels[0]) == 4:
        filters, channels, width, _ = kernels[0]
        return ("block", channels) if "Conv_1.weight" in parts else ("convolution", width), filters
    kernel = parts.get("weight", ())
    return len(kernel), kernel[0] if kernel else 0


def _blocks(seen):
    """Where the residual blocks are, in order."""
    is_block = {
        index: isinstance(kind, tuple) and kind[0] == "block" for index, (kind, _) in seen.items()
    }
    return [index for index in sorted(seen) if is_block[index]]


def _sizes(seen, block):
    """The (levels, residual blocks a level) that make so many blocks in all."""
    count = len(_blocks(seen))
    # Two in the middle, one more a level on the way up; of BigGAN two more between levels.
    between = 2 if block == "biggan" else 0
    for levels in range(1, _MOST_LEVELS + 1):
        blocks, rest = divmod(count - 2 - levels - between * (levels - 1), 2 * levels)
        if blocks >= 1 and not rest:
            yield levels, blocks


def _network(seen, features, channels, block, pyramid, progressive, levels, blocks, first):
    """Multipliers and levels with attention of a network of those settings; None: it is another."""
    places = _blocks(seen)
    stride = blocks + (block == "biggan")
    firsts = [places[level * stride] for level in range(levels)]  # blocks of each level
    outs = [seen[index][1] for index in firsts]
    if any(out % features for out in outs):
        return None
    multipliers = tuple(out // features for out in outs)
    attention = tuple(
        level for level, index in enumerate(firsts) if seen.get(index + 1, ("",))[0] == "attend"
    )
    width = 2**levels
    steps = unet_steps(
        *(width, channels, features, multipliers, blocks),
        tuple(width >> level for level in attention),
        *(block, pyramid[0], progressive, pyramid[1], first),
    )
    if _expected(steps, pyramid[1]) != seen:
        return None
    return {"multipliers": ",".join(map(str, multipliers)), "attention_levels": attention}


def _expected(steps, combine):
    """{index: (what the module is, its channels)} of a network."""
    modules, h = {}, 0
    for step in steps:
        match step.action:
            case "block":
                modules[step.index] = (("block", h), step.filters)
            case "attend":
                modules[step.index] = ("attend", step.filters)
            case "convolve":
                modules[step.index] = (4, step.filters)
            case "take":
                modules[step.index] = (
                    ("convolution", 1),
                    step.filters // (2 if combine == "cat" else 1),
                )
            case "merge" | "grow" | "resample":
                modules[step.index] = (("convolution", 3), step.filters)
            case "begin" | "draw" | "finish":
                modules[step.index] = (1, h)
                modules[step.index + 1] = (4, step.filters)
        if step.action not in ("embed", "begin", "draw", "finish"):
            h = step.filters
    return modules
