"""The third generation's network: NCSN++ and DDPM++, which differ by their settings alone."""

import inspect
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf.models.class_labels import check_num_classes
from ncsn_tf.models.embeddings import EMBEDDINGS
from ncsn_tf.models.resampling import FIR_KERNEL
from ncsn_tf.models.unet import UNet
from ncsn_tf.models.unet_steps import Step, unet_steps

CHOICES = {
    "embedding": EMBEDDINGS,
    "block": ("biggan", "ddpm"),
    "progressive_input": ("none", "input_skip", "residual"),
    "progressive": ("none", "output_skip", "residual"),
    "progressive_combine": ("sum", "cat"),
    "activation": ("swish", "elu", "relu", "lrelu"),
}


@keras.saving.register_keras_serializable("ncsn_tf")
class NCSNpp(UNet):
    """The U-Net of NCSN++ and DDPM++, told the noise by an embedding of a condition.

    What it does, step by step, is the table `unet_steps`; a layer is named by its action and by the
    number of its counterpart in the released code: `block4` is `all_modules.4`. The defaults are
    those of NCSN++ on CIFAR-10 but for its progressive_input="residual"; DDPM++ has
    embedding="positional", fir=False, scale_by_sigma=False, centered=True. The network is complete
    after construction: restoring a checkpoint needs no call first.

    Args:
        image_shape: (height, width, channels), height and width multiples of 2^(levels - 1).
        features: channels F of the first level.
        multipliers: channels of each level, in units of F; each level has half the size of the one
            before.
        num_res_blocks: residual blocks a level, and one more on the way up.
        attention_sizes: widths of images that get attention; the smallest always has it.
        embedding: "fourier" (of sigma) or "positional" (of a label, or of 999 t).
        block: what resamples: a residual block ("biggan") or a layer of its own ("ddpm").
        fir: whether a filter takes part in resampling; without it a 2 x 2 mean, or pixels repeated.
        fir_kernel: the filter's taps.
        progressive_input: "input_skip" adds smaller copies of the image to the features,
            "residual" a pyramid of convolutions.
        progressive: "output_skip" sums images of all sizes into the result, "residual" is a pyramid
            of convolutions.
        progressive_combine: for "input_skip": "sum", or "cat" for more channels.
        resamp_with_conv: whether the layers of block="ddpm" that resample are convolutions.
        skip_rescale: whether sums in blocks and pyramids are divided by sqrt(2).
        scale_by_sigma: whether the result is divided by sigma.
        sigmas: [N], from the largest on: sigma of each label, where a positional embedding and
            scale_by_sigma need it.
        centered: whether images are given in [-1, 1]; otherwise they are in [0, 1], and rescaled.
        conditional: whether the blocks know the condition.
        activation: one of "swish", "elu", "relu" and "lrelu".
        dropout: rate within each block, when training.
        recompute: keep only the blocks' inputs for the backward pass, which runs every block again:
            less memory, a third more work.
        num_classes: classes of images K, with an embedding that is added to the condition's; 0 for
            a network that knows none.

    Shapes: x float [B, height, width, channels], condition [B], labels int32 [B] in [0, K], where
    K and no labels at all mean "no label" -> float32, of x's shape. The condition is sigma for a
    Fourier embedding; else a step's number, or 999 t, which need not be whole.
    `training` switches dropout on. Its noise is of TensorFlow's global generator, or that of
    `dropout_noise`: a function of the number of a block and a shape, which answers with numbers
    uniform in [0, 1) and, called again with the same arguments, with the same.

    Raises:
        ValueError: on settings that the network cannot have.

    Source: Song et al. 2021 (arXiv:2011.13456), section 4.2 and appendix H; details of the released
    code.

    Example:
        >>> network = NCSNpp((8, 8, 1), features=4, multipliers=(1, 2), num_res_blocks=1)
        >>> y = network(tf.zeros([2, 8, 8, 1]), tf.constant([50.0, 0.01]))
        >>> tuple(y.shape)
        (2, 8, 8, 1)
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        features: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        num_res_blocks: int = 4,
        attention_sizes: Sequence[int] = (16,),
        *,
        embedding: str = "fourier",
        block: str = "biggan",
        fir: bool = True,
        fir_kernel: Sequence[float] = FIR_KERNEL,
        progressive_input: str = "none",
        progressive: str = "none",
        progressive_combine: str = "sum",
        resamp_with_conv: bool = True,
        skip_rescale: bool = True,
        scale_by_sigma: bool = True,
        sigmas: Sequence[float] | np.ndarray | tf.Tensor | None = None,
        centered: bool = False,
        conditional: bool = True,
        activation: str = "swish",
        dropout: float = 0.0,
        recompute: bool = False,
        num_classes: int = 0,
        **kwargs: Any,
    ) -> None:
        # A condition may be 347.9: it is not rounded to the type that convolutions compute in.
        super().__init__(autocast=False, **kwargs)
        self.image_shape = tuple(image_shape)
        self.features = features
        self.multipliers = tuple(multipliers)
        self.num_res_blocks = num_res_blocks
        self.attention_sizes = tuple(attention_sizes)
        self.embedding = embedding
        self.block = block
        self.fir = fir
        self.fir_kernel = tuple(fir_kernel)
        self.progressive_input = progressive_input
        self.progressive = progressive
        self.progressive_combine = progressive_combine
        self.resamp_with_conv = resamp_with_conv
        self.skip_rescale = skip_rescale
        self.scale_by_sigma = scale_by_sigma
        self.sigmas = None if sigmas is None else np.asarray(sigmas, np.float32)
        self.centered = centered
        self.conditional = conditional
        self.activation = activation
        self.dropout = dropout
        self.recompute = recompute
        self.num_classes = num_classes
        self._check()
        self.build((None, *self.image_shape))

    def _check(self):
        """Raise a ValueError for settings that do not fit together."""
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}"
                )
        height, width, channels = self.image_shape
        multiple = 2 ** (len(self.multipliers) - 1)
        if min(height, width) < multiple or height % multiple or width % multiple:
            raise ValueError(
                f"image height and width must be multiples of {multiple} for "
                f"{len(self.multipliers)} levels, not {height} x {width}"
            )
        if min(self.features, channels, self.num_res_blocks, *self.multipliers) < 1:
            raise ValueError("features, channels, multipliers and num_res_blocks must be positive")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout}")
        if self.scale_by_sigma and self.embedding == "positional" and self.sigmas is None:
            raise ValueError("scale_by_sigma with a positional embedding needs sigmas")
        if self.sigmas is not None and (self.sigmas.ndim != 1 or not np.all(self.sigmas > 0)):
            raise ValueError("sigmas must be a vector of positive noise levels")
        check_num_classes(self.num_classes)
        if self.num_classes and not self.conditional:
            raise ValueError("a network of classes needs conditional=True")

    @property
    def steps(self) -> tuple[Step, ...]:
        """What the network does, in order."""
        embedding_modules = (self.embedding == "fourier") + 2 * self.conditional
        return unet_steps(
            self.image_shape[1],
            self.image_shape[2],
            self.features,
            tuple(self.multipliers),
            self.num_res_blocks,
            tuple(self.attention_sizes),
            self.block,
            self.progressive_input,
            self.progressive,
            self.progressive_combine,
            embedding_modules,
        )

    def get_config(self) -> dict[str, Any]:
        names = list(inspect.signature(type(self).__init__).parameters)[1:-1]  # not self, kwargs
        config = {name: getattr(self, name) for name in names}
        if config["sigmas"] is not None:
            config["sigmas"] = self.sigmas.tolist()
        return {
            **super().get_config(),
            "name": self.name,
            "dtype": self.dtype_policy.name,
            **config,
        }
