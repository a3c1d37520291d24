"""The network of denoising diffusion probabilistic models, as the third generation has it."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf.models.ncsnpp import NCSNpp


@keras.saving.register_keras_serializable("ncsn_tf")
class DDPM(NCSNpp):
    """The U-Net of Ho et al., told the noise by a positional embedding.

    It is an `NCSNpp` without filter, pyramids and division by sqrt(2), whose sizes change by
    convolutions between the residual blocks, and whose normalisations have 32 groups whatever the
    channels.

    Args:
        image_shape: (height, width, channels), height and width multiples of 2^(levels - 1).
        features: channels F of the first level, a multiple of 32.
        multipliers, num_res_blocks, attention_sizes, resamp_with_conv, scale_by_sigma, sigmas,
        centered, conditional, activation, dropout, recompute, num_classes: see `NCSNpp`.

    Shapes: x float [B, height, width, channels], condition [B] (a step's number, or 999 t), labels
    int32 [B] in [0, num_classes] or none -> float32, of x's shape.

    Raises:
        ValueError: on settings that the network cannot have.

    Source: Ho et al. 2020 (arXiv:2006.11239), appendix B; details of the released code of Song et
    al. 2021 (arXiv:2011.13456).

    Example:
        >>> network = DDPM((8, 8, 1), features=32, multipliers=(1, 1), num_res_blocks=1)
        >>> tuple(network(tf.zeros([2, 8, 8, 1]), tf.constant([0.5, 999.0])).shape)
        (2, 8, 8, 1)
    """

    GROUPS = 32

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        features: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        num_res_blocks: int = 2,
        attention_sizes: Sequence[int] = (16,),
        *,
        resamp_with_conv: bool = True,
        scale_by_sigma: bool = False,
        sigmas: Sequence[float] | np.ndarray | tf.Tensor | None = None,
        centered: bool = True,
        conditional: bool = True,
        activation: str = "swish",
        dropout: float = 0.0,
        recompute: bool = False,
        num_classes: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_shape,
            features,
            multipliers,
            num_res_blocks,
            attention_sizes,
            embedding="positional",
            block="ddpm",
            fir=False,
            skip_rescale=False,
            resamp_with_conv=resamp_with_conv,
            scale_by_sigma=scale_by_sigma,
            sigmas=sigmas,
            centered=centered,
            conditional=conditional,
            activation=activation,
            dropout=dropout,
            recompute=recompute,
            num_classes=num_classes,
            **kwargs,
        )
