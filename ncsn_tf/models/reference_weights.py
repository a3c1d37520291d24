"""The weights of the reference PyTorch programs, brought into our networks."""

from collections.abc import Mapping

import keras
import numpy as np

from ncsn_tf.backend.compat import raw_variable
from ncsn_tf.models.ncsnpp import NCSNpp
from ncsn_tf.models.reference_places import Place, refine_net_places, unet_places


def load_reference_weights(network: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Give a network the weights of the reference network.

    Args:
        network: an `ncsn_tf.NCSN`, `NCSNv2`, `NCSNpp` or `DDPM`.
        arrays: {reference parameter name: array} in PyTorch's layouts; names without the `module.`
            prefix of a data-parallel model. The noise levels of NCSNv2 and of the third generation,
            `sigmas` [L], may be there or not, and so may the dense layers that a network without
            a condition has no use for.

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
    arrays = _used(network, arrays)
    places = _places(network)
    for name in places:
        if name not in arrays:
            raise ValueError(f"the reference weights have no parameter {name!r}")
    values = {}
    for name, array in arrays.items():
        if name not in places:
            raise ValueError(f"the network has no place for the reference parameter {name!r}")
        place = places[name]
        value = place.ours(np.asarray(array))
        if value.shape != place.shape:
            raise ValueError(
                f"the reference parameter {name!r} has shape {tuple(np.shape(array))}, which "
                f"becomes {value.shape}; the network needs {place.shape}"
            )
        if not np.isfinite(value).all():
            raise ValueError(f"the reference parameter {name!r} holds values that are not finite")
        values.setdefault(id(place.variable), (place.variable, {}))[1][place.part] = value
    for variable, parts in values.values():
        value = np.concatenate([parts[part] for part in range(len(parts))], -1)
        raw_variable(variable).assign(value.reshape(variable.shape))


def reference_shapes(network: keras.Model) -> dict[str, tuple[int, ...]]:
    """{reference parameter name: shape} of a network, in PyTorch's layouts and order.

    Example:
        >>> from ncsn_tf import NCSN
        >>> shapes = reference_shapes(NCSN(image_shape=(8, 8, 1), features=4, num_levels=3))
        >>> shapes["begin_conv.weight"], shapes["normalizer.embed.weight"]
        ((4, 1, 3, 3), (3, 12))
    """
    return {name: place.reference_shape for name, place in _places(network).items()}


def _places(network: keras.Model) -> dict[str, Place]:
    return unet_places(network) if isinstance(network, NCSNpp) else refine_net_places(network)


def _used(network, arrays):
    """The parameters that the network has, once the noise levels among them were compared."""
    arrays = dict(arrays)
    known = getattr(network, "sigmas", None)
    if isinstance(network, NCSNpp):
        if known is None:
            arrays.pop("sigmas", None)
        if not network.conditional:
            arrays = {name: a for name, a in arrays.items() if ".Dense_0." not in name}
    if known is not None and "sigmas" in arrays:
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
