"""Load time and throughput of an exported sampler; started by `benchmarks.run`.

The SavedModel is loaded as TF Serving loads it, into a session, without this package's sampler.
"""

import time
from pathlib import Path

from benchmarks.children import Request, answer
from benchmarks.machine import gemm_rate, peak_memory
from benchmarks.server import BatchingParameters, MergingServer, SingleServer, load

SIGNATURE = "serving_default"


def measure(request: Request) -> dict:
    """Load an export, draw the first image, then serve clients without and with merging.

    Returns:
        load: seconds to load the SavedModel. first_image: of the first request after it.
        from_start: seconds from the start of the process to the first image. loads: for each number
        of clients and way of serving what `server.load` returns, and the merged batches' sizes.
        gemm_before, gemm_after: GFLOP/s. peak_memory: MiB.
    """
    import tensorflow as tf

    parameters = request.parameters
    path = Path(parameters["export"])
    batching = BatchingParameters.parse(
        (path / "batching_params.pbtxt").read_text(encoding="utf-8")
    )
    session = tf.compat.v1.Session(graph=tf.Graph())
    started = time.perf_counter()
    with session.graph.as_default():
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(path)).signature_def
    loaded = time.perf_counter()
    feed = signature[SIGNATURE].inputs["seed"].name
    fetch = signature[SIGNATURE].outputs["image_bytes"].name

    def run(seeds):
        return session.run(fetch, {feed: seeds})

    if not run([0])[0].startswith(b"\x89PNG"):
        raise ValueError(f"{path} did not answer with a PNG image")
    first = time.perf_counter()
    from_start = request.age()
    before = gemm_rate()
    loads = []
    for clients in parameters["clients"]:
        single = SingleServer(run, parameters["server_threads"])
        loads.append({"merging": False, **_serve(single, clients, parameters)})
        merging = MergingServer(run, batching)
        loads.append({"merging": True, **_serve(merging, clients, parameters)})
        loads[-1]["batches"] = merging.sizes
    after = gemm_rate()
    return {
        "load": loaded - started,
        "first_image": first - loaded,
        "from_start": from_start,
        "loads": loads,
        "gemm_before": before,
        "gemm_after": after,
        "peak_memory": peak_memory(),
    }


def _serve(server, clients, parameters):
    try:
        return load(server, clients, parameters["seconds"])
    finally:
        server.close()


if __name__ == "__main__":
    answer(measure)
