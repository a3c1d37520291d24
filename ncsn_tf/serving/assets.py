"""What TensorFlow Serving reads beside a model: a warm-up request and how to merge requests."""

import os
from pathlib import Path

import tensorflow as tf

from ncsn_tf.errors import UserError
from ncsn_tf.serving import contract
from ncsn_tf.serving.request import inputs

WARM_UP = "assets.extra/tf_serving_warmup_requests"
BATCHING = "batching_params.pbtxt"  # the server looks for it beside saved_model.pb


def check_package() -> None:
    """Raise a UserError unless the messages of TensorFlow Serving can be imported."""
    _prediction_log()


def write(
    export: str | os.PathLike, *, tile: int, max_batch_size: int, warm_up: bool = True
) -> None:
    """Add both files to a SavedModel.

    Args:
        export: the SavedModel's folder.
        tile: images that the chain evaluates together.
        max_batch_size: most images that the server merges into one run of the model.
        warm_up: whether a request can ask for a short chain; without, no warm-up is written.
    """
    export = Path(export)
    (export / BATCHING).write_text(batching_parameters(tile, max_batch_size), encoding="utf-8")
    if warm_up:
        (export / WARM_UP).parent.mkdir()
        write_warm_up(export / WARM_UP)


def write_warm_up(path: str | os.PathLike) -> None:
    """Write the request that a server runs before it offers the model.

    One `sample` of one step a level, with all of its outputs. It reads the weights into memory and
    prepares `sample` as REST asks for it, for a session prepares the graph once for each set of
    outputs. The other signatures are prepared by their first request: they take no number of steps,
    so warming them would draw a whole image at every load. (Nor can a record be an empty batch: the
    server's batching fills batches up with the first row.) The format is a TFRecord file of
    `PredictionLog` messages.
    """
    log = _prediction_log()
    request = log.predict_log.request
    request.model_spec.signature_name = contract.SETTINGS
    for name, value in inputs(contract.SETTINGS, [0], num_steps_each=1).items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())


def batching_parameters(tile: int, max_batch_size: int) -> str:
    """Text of a `BatchingParameters` message for the sampler.

    The chain evaluates whole tiles, so batches are filled up to a number of tiles, doubling up to
    the largest. A chain takes seconds to minutes, so that waiting half a second for company costs
    little. The number of batch threads is no model's own: see serving/batching.config.

    Example:
        >>> print(batching_parameters(tile=8, max_batch_size=20), end="")
        max_batch_size { value: 20 }
        batch_timeout_micros { value: 500000 }
        max_enqueued_batches { value: 100 }
        allowed_batch_sizes: 8
        allowed_batch_sizes: 16
        allowed_batch_sizes: 20
    """
    sizes, size = [], tile
    while size < max_batch_size:
        sizes.append(size)
        size *= 2
    lines = [
        f"max_batch_size {{ value: {max_batch_size} }}",
        "batch_timeout_micros { value: 500000 }",
        "max_enqueued_batches { value: 100 }",
        *(f"allowed_batch_sizes: {size}" for size in [*sizes, max_batch_size]),
    ]
    return "\n".join(lines) + "\n"


def _prediction_log():
    """An empty `PredictionLog` message."""
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError as error:
        raise UserError(
            f"an export needs tensorflow-serving-api ({error}): pip install -r requirements.txt"
        ) from None
    return prediction_log_pb2.PredictionLog()
