"""The contract in TensorFlow's terms: how a function becomes a signature of it."""

import functools
import inspect
from collections.abc import Callable, Mapping

import tensorflow as tf

from ncsn_tf import sampling
from ncsn_tf.backend.choices import MOST_ROWS
from ncsn_tf.sampling.chain import column
from ncsn_tf.serving import contract


def compiled(
    functions: Mapping[str, Callable],
    image_shape: tuple[int, int, int],
    factor: int = 1,
    labelled: bool = False,
) -> dict[str, Callable]:
    """A `tf.function` with the inputs that the contract has for it, for each {name: function}.

    It checks their shapes, that all have as many rows, and that these are `MOST_ROWS` of
    `backend.choices` at most: a session takes any shape. A request that breaks them is refused as
    an invalid argument; no value is.

    Args:
        functions: their parameters are the signature's inputs, in the contract's order.
        image_shape: (height, width, channels) of the network's images.
        factor: how much `super_resolve` enlarges.
        labelled: whether the network knows classes, see `contract.inputs_of`.

    Example:
        >>> functions = compiled({"sample_uint8": lambda seed: {"image": seed}}, (8, 8, 1))
        >>> functions["sample_uint8"].input_signature
        (TensorSpec(shape=(None,), dtype=tf.int64, name='seed'),)
    """
    sizes = contract.image_sizes(image_shape, factor)

    def spec(name, tensor):
        return tf.TensorSpec(tensor.sized(sizes).shape, tensor.dtype, name)

    def checked(function, specs):
        @functools.wraps(function)
        def on_checked(*tensors):
            return function(*_checked(tensors, specs))

        # Its parameters' names are the inputs', also of those that it takes as a list.
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter(spec.name, kind) for spec in specs]
        on_checked.__signature__ = inspect.Signature(parameters)
        return tf.function(on_checked, specs, autograph=False)

    return {
        name: checked(
            function, [spec(*item) for item in contract.inputs_of(name, labelled).items()]
        )
        for name, function in functions.items()
    }


def _checked(tensors, specs):
    """The tensors, once their shapes are known to be the specs' and of equal, few rows."""
    tensors = [
        tf.ensure_shape(tensor, spec.shape, name=f"shape_of_{spec.name}")
        for tensor, spec in zip(tensors, specs, strict=True)
    ]
    first, *others = (tf.shape(tensor)[0] for tensor in tensors)
    checks = [
        tf.debugging.assert_less_equal(
            first,
            MOST_ROWS,
            f"a request may have {MOST_ROWS} rows at most, but {specs[0].name} has more",
            summarize=1,
        )
    ]
    checks += [
        tf.debugging.assert_equal(
            rows,
            first,
            f"{spec.name} must have as many rows as {specs[0].name}",
            summarize=1,
        )
        for rows, spec in zip(others, specs[1:], strict=True)
    ]
    with tf.control_dependencies(checks):
        return [tf.identity(tensor) for tensor in tensors]


def finite_rows(values: tf.Tensor) -> tf.Tensor:
    """Which rows [B, ...] are finite all over: bool [B].

    Example:
        >>> finite_rows(tf.constant([[1.0, 2.0], [3.0, float("nan")]])).numpy().tolist()
        [True, False]
    """
    values = tf.convert_to_tensor(values)
    axes = list(range(1, values.shape.rank))
    return tf.reduce_all(tf.math.is_finite(values), axis=axes)


def only_finite(values: tf.Tensor) -> tf.Tensor:
    """The values [B, ...], with zeros for rows that are not finite all over.

    Example:
        >>> only_finite(tf.constant([[1.0, 2.0], [3.0, float("nan")]])).numpy().tolist()
        [[1.0, 2.0], [0.0, 0.0]]
    """
    values = tf.convert_to_tensor(values)
    return tf.where(column(finite_rows(values), values), values, 0.0)


def image_outputs(name: str, samples: tf.Tensor, **others: tf.Tensor) -> dict[str, tf.Tensor]:
    """The outputs that the contract has for signature `name`.

    Args:
        name: a signature that draws images.
        samples: the ends of the chains, float32 [B, H, W, C]. They are clipped to [0, 1], and
            black where a chain diverged: where it is not finite.
        **others: outputs that are not made from the images.

    Example:
        >>> outputs = image_outputs("sample_uint8", tf.ones([2, 8, 8, 1]))
        >>> {name: output.dtype.name for name, output in outputs.items()}
        {'image': 'uint8'}
    """
    names = contract.ALL[name].outputs
    samples = tf.clip_by_value(only_finite(samples), 0.0, 1.0)
    image = sampling.to_uint8(samples)
    outputs = {"samples": samples, "image": image, **others}
    if "image_bytes" in names:
        outputs["image_bytes"] = tf.io.encode_png(image)
    return {output: outputs[output] for output in names}
