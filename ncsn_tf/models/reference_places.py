"""Where each parameter of the reference PyTorch programs is in our networks, and its layout."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

# PyTorch's axes in the order of ours, and ours in the order of PyTorch's.
_KERNEL = (2, 3, 1, 0), (3, 2, 0, 1)
_DENSE = (1, 0), (1, 0)


class Place(NamedTuple):
    """A reference parameter's place: a weight of ours, or one of several parts of it.

    Attributes:
        variable: the weight. It is its parts side by side, along their last axis.
        shape: of the part, in our layout.
        part: which part, counted from 0.
        axes: PyTorch's axes in our order, and the way back; None for the same order.

    Example:
        >>> place = Place(tf.Variable(tf.zeros([1, 1, 2, 4])), (1, 1, 2, 4), axes=_KERNEL)
        >>> place.reference_shape, place.ours(np.zeros([4, 2, 1, 1])).shape
        ((4, 2, 1, 1), (1, 1, 2, 4))
    """

    variable: "keras.Variable | tf.Variable"
    shape: tuple[int, ...]
    part: int = 0
    axes: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    @property
    def reference_shape(self) -> tuple[int, ...]:
        """Of the parameter, in PyTorch's layout."""
        return self.shape if self.axes is None else tuple(self.shape[i] for i in self.axes[1])

    def ours(self, array: np.ndarray) -> np.ndarray:
        """A parameter in our layout; with another number of axes it stays as it is."""
        if self.axes is None or array.ndim != len(self.axes[0]):
            return array
        return array.transpose(self.axes[0])


def refine_net_places(network: keras.Model) -> dict[str, Place]:
    """{reference name: place} of an NCSN or NCSNv2.

    Example:
        >>> from ncsn_tf import NCSNv2
        >>> places = refine_net_places(NCSNv2((8, 8, 1), features=4, sigmas=[1.0, 0.1]))
        >>> places["res1.0.normalize1.alpha"].shape, places["res1.0.normalize1.alpha"].part
        ((4,), 1)
    """
    places = {}

    def norm(name, layer):
        if layer is None:
            return
        if network.RESIDUAL_NORMALIZATION == "conditional":
            places[f"{name}.embed.weight"] = _whole(layer.table)
        else:
            _parts(places, name, ("gamma", "alpha", "beta"), layer.table)

    def units(name, layer):
        for index, stage in enumerate(layer.stages):
            position = f"{name}.{index // 2 + 1}_{index % 2 + 1}"
            norm(f"{position}_norm", stage.norm)
            _convolution(places, f"{position}_conv", stage.conv)

    _convolution(places, "begin_conv", network.begin_conv)
    norm("normalizer", network.end_conv.norm)
    _convolution(places, "end_conv", network.end_conv.conv)
    for block in network.blocks:
        name = block.name.replace("_", ".")  # res2_0 -> res2.0
        pooled = ".conv" if block.pools else ""
        norm(f"{name}.normalize1", block.stage1.norm)
        _convolution(places, f"{name}.conv1", block.stage1.conv)
        norm(f"{name}.normalize2", block.stage2.norm)
        _convolution(places, f"{name}.conv2{pooled}", block.stage2.conv)
        if block.shortcut is not None:
            _convolution(places, f"{name}.shortcut{pooled}", block.shortcut)
    for block in network.refinements:
        name = block.name
        for index, adapter in enumerate(block.adapters):
            units(f"{name}.adapt_convs.{index}", adapter)
        units(f"{name}.output_convs", block.output_units)
        chains = {"crp": block.pooling}
        if block.fusion is not None:
            chains["msf"] = block.fusion
        for part, layer in chains.items():
            for index, layer_norm in enumerate(layer.norms):
                norm(f"{name}.{part}.norms.{index}", layer_norm)
            for index, conv in enumerate(layer.convs):
                _convolution(places, f"{name}.{part}.convs.{index}", conv)
    return places


