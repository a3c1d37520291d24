"""Rows of numbers as tables for people."""

from benchmarks.rows import REFERENCE_STARTUP
from ncsn_tf.settings.options import show, show_value


def _percent(value):
    return f"{100 * value:.0f} %"


def _spread(value):
    return f"±{100 * value:.1f} %"


def _seconds(value):
    return f"{value:.3g} s" if value < 100 else f"{value:.0f} s"


def _milliseconds(value):
    return f"{1e3 * value:.2f} ms"


def _number(value):
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _mib(value):
    return f"{value:,.0f} MiB"


def _yes(value):
    return "yes" if value else "no"


_SPEED = [
    ("seconds", "seconds", _seconds),
    ("spread", "spread", _spread),
    ("images_per_second", "images/s", _number),
    ("gflops", "GFLOP/s", _number),
    ("gemm_before", "GEMM before", _number),
    ("gemm_after", "after", _number),
    ("share", "share", _percent),
    ("reference_share", "reference", _percent),
    ("over_reference", "ratio", "{:.2f}".format),
    ("program", "program", str),
    ("over_pytorch", "times PyTorch", "{:.2f}".format),
]
_PEAK = ("peak_memory", "peak", _mib)
_NODES = ("graph_nodes", "graph nodes", "{:,}".format)

# What is shown of a row: [(key, title, how a value is written)].
COLUMNS = {
    "train": [
        *_SPEED,
        ("processor", "processor", _seconds),
        _PEAK,
        ("over_without", "times without", "{:.2f}".format),
        ("processor_over", "of processor", "{:.2f}".format),
        ("memory_over", "more memory", _mib),
        ("first_step", "first step after", _seconds),
        _NODES,
    ],
    "sample": [
        *_SPEED,
        ("langevin_step", "Langevin step", _seconds),
        ("langevin_spread", "its spread", _spread),
        ("overhead", "overhead", "{:+.1%}".format),
        ("own_work", "own work", "{:.1%}".format),
        _PEAK,
    ],
    "convolutions": [
        ("convolution", "convolution", str),
        ("number", "number", str),
        ("gflop", "GFLOP", _number),
        ("result", "result", _milliseconds),
        ("result_share", "share", _percent),
        ("kernel_gradient", "gradient of kernel", _milliseconds),
        ("kernel_gradient_share", "share", _percent),
        ("input_gradient", "of input", _milliseconds),
        ("input_gradient_share", "share", _percent),
        ("seconds", "all together", _seconds),
        ("share", "share", _percent),
        ("reference_share", "reference", _percent),
        ("over_reference", "ratio at best", "{:.2f}".format),
    ],
    "startup": [
        ("imported", "imported", _seconds),
        ("built", "built", _seconds),
        ("traced", "traced", _seconds),
        ("loaded", "loaded", _seconds),
        ("first", "first result", _seconds),
        ("spread", "spread", _spread),
        ("later", "the same later", _seconds),
        _NODES,
        ("gemm", "GEMM", _number),
    ],
    "memory": [
        ("after_import", "after import", _mib),
        ("after_build", "after build", _mib),
        _PEAK,
        ("above_import", "peak above import", _mib),
    ],
    "data": [
        ("load", "opened in", _seconds),
        ("batches_per_second", "batches/s", _number),
        ("batch_spread", "spread", _spread),
        ("data_images_per_second", "images/s", _number),
        ("step_images_per_second", "step alone", _number),
        ("fed_images_per_second", "step fed", _number),
        ("data_over_step", "data over step", "{:.1f}".format),
        ("fed_slowdown", "slowed by", "{:+.1%}".format),
        ("alone", "decoder alone", _number),
        ("prepared", "prepared", _number),
        ("prepared_share", "share", _percent),
        ("first_batch", "first batch", _seconds),
        ("rows_file", "rows of the file", _milliseconds),
        ("rows_memory", "of memory", _milliseconds),
        ("memory_images_per_second", "images/s of memory", _number),
        _PEAK,
    ],
    "serve": [
        ("load", "load", _seconds),
        ("first_image", "first image", _seconds),
        ("from_start", "from start", _seconds),
        ("clients", "clients", str),
        ("merging", "merging", _yes),
        ("images_per_second", "images/s", _number),
        ("spread", "spread", _spread),
        ("latency_median", "latency", _seconds),
        ("latency_p95", "95 %", _seconds),
        ("rows_a_batch", "images a run", _number),
    ],
}
LEGENDS = {
    "train": "share: GFLOP/s over the mean of the GEMM rates (2048^3, float32, GFLOP/s); "
    "reference: the reference implementation's share (given, not measured); ratio: of the two; "
    "times PyTorch: its seconds in this run over ours; processor: seconds of all threads, a step; "
    "times without: seconds over those without --ema_power, in the same turn, and so of processor",
    "sample": "seconds: of a network evaluation, called from Python; overhead: of a Langevin step "
    "inside the compiled chain over it; own work: of such a step whose score costs nothing, as a "
    "share of it; the other columns are those of train",
    "convolutions": "each product alone, for the batch; share: of the GEMM rate; all together: if "
    "nothing else took any time; reference: the reference implementation's share (given); ratio at "
    "best: of the two",
    "startup": "seconds from the start of the process; the reference's training starts in "
    f"{REFERENCE_STARTUP[0]} to {REFERENCE_STARTUP[1]} s (given, not measured)",
    "memory": "resident memory of the process; peak: until the third step was done",
    "data": "images/s: batches alone, over all threads; step alone: on a batch that is there; "
    "step fed: on new batches. Of folders of pictures, made on the spot: pictures/s that the "
    "decoder alone does on all cores, and that a preparation does; opened in and first batch: of a "
    "start that finds them prepared, beyond importing; rows: of a batch, at random places, alone; "
    "images/s: batches of the prepared file; peak: resident memory of a training",
    "serve": "requests of one image, from threads in the server's process: not the TF Serving "
    "binary, no network; merging: with the export's batching parameters",
}


