"""Cases of a measurement beside each other: in PyTorch, and without averages of the weights."""

from benchmarks.timing import quantile


def compare_with_pytorch(cases: list[dict]) -> None:
    """Give each case that PyTorch's follows the times that it is as fast."""
    for ours, theirs in zip(cases, cases[1:], strict=False):
        if theirs["rows"] and theirs["rows"][0].get("program") and ours["rows"]:
            row = ours["rows"][0]
            row["over_pytorch"] = theirs["rows"][0]["seconds"] / row["seconds"]


def compare_with_averages(cases: list[dict]) -> None:
    """Give each case that keeps averages what it takes beside the same one without them.

    Each process against the one of the same turn: a machine's speed changes from minute to minute.
    """
    for kept in cases:
        if kept["rows"] and kept["settings"].get("ema_power"):
            settings = {**kept["settings"], "ema_power": ""}
            without = next(case for case in cases if case["settings"] == settings)
            turns = list(zip(kept["results"], without["results"], strict=False))
            if turns:
                kept["rows"][0] |= {
                    "over_without": _over(
                        [[quantile(r["seconds"], 0.5) for r in t] for t in turns]
                    ),
                    "processor_over": _over([[r["processor_seconds"] for r in t] for t in turns]),
                    "memory_over": quantile(
                        [a["peak_memory"] - b["peak_memory"] for a, b in turns], 0.5
                    ),
                }


def _over(pairs):
    return quantile([first / second for first, second in pairs], 0.5)
