"""What TensorFlow Serving reads beside a model: a warm-up request and how to merge requests."""

from pathlib import Path

FOLDER = "assets.extra"
WARM_UP = "tf_serving_warmup_requests"
BATCHING = "batching_params.pbtxt"


def write(export, tile, max_batch_size):
    """Add both files to a SavedModel.

    Args:
        export: the SavedModel's folder.
        tile: images that the chain evaluates together.
        max_batch_size: most images that the server merges into one run of the model.
    """
    folder = Path(export) / FOLDER
    folder.mkdir()
    (folder / BATCHING).write_text(batching_parameters(tile, max_batch_size), encoding="utf-8")
    write_warm_up(folder / WARM_UP)


def write_warm_up(path):
    """Write the request that a server runs before it offers the model.

    One `sample` of one step a level: it runs every operation of the chain once. (A request of
    `serving_default` would draw a whole image at every load.) The format is a TFRecord file of
    `PredictionLog` messages.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = "sample"
    inputs = {
        "seed": tf.constant([0], tf.int64),
        "steps_per_level": tf.constant([1], tf.int32),
        "step_lr": tf.constant([0.0]),
    }
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())


def batching_parameters(tile, max_batch_size):
    """Text of a `BatchingParameters` message for the sampler.

    The chain evaluates whole tiles, so batches are filled up to a number of tiles, doubling up to
    the largest. One thread: a running chain keeps the device busy. A chain takes seconds to
    minutes, so that waiting half a second for company costs little.
    """
    sizes, size = [], tile
    while size < max_batch_size:
        sizes.append(size)
        size *= 2
    lines = [
        f"max_batch_size {{ value: {max_batch_size} }}",
        "batch_timeout_micros { value: 500000 }",
        "max_enqueued_batches { value: 100 }",
        "num_batch_threads { value: 1 }",
        *(f"allowed_batch_sizes: {size}" for size in [*sizes, max_batch_size]),
    ]
    return "\n".join(lines) + "\n"