def table(columns: list[tuple], rows: list[dict]) -> str:
    """A Markdown table, its columns aligned; a value that is None or absent is left out.

    Args:
        columns: [(key, title, value -> text)]; one without a value in any row is not shown.
        rows: dicts.
    """
    columns = [each for each in columns if any(row.get(each[0]) is not None for row in rows)]
    cells = [[title for _, title, _ in columns]]
    for row in rows:
        cells.append(["" if row.get(key) is None else write(row[key]) for key, _, write in columns])
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [
        "| "
        + " | ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


# Flags without a list that a reader of the table must know.
_FIXED = ("image_size", "channels", "num_levels", "num_steps_each")


def show_results(results: dict) -> str:
    """The table of what `run` returned, with a line on the machine and a legend."""
    name, about, cases = results["measurement"], results["machine"], results["cases"]
    values = {}  # of each setting, in the cases that have it
    for case in cases:
        for key, value in case["settings"].items():
            values.setdefault(key, []).append(value)
    varying = [key for key in values if len(set(values[key])) > 1]
    rows = [
        {**case["settings"], **row}
        for case in cases
        for row in (case["rows"] or [{"note": case["note"]}])
    ]
    columns = [(key, key.replace("_", " "), show_value) for key in varying]
    columns += [*COLUMNS[name], ("note", "", str)]
    constant = [show(key, values[key][0]) for key in values if key not in varying]
    constant += [
        show(key, value) for key, value in results["flags"].items() if key in _FIXED and value
    ]
    lines = [
        f"{name}: {' '.join(constant)}",
        f"{about['cores']} cores of {about['processor']}; TensorFlow {about['tensorflow']}; load "
        f"average before: {about['load_average_before']}",
        "",
        table(columns, rows),
        "",
        LEGENDS[name],
    ]
    return "\n".join(lines)