def unet_places(network: keras.Model) -> dict[str, Place]:
    """{reference name: place} of an NCSNpp or DDPM, in the order of the released code's modules.

    Example:
        >>> from ncsn_tf import NCSNpp
        >>> network = NCSNpp((8, 8, 1), features=4, multipliers=(1,), num_res_blocks=1)
        >>> places = unet_places(network)
        >>> list(places)[:4]
        ['all_modules.0.W', 'all_modules.1.weight', 'all_modules.1.bias', 'all_modules.2.weight']
        >>> places["all_modules.4.Conv_0.weight"].variable is network.block4.conv0.kernel
        True
    """
    places = {}
    nin = "NIN_0" if network.block == "ddpm" else "Conv_2"

    def norm(name, layer):
        _parts(places, name, ("weight", "bias"), layer.table)

    def block(name, layer):
        norm(f"{name}.GroupNorm_0", layer.norm0)
        _convolution(places, f"{name}.Conv_0", layer.conv0)
        if layer.embedding:
            _dense(places, f"{name}.Dense_0", layer.dense)
        norm(f"{name}.GroupNorm_1", layer.norm1)
        _convolution(places, f"{name}.Conv_1", layer.conv1)
        if layer.shortcut is not None and nin == "Conv_2":
            _convolution(places, f"{name}.Conv_2", layer.shortcut)
        elif layer.shortcut is not None:
            _matrix(places, f"{name}.NIN_0", layer.shortcut)

    def attention(name, layer):
        norm(f"{name}.GroupNorm_0", layer.norm)
        channels = layer.qkv.shape[0]
        for part in range(3):
            places[f"{name}.NIN_{part}.W"] = Place(layer.qkv, (channels, channels), part)
            places[f"{name}.NIN_{part}.b"] = Place(layer.qkv_bias, (channels,), part)
        _matrix(places, f"{name}.NIN_3", layer.out)

    for step in network.steps:
        if not step.has_layer:
            continue
        layer, name = getattr(network, step.name), f"all_modules.{step.index}"
        match step.action:
            case "embed":
                _embedding(places, layer)
            case "convolve":
                _convolution(places, name, layer)
            case "block":
                block(name, layer)
            case "attend":
                attention(name, layer)
            case "merge" | "grow" | "resample" if step.action != "resample" or layer.weights:
                _convolution(places, f"{name}.{'Conv2d_0' if network.fir else 'Conv_0'}", layer)
            case "take":
                _convolution(places, f"{name}.Conv_0", layer.conv)
            case "begin" | "draw" | "finish":
                norm(name, layer.norm)
                _convolution(places, f"all_modules.{step.index + 1}", layer.conv)
    return places


def _whole(variable, **axes):
    return Place(variable, tuple(variable.shape), **axes)


def _parts(places, name, parts, table):
    """A table's equal parts side by side, each a vector."""
    size = int(np.prod(table.shape)) // len(parts)
    for index, part in enumerate(parts):
        places[f"{name}.{part}"] = Place(table, (size,), index)


def _convolution(places, name, layer):
    places[f"{name}.weight"] = _whole(layer.kernel, axes=_KERNEL)
    if layer.bias is not None:
        places[f"{name}.bias"] = _whole(layer.bias)


def _dense(places, name, layer):
    places[f"{name}.weight"] = _whole(layer.kernel, axes=_DENSE)
    places[f"{name}.bias"] = _whole(layer.bias)


def _matrix(places, name, layer):
    """A 1 x 1 convolution whose kernel is a matrix [in, out] there."""
    places[f"{name}.W"] = Place(layer.kernel, tuple(layer.kernel.shape)[2:])
    places[f"{name}.b"] = _whole(layer.bias)


def _embedding(places, layer):
    first = 0
    if layer.kind == "fourier":
        places["all_modules.0.W"] = _whole(layer.frequencies)
        first = 1
    if layer.dense:
        _dense(places, f"all_modules.{first}", layer.dense0)
        _dense(places, f"all_modules.{first + 1}", layer.dense1)
