"""The reference PyTorch programs' parameters: which weight of ours each one is, and its layout."""

from collections.abc import Mapping

import keras
import numpy as np

from ncsn_tf.backend.compat import raw_variable


def load_reference_weights(network: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Give a network the weights of the reference network.

    Args:
        network: an `ncsn_tf.NCSN` or `ncsn_tf.NCSNv2`.
        arrays: {reference parameter name: array}; kernels [out, in, height, width], normalisation
            tables [L, 3 C] split as (gamma, alpha, beta) for NCSN, vectors `gamma`, `alpha` and
            `beta` [C] for NCSNv2; names without the `module.` prefix of a data-parallel model.
            NCSNv2's noise levels, `sigmas` [L], may be there or not.

    Raises:
        ValueError: naming the first parameter that is missing, is not the network's, or has another
            shape, or noise levels that are not the network's. The network is changed only when
            everything fits.

    Example:
        >>> from ncsn_tf import NCSN
        >>> network = NCSN(image_shape=(8, 8, 1), features=2, num_levels=3)
        >>> shapes = reference_shapes(network)
        >>> arrays = {name: np.full(shape, 0.5) for name, shape in shapes.items()}
        >>> load_reference_weights(network, arrays)
        >>> network.begin_conv.bias.numpy().tolist()
        [0.5, 0.5]
    """
    arrays = _without_sigmas(network, arrays)
    targets = _reference_variables(network)
    for name in targets:
        if name not in arrays:
            raise ValueError(f"the reference weights have no parameter {name!r}")
    values = {}
    for name, array in arrays.items():
        if name not in targets:
            raise ValueError(f"the network has no place for the reference parameter {name!r}")
        value = np.asarray(array)
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
        variable, third = targets[name]
        expected = tuple(variable.shape)
        if third is not None:
            expected = (expected[1] // 3,)
        if value.shape != expected:
            raise ValueError(
                f"the reference parameter {name!r} has shape {tuple(np.shape(array))}, which "
                f"becomes {value.shape}; the network needs {expected}"
            )
        if not np.isfinite(value).all():
            raise ValueError(f"the reference parameter {name!r} holds values that are not finite")
        values.setdefault(id(variable), (variable, {}))[1][third] = value
    for variable, parts in values.values():
        value = parts[None] if None in parts else np.concatenate([parts[i] for i in range(3)])
        raw_variable(variable).assign(value.reshape(variable.shape))


def reference_shapes(network: keras.Model) -> dict[str, tuple[int, ...]]:
    """{reference parameter name: shape} of an `ncsn_tf.NCSN`, kernels [out, in, height, width].

    Example:
        >>> from ncsn_tf import NCSN
        >>> shapes = reference_shapes(NCSN(image_shape=(8, 8, 1), features=4, num_levels=3))
        >>> shapes["begin_conv.weight"], shapes["normalizer.embed.weight"]
        ((4, 1, 3, 3), (3, 12))
    """
    shapes = {}
    for name, (variable, _) in _reference_variables(network).items():
        shape = tuple(variable.shape)
        shapes[name] = shape if len(shape) < 4 else (shape[3], shape[2], *shape[:2])
    return shapes


def _without_sigmas(network, arrays):
    """The parameters alone, once the noise levels among them have been compared."""
    known = getattr(network, "sigmas", None)
    if known is None or "sigmas" not in arrays:
        return arrays
    arrays = dict(arrays)
    sigmas = np.asarray(arrays.pop("sigmas"))
    if sigmas.shape != known.shape or not np.allclose(sigmas, known, rtol=1e-4, atol=0.0):
        raise ValueError(
            f"the reference's noise levels, {_range(sigmas)}, are not the network's, "
            f"{_range(known)}"
        )
    return arrays


def _range(sigmas):
    ends = f" from {sigmas[0]:g} to {sigmas[-1]:g}" if sigmas.ndim == 1 and sigmas.size else ""
    return f"{sigmas.size}{ends}"


def _reference_variables(network):
    """{reference name: (the network's weight, which third of its columns or None for all)}."""
    names = {}

    def convolution(name, layer):
        names[f"{name}.weight"] = layer.kernel, None
        if layer.bias is not None:
            names[f"{name}.bias"] = layer.bias, None

    def norm(name, layer):
        if layer is None:
            return
        if network.RESIDUAL_NORMALIZATION == "conditional":
            names[f"{name}.embed.weight"] = layer.table, None
        else:
            for third, part in enumerate(("gamma", "alpha", "beta")):
                names[f"{name}.{part}"] = layer.table, third

    def units(name, layer):
        for index, stage in enumerate(layer.stages):
            position = f"{name}.{index // 2 + 1}_{index % 2 + 1}"
            norm(f"{position}_norm", stage.norm)
            convolution(f"{position}_conv", stage.conv)

    convolution("begin_conv", network.begin_conv)
    norm("normalizer", network.end_conv.norm)
    convolution("end_conv", network.end_conv.conv)
    for block in network.blocks:
        name = block.name.replace("_", ".")  # res2_0 -> res2.0
        pooled = ".conv" if block.pools else ""
        norm(f"{name}.normalize1", block.stage1.norm)
        convolution(f"{name}.conv1", block.stage1.conv)
        norm(f"{name}.normalize2", block.stage2.norm)
        convolution(f"{name}.conv2{pooled}", block.stage2.conv)
        if block.shortcut is not None:
            convolution(f"{name}.shortcut{pooled}", block.shortcut)
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
                convolution(f"{name}.{part}.convs.{index}", conv)
    return names
