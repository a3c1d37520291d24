"""From the answers of a measurement's processes to rows of numbers."""

import collections

from benchmarks.cases import Case
from benchmarks.convolutions import PRODUCTS
from benchmarks.timing import quantile, summarize
from ncsn_tf.settings.config import Config

# Share of its machine's GEMM rate that the reference implementation (PyTorch) reaches on two CPU
# cores at 32x32x3 in float32. Given numbers, for orientation; nothing here measures them.
# {(measurement, features, batch size): share}
REFERENCE_SHARES = {
    ("train", 32, 16): 0.41,
    ("sample", 32, 16): 0.36,
    ("train", 128, 4): 0.60,
    ("sample", 128, 4): 0.58,
}
REFERENCE_STARTUP = (1.3, 3.3)  # seconds, from small to large network


def train_rows(case: Case, results: list[dict]) -> list[dict]:
    """One row: speed, share of the GEMM rate, memory, start."""
    gflop = results[0]["gflop"]
    return [
        {
            **_speed("train", case, results, "seconds", gflop),
            "processor": _median(results, "processor_seconds"),
            "peak_memory": max(result["peak_memory"] for result in results),
            "first_step": _median(results, "first_step"),
            "graph_nodes": results[0]["graph_nodes"],
        }
    ]


def sample_rows(case: Case, results: list[dict]) -> list[dict]:
    """One row: the network alone, and what a Langevin step costs beside it."""
    row = _speed("sample", case, results, "seconds", results[0]["gflop"])
    step = summarize([value for result in results for value in result["step_seconds"]])
    # Of each process by itself, so that a change of the machine's speed between two cancels.
    steps, own = (
        [quantile(result[name], 0.5) / quantile(result["seconds"], 0.5) for result in results]
        for name in ("step_seconds", "bare_seconds")
    )
    return [
        row
        | {
            "langevin_step": step.median,
            "langevin_spread": step.spread,
            "overhead": quantile(steps, 0.5) - 1,
            "own_work": quantile(own, 0.5),
            "chain_steps": results[0]["chain_steps"],
            "peak_memory": max(result["peak_memory"] for result in results),
        }
    ]


def pytorch_rows(case: Case, results: list[dict]) -> list[dict]:
    """One row: the same work in PyTorch."""
    speed = _speed("pytorch", case, results, "seconds", results[0]["gflop"])
    return [
        {
            "program": "PyTorch",
            **speed,
            "peak_memory": max(result["peak_memory"] for result in results),
        }
    ]


def convolutions_rows(case: Case, results: list[dict]) -> list[dict]:
    """A row for each shape; the least times of an evaluation and a step, if all else took none."""
    gemm = _median(results, "gemm")
    evaluation = results[0]["gflop"]
    rows, totals = [], collections.Counter()
    for index, first in enumerate(results[0]["convolutions"]):
        row = {name: first[name] for name in ("convolution", "number", "gflop")}
        for product in PRODUCTS:
            if product in first:
                seconds = _median([each["convolutions"][index] for each in results], product)
                row[product] = seconds
                row[f"{product}_share"] = first["gflop"] / seconds / gemm
                totals[product] += first["number"] * seconds
        rows.append(row)
    least = {"sample": totals["result"], "train": sum(totals.values())}
    for measurement, text, factor in [("sample", "an evaluation", 1), ("train", "a step", 3)]:
        share = factor * evaluation / least[measurement] / gemm
        reference = reference_share(measurement, case.config)
        rows.append(
            {
                "convolution": f"all of {text}",
                "number": sum(row["number"] for row in rows if "gflop" in row),
                "seconds": least[measurement],
                "share": share,
                "reference_share": reference,
                "over_reference": share / reference if reference else None,
            }
        )
    return rows


def startup_rows(case: Case, results: list[dict]) -> list[dict]:
    """One row: the marks of a start, each in seconds from the start of the process."""
    names = results[0]["marks"]
    marks = {name: quantile([r["marks"][name] for r in results], 0.5) for name in names}
    return [
        {
            **marks,
            "spread": summarize([result["marks"]["first"] for result in results]).spread,
            "later": _median(results, "later"),
            "graph_nodes": results[0]["graph_nodes"],
            "gemm": _median(results, "gemm_after"),
        }
    ]


def memory_rows(case: Case, results: list[dict]) -> list[dict]:
    """One row: the peak, and what of it is the training's."""
    above = [result["peak"] - result["after_import"] for result in results]
    return [
        {
            "after_import": _median(results, "after_import"),
            "after_build": _median(results, "after_build"),
            "peak_memory": max(result["peak"] for result in results),
            "above_import": max(above),
        }
    ]


