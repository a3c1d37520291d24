"""The noise-conditional score networks of Song & Ermon: NCSN (2019) and NCSNv2 (2020)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf.models.refinenet import RefineNet


@keras.saving.register_keras_serializable("ncsn_tf")
class NCSN(RefineNet):
    """Noise-conditional score network: a dilated RefineNet with conditional instance
    normalisation++.

    s(x, i) estimates the score grad_x log q_i(x) of the data perturbed by noise of standard
    deviation sigma_i. Four stages of two residual blocks (the second halves the resolution, the
    third and fourth dilate by 2 and 4), four refine blocks back up, ELU throughout. x is rescaled
    to [-1, 1] inside. The network is complete after construction: restoring a checkpoint needs no
    call first.

    Args:
        image_shape: (height, width, channels), height and width even.
        features: channels g of the first stage, at least 2 (128 for CIFAR-10 and CelebA, 64 for
            MNIST).
        num_levels: number of noise levels L.
        recompute: keep only the blocks' inputs for the backward pass, which runs every block again:
            less memory, a third more work.
        num_classes: classes of images K, whose tables stand beside the levels' and start from 0;
            0 for a network that knows none.

    Shapes: x float [B, height, width, channels] with data in [0, 1], levels int32 [B] in [0, L),
    labels int32 [B] in [0, K], where K and no labels at all mean "no label" -> score float32, of
    x's shape.

    Raises:
        ValueError: on sizes that the network cannot have.

    Source: Song & Ermon 2019 (arXiv:1907.05600), section 4 and appendix A; sizes and details of the
    released code.

    Example:
        >>> network = NCSN(image_shape=(8, 8, 1), features=2, num_levels=10)
        >>> score = network(tf.zeros([2, 8, 8, 1]), tf.constant([0, 9]))
        >>> tuple(score.shape)
        (2, 8, 8, 1)
    """

    def __init__(
        self, image_shape: tuple[int, int, int], features: int, num_levels: int, **kwargs: Any
    ) -> None:
        super().__init__(image_shape, features, num_levels, "base", **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_levels": self.num_levels}


@keras.saving.register_keras_serializable("ncsn_tf")
class NCSNv2(RefineNet):
    """The second generation: the noise level enters by the division of the output alone.

        s(x, i) = f(x) / sigma_i

    f is the RefineNet of `NCSN` with instance normalisation++ that does not know the level, only
    in the residual blocks and before the last convolution, and with max pooling in the refine
    blocks. The noise levels are constants of the network, not weights.

    Args:
        image_shape: (height, width, channels), height and width multiples of 2, 4 or 8 by depth.
        features: channels g of the first stage, at least 2 (128 in the paper).
        sigmas: [L], standard deviations of the noise levels, positive.
        depth: "base" (four stages; up to 64 pixels in the paper), "deeper" (five, of up to 4 g
            channels; 96 and 128 pixels) or "deepest" (six; 256 pixels).
        recompute, num_classes: see `NCSN`.

    Shapes: x float [B, height, width, channels] with data in [0, 1], levels int32 [B] in [0, L),
    labels int32 [B] in [0, num_classes] or none -> score float32, of x's shape.

    Raises:
        ValueError: on sizes, noise levels or a depth that the network cannot have.

    Source: Song & Ermon 2020 (arXiv:2006.09011), technique 3 and appendix B; sizes and details of
    the released code.

    Example:
        >>> network = NCSNv2(image_shape=(8, 8, 1), features=2, sigmas=[1.0, 0.5, 0.25])
        >>> score = network(tf.zeros([2, 8, 8, 1]), tf.constant([0, 2]))
        >>> tuple(score.shape), bool(np.allclose(score[1], 4.0 * score[0]))  # f(x) / sigma_i
        ((2, 8, 8, 1), True)
    """

    RESIDUAL_NORMALIZATION = "unconditional"
    REFINE_NORMALIZATION = "none"
    POOL_KIND = "max"

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        features: int,
        sigmas: Sequence[float] | np.ndarray | tf.Tensor,
        depth: str = "base",
        **kwargs: Any,
    ) -> None:
        sigmas = np.asarray(sigmas, np.float32)
        if sigmas.ndim != 1 or not np.all((sigmas > 0) & np.isfinite(sigmas)):
            raise ValueError("sigmas must be a vector of positive noise levels")
        super().__init__(image_shape, features, len(sigmas), depth, **kwargs)
        self.sigmas = sigmas

    def call(self, x: tf.Tensor, levels: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        sigma = tf.gather(tf.constant(self.sigmas), levels)  # [B]
        return super().call(x, levels, labels) / tf.reshape(sigma, [-1, 1, 1, 1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sigmas": self.sigmas.tolist(), "depth": self.depth}
