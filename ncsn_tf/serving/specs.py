"""The contract in TensorFlow's terms: how a function becomes a signature of it."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from ncsn_tf import sampling
from ncsn_tf.serving import contract


def compiled(
    functions: Mapping[str, Callable], image_shape: tuple[int, int, int], factor: int = 1
) -> dict[str, Callable]:
    """A `tf.function` with the inputs that the contract has for it, for each {name: function}.

    Args:
        functions: their parameters are the signature's inputs, in the contract's order.
        image_shape: (height, width, channels) of the network's images.
        factor: how much `super_resolve` enlarges.

    Example:
        >>> functions = compiled({"sample_uint8": lambda seed: {"image": seed}}, (8, 8, 1))
        >>> functions["sample_uint8"].input_signature
        (TensorSpec(shape=(None,), dtype=tf.int64, name='seed'),)
    """
    sizes = contract.image_sizes(image_shape, factor)

    def spec(name, tensor):
        return tf.TensorSpec(tensor.sized(sizes).shape, tensor.dtype, name)

    return {
        name: tf.function(
            function,
            [spec(*item) for item in contract.SIGNATURES[name].inputs.items()],
            autograph=False,
        )
        for name, function in functions.items()
    }


def image_outputs(name: str, samples: tf.Tensor, **others: tf.Tensor) -> dict[str, tf.Tensor]:
    """The outputs that the contract has for signature `name`.

    Args:
        name: a signature that draws images.
        samples: the images, float32 [B, H, W, C] in [0, 1].
        **others: outputs that are not made from the images.

    Example:
        >>> outputs = image_outputs("sample_uint8", tf.ones([2, 8, 8, 1]))
        >>> {name: output.dtype.name for name, output in outputs.items()}
        {'image': 'uint8'}
    """
    names = contract.SIGNATURES[name].outputs
    image = sampling.to_uint8(samples)
    outputs = {"samples": samples, "image": image, **others}
    if "image_bytes" in names:
        outputs["image_bytes"] = tf.io.encode_png(image)
    return {output: outputs[output] for output in names}
