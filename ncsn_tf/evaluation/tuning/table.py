"""Figures of what was tried: a table with bars of characters, and a plot."""

import os
from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from ncsn_tf.evaluation.quality.figure import HIGHER_IS_BETTER, Figure
from ncsn_tf.files import write_atomically

_BAR = 30  # characters
_DPI = 100


def best_of(tried: Mapping[str, Sequence[Figure]]) -> str | None:
    """What has the best first figure, the first one among equals; None where nothing has any.

    Example:
        >>> best_of({"1": [Figure("FID", "fid", 9.0)], "2": [Figure("FID", "fid", 7.0)], "3": []})
        '2'
    """
    values = {name: figures[0] for name, figures in tried.items() if figures}
    if not values:
        return None
    is_higher = next(iter(values.values())).metric in HIGHER_IS_BETTER
    sign = -1.0 if is_higher else 1.0
    return min(values, key=lambda name: sign * values[name].value)


def table(heading: str, tried: Mapping[str, Sequence[Figure]]) -> list[str]:
    """Lines: what was tried, its figures, and the first of them as a bar.

    Args:
        heading: of the first column.
        tried: {name: figures of the same metrics, or [] where the chains diverged}.

    Example:
        >>> def figures(value): return [Figure("FID-1k", "fid", value)]
        >>> for line in table("snr", {"0.1": figures(8.0), "0.2": figures(4.0), "9.0": []}):
        ...     print(line)
        snr  FID-1k
        0.1       8  ##############################
        0.2       4  ###############                 best
        9.0  diverged
    """
    best = best_of(tried)
    names = next((figures for figures in tried.values() if figures), [])
    columns = [figure.name for figure in names]
    rows = {name: [f"{figure.value:.4g}" for figure in figures] for name, figures in tried.items()}
    widths = [
        max(len(column), *(len(row[index]) for row in rows.values() if row))
        for index, column in enumerate(columns)
    ]
    first = max(map(len, [heading, *tried]))
    most = max([abs(figures[0].value) for figures in tried.values() if figures], default=0.0)
    titles = (f"{column:>{width}}" for column, width in zip(columns, widths, strict=True))
    lines = ["  ".join([f"{heading:<{first}}", *titles])]
    for name, row in rows.items():
        if not row:
            lines.append(f"{name:<{first}}  diverged")
            continue
        cells = [f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)]
        length = round(_BAR * max(tried[name][0].value, 0.0) / most) if most else 0
        line = "  ".join([f"{name:<{first}}", *cells, "#" * length])
        if name == best:
            line = "  ".join([f"{name:<{first}}", *cells, f"{'#' * length:<{_BAR}}", "best"])
        lines.append(line.rstrip())
    return lines


def save_plot(
    path: str | os.PathLike,
    heading: str,
    tried: Mapping[float, Sequence[Figure]],
    by_ratio: bool,
) -> None:
    """The figures of a sweep as curves, one panel each; the best value of the first is marked.

    Args:
        path: of the PNG.
        heading: what was tried.
        tried: {value: figures of the same metrics}, those that diverged left out.
        by_ratio: whether values are spaced by their ratios.
    """
    values = sorted(tried)
    count = len(tried[values[0]])
    canvas = Canvas(figsize=(5.0 * count, 3.8), layout="constrained")
    best = best_of({str(value): tried[value] for value in values})
    for index, axis in enumerate(canvas.subplots(1, count, squeeze=False)[0]):
        figures = [tried[value][index] for value in values]
        heights = [figure.value for figure in figures]
        axis.errorbar(
            values,
            heights,
            [figure.spread or 0.0 for figure in figures],
            marker="o",
            color="#1f5fa8",
            ecolor="#9db8d6",
        )
        chosen = [str(value) for value in values].index(best)
        axis.plot(values[chosen], heights[chosen], "o", color="#c8502d", markersize=9, zorder=3)
        axis.set(xlabel=heading, title=figures[0].name)
        if by_ratio:
            axis.set_xscale("log")
        axis.grid(alpha=0.3)
    FigureCanvasAgg(canvas)
    write_atomically(path, lambda file: canvas.savefig(file, format="png", dpi=_DPI))