def data_rows(case: Case, results: list[dict]) -> list[dict]:
    """One row: batches alone, steps alone, steps that wait for their batch."""
    batch, step, fed = (
        summarize([value for result in results for value in result[name]])
        for name in ("batch_seconds", "step_seconds", "fed_seconds")
    )
    size = case.config.batch_size
    return [
        {
            "load": _median(results, "load"),
            "batches_per_second": 1 / batch.median,
            "batch_spread": batch.spread,
            "data_images_per_second": size / batch.median,
            "step_images_per_second": size / step.median,
            "fed_images_per_second": size / fed.median,
            "data_over_step": step.median / batch.median,
            "fed_slowdown": fed.median / step.median - 1,
        }
    ]


def prepared_rows(case: Case, results: list[dict]) -> list[dict]:
    """One row: how a folder is prepared, how soon it is there again, and what reading it takes."""
    alone = quantile([value for result in results for value in result["alone"]], 0.5)
    rates, loads = {}, {}
    for name in ("file", "memory"):
        rows, batches = zip(*(result[f"from_{name}"] for result in results), strict=True)
        loads[name] = quantile([value for part in rows for value in part], 0.5)
        rates[name] = case.config.batch_size / quantile([v for part in batches for v in part], 0.5)
    prepared = _median(results, "prepared")
    return [
        {
            "alone": alone,
            "prepared": prepared,
            "prepared_share": prepared / alone,
            "load": _median(results, "opened"),
            "first_batch": _median(results, "first_batch"),
            "rows_file": loads["file"],
            "rows_memory": loads["memory"],
            "data_images_per_second": rates["file"],
            "memory_images_per_second": rates["memory"],
            "peak_memory": max(result["peak"] for result in results),
        }
    ]


def serve_rows(case: Case, results: list[dict]) -> list[dict]:
    """A row for each number of clients and way of serving."""
    start = {name: _median(results, name) for name in ("load", "first_image", "from_start")}
    rows = []
    for index, first in enumerate(results[0]["loads"]):
        loads = [result["loads"][index] for result in results]
        rates = summarize([load["images"] / load["seconds"] for load in loads])
        latencies = [value for load in loads for value in load["latencies"]]
        sizes = [size for load in loads for size in load.get("batches", ())]
        rows.append(
            {
                **start,
                "clients": first["clients"],
                "merging": first["merging"],
                "images_per_second": rates.median,
                "spread": rates.spread,
                "latency_median": quantile(latencies, 0.5),
                "latency_p95": quantile(latencies, 0.95),
                "rows_a_batch": sum(sizes) / len(sizes) if sizes else 1.0,
                "images": len(latencies),
            }
        )
    return rows


def _speed(measurement, case, results, key, gflop):
    """Seconds, images/s, GFLOP/s and shares of the GEMM rate of some processes."""
    times = summarize([value for result in results for value in result[key]])
    gemm = [(result["gemm_before"] + result["gemm_after"]) / 2 for result in results]
    # Each process against its own GEMM rate: a machine's speed changes from minute to minute.
    shares = [
        gflop / quantile(result[key], 0.5) / rate
        for result, rate in zip(results, gemm, strict=True)
    ]
    share = quantile(shares, 0.5)
    reference = reference_share(measurement, case.config)
    return {
        "seconds": times.median,
        "spread": times.spread,
        "runs": times.count,
        "images_per_second": case.config.batch_size / times.median,
        "gflops": gflop / times.median,
        "gemm_before": _median(results, "gemm_before"),
        "gemm_after": _median(results, "gemm_after"),
        "share": share,
        "reference_share": reference,
        "over_reference": share / reference if reference else None,
    }


def reference_share(measurement: str, config: Config) -> float | None:
    """The reference's share of the GEMM rate in the same case; None where it is not known."""
    if config.model != "ncsn" or config.image_shape != (32, 32, 3):
        return None
    if config.settled().precision != "float32":
        return None
    return REFERENCE_SHARES.get((measurement, config.features, config.batch_size))


def _median(results, key):
    return quantile([result[key] for result in results], 0.5)


ROWS = {
    "train": train_rows,
    "sample": sample_rows,
    "pytorch": pytorch_rows,
    "convolutions": convolutions_rows,
    "startup": startup_rows,
    "memory": memory_rows,
    "data": data_rows,
    "prepared": prepared_rows,
    "serve": serve_rows,
}
