"""What a report shows of a run's figures of quality: its metrics.jsonl, as curves and a table."""

import json
import os
from collections.abc import Sequence

from ncsn_tf.evaluation.quality import copies, history
from ncsn_tf.evaluation.quality.figure import HIGHER_IS_BETTER, Figure

_MOST_ROWS = 60


def quality_part(run_dir: str | os.PathLike) -> dict:
    """The figures of quality of a run.

    Returns:
        {"charts": as of `folder.charts`, one for each figure's name; "rows": [[text of a column]],
        the newest first, of what was measured twice the newer; "count": how many rows there would
        be; "copies": a sentence, or None}, or {"missing": why}.

    Raises:
        UserError: metrics.jsonl cannot be read.
    """
    newest = {_key(figure): figure for figure in history.read(run_dir)}
    figures = list(newest.values())
    if not figures:
        return {"missing": "Nothing was measured yet (ncsn evaluate --metrics)."}
    found = [figure for figure in figures if copies.of_figure(figure)]
    rows = [_row(figure) for figure in reversed(figures) if figure.metric != "copies"]
    sentence = None
    if found:
        at = "" if found[-1].step is None else f" (after step {found[-1].step:,})"
        sentence = f"{copies.sentence(copies.of_figure(found[-1]))}{at}."
    return {
        "charts": charts([figure for figure in figures if _is_over_steps(figure)]),
        "rows": rows[:_MOST_ROWS],
        "count": len(rows),
        "copies": sentence,
    }


def _is_over_steps(figure):
    """Whether a figure is a point of a curve over training: of sweeps and lengths none is."""
    is_tried = "sweep" in figure.details or figure.length is not None
    return figure.metric != "copies" and not is_tried


def charts(figures: Sequence[Figure]) -> list[dict]:
    """A chart over steps for each name; a line for each kind of sampler and weights.

    Figures of images that are of no step are left out.

    Example:
        >>> figures = [Figure("FID-5k", "fid", 9.0 - step, step=step) for step in (2, 1)]
        >>> charts(figures)[0]["series"]
        [{'name': 'FID-5k', 'steps': [1, 2], 'values': [8.0, 7.0]}]
    """
    made = []
    with_step = [figure for figure in figures if figure.step is not None]
    for name in dict.fromkeys(figure.name for figure in with_step):
        kinds = {}
        for figure in with_step:
            if figure.name == name:
                kinds.setdefault(_kind(figure), []).append(figure)
        settings = [_settings(of_kind[0]) for of_kind in kinds.values()]
        series = []
        for own, of_kind in zip(settings, kinds.values(), strict=True):
            points = {figure.step: figure.value for figure in of_kind}
            steps = sorted(points)
            values = [float(f"{points[step]:.6g}") for step in steps]
            series.append(
                {"name": _difference(own, settings) or name, "steps": steps, "values": values}
            )
        about = "higher is better" if of_kind[0].metric in HIGHER_IS_BETTER else "lower is better"
        made.append({"title": name, "about": about, "ramp": len(series) > 2, "series": series})
    return made


def _settings(figure):
    """What tells one line of a chart from another."""
    return {**figure.sampler, "weights": figure.weights, "checksum": figure.checksum}


def _kind(figure):
    return json.dumps(_settings(figure), sort_keys=True)


def _key(figure):
    """What two figures share of which the newer counts."""
    same = [figure.name, figure.step, figure.seeds, figure.source, figure.reference]
    return json.dumps([*same, _settings(figure)], sort_keys=True)


def _difference(own, others):
    """The settings in which one line differs from some other, in words."""
    names = [name for name in own if any(other.get(name) != own[name] for other in others)]
    return ", ".join(f"{name} {own[name]}" for name in names)


def _row(figure):
    spread = "" if figure.spread is None else f" \u00b1 {figure.spread:.2g}"
    if figure.ranges:
        spread += f" of {len(figure.ranges)} ranges, minimum {min(figure.ranges):.4g}"
    sampler = figure.sampler.get("sampler", "")
    evaluations = figure.sampler.get("evaluations")
    said = f"{sampler}, {evaluations} evaluations" if evaluations else str(sampler)
    if "labels" in figure.sampler:
        labels, guidance = figure.sampler["labels"], figure.sampler.get("guidance", 1.0)
        said += f", classes {labels}, guidance {guidance:g}"
    compared = figure.reference
    if figure.num_reference is not None:
        compared = f"{figure.num_reference:,} of {figure.reference}"
    return [
        figure.name,
        f"{figure.value:.4g}{spread}",
        "" if figure.step is None else f"{figure.step:,}",
        f"{figure.num_samples:,}",
        compared,
        f"{figure.features or ''} {figure.checksum or ''}".strip(),
        said,
        figure.weights or "",
        f"{figure.seeds[0]} to {sum(figure.seeds) - 1}" if figure.seeds else figure.source or "",
        figure.time,
    ]
