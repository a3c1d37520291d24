"""Seconds from the start of a process to its first result; started by `benchmarks.run`."""

from benchmarks.children import Request, answer
from benchmarks.machine import gemm_rate
from benchmarks.timing import quantile, repeat


def measure(request: Request) -> dict:
    """Marks of a training run's start, or of a SavedModel's.

    Returns:
        marks: {event: seconds from the start of the process}, in order. later: seconds of the same
        work done again. graph_nodes. gemm_after: GFLOP/s.
    """
    export = request.parameters["export"]
    return _saved_model(request, export) if export else _training(request)


def _training(request):
    from ncsn_tf.commands.start import start_for_training

    strategy = start_for_training(request.config)
    from benchmarks import operations
    from benchmarks.training import SyntheticTraining

    marks = {"imported": request.age()}
    training = SyntheticTraining(request.config, strategy)
    marks["built"] = request.age()
    graph = training.trace()
    marks["traced"] = request.age()
    training.step()
    marks["first"] = request.age()
    later = quantile(repeat(training.step, 0.0), 0.5)
    training.check()
    return {
        "marks": marks,
        "later": later,
        "graph_nodes": operations.graph_nodes(graph),
        "gemm_after": gemm_rate(),
    }


def _saved_model(request, export):
    from pathlib import Path

    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    marks = {"imported": request.age()}
    score = tf.saved_model.load(export).signatures["score"]
    marks["loaded"] = request.age()
    x = tf.zeros([request.config.batch_size, *request.config.image_shape])
    label = tf.zeros([request.config.batch_size], tf.int32)

    def evaluate():
        score(x=x, label=label)["score"].numpy()

    evaluate()
    marks["first"] = request.age()
    later = quantile(repeat(evaluate, 0.0), 0.5)
    from benchmarks import operations

    saved = saved_model_pb2.SavedModel.FromString((Path(export) / "saved_model.pb").read_bytes())
    return {
        "marks": marks,
        "later": later,
        "graph_nodes": operations.graph_nodes(saved.meta_graphs[0].graph_def),
        "gemm_after": gemm_rate(),
    }


if __name__ == "__main__":
    answer(measure)
