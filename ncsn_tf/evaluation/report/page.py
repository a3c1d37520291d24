"""`ncsn report`: a run as one HTML page that needs nothing but a browser."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from ncsn_tf.errors import UserError
from ncsn_tf.evaluation.report import drawings, folder
from ncsn_tf.evaluation.report.quality import quality_part
from ncsn_tf.evaluation.samples import draw_samples
from ncsn_tf.files import check_place, require_ending, user_path, write_atomically
from ncsn_tf.settings.checkpoint import NEWEST
from ncsn_tf.settings.class_flags import GUIDANCE, looked_at
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.labels import EACH
from ncsn_tf.training import average_files, checkpoint_choice, checkpoint_files, checkpoints
from ncsn_tf.training.average_summary import summary
from ncsn_tf.training.run_data import with_places

NAME = "report.html"
_TEMPLATE = Path(__file__).with_name("template.html")
_PLACE = "{{data}}"


def write_report(
    workdir: str | os.PathLike = "",
    *,
    checkpoint: str | int = NEWEST,
    average: bool = True,
    data_dir: str = "",
    cache_dir: str = "",
    chain: bool = True,
    chain_file: str | os.PathLike = "",
    neighbors: bool = True,
    space: str = "pixels",
    scores: bool = True,
    label: str = EACH,
    guidance: float = GUIDANCE,
    out: str | os.PathLike = "",
    say: Callable[[str], object] = print,
) -> Path:
    """Write a page on a run.

    Args:
        workdir: the run's folder; empty is the newest in runs/.
        checkpoint, average, data_dir, cache_dir, chain, chain_file, neighbors, space, scores,
            label, guidance: as in `build_page`.
        out: the page; empty is report.html in the run's folder.
        say: called with each line.

    Returns:
        Path of the page.

    Raises:
        UserError: no run, a file that cannot be read, or the place cannot be written.
    """
    run_dir = checkpoint_choice.find_run(workdir)
    target = user_path(out) if out else run_dir / NAME
    check_place(target)
    require_ending(target, (".html", ".htm"))
    page = build_page(
        run_dir,
        checkpoint=checkpoint,
        average=average,
        data_dir=data_dir,
        cache_dir=cache_dir,
        chain=chain,
        chain_file=chain_file,
        neighbors=neighbors,
        space=space,
        scores=scores,
        label=label,
        guidance=guidance,
        say=say,
    )
    write_page(target, page)
    return target


def write_page(target: str | os.PathLike, page: dict) -> None:
    """Write the page of what `build_page` returned; it appears complete, in one move.

    Raises:
        UserError: the place cannot be written.
    """
    # As "<" the data could end the script element that holds them.
    data = json.dumps(page, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    before, _, after = _TEMPLATE.read_text(encoding="utf-8").partition(_PLACE)
    text = before + data + after
    write_atomically(target, lambda path: path.write_text(text, encoding="utf-8"))


def build_page(
    run_dir: Path,
    *,
    checkpoint: str | int = NEWEST,
    average: bool = True,
    data_dir: str = "",
    cache_dir: str = "",
    chain: bool = True,
    chain_file: str | os.PathLike = "",
    neighbors: bool = True,
    space: str = "pixels",
    scores: bool = True,
    label: str = EACH,
    guidance: float = GUIDANCE,
    say: Callable[[str], object] = print,
) -> dict:
    """What the page shows, as the template reads it.

    A part that cannot be shown is {"missing": why}.

    Args:
        run_dir: the run's folder.
        checkpoint: "newest", "best" or a step.
        average: take the averaged weights where the run has them.
        data_dir: where the data are; empty is where the run has them from.
        cache_dir: where large data sets are kept decoded; empty is the run's.
        chain: draw a chain and show it as a movie.
        chain_file: a GIF or WebP to show instead.
        neighbors: draw samples and find the training images nearest to them.
        space: what these are near in, "pixels" or "features", see `neighbors.Search`.
        scores: show scores and one denoising step of a test image.
        label, guidance: the classes of samples that are drawn, see `class_flags.looked_at`.
        say: called with each line.

    Raises:
        ConfigError: classes that the run does not have.
        UserError: no run, or a file that cannot be read.
    """
    config, network, step, weights = _open(run_dir, checkpoint, average)
    config = with_places(config, data_dir, cache_dir)
    labels = looked_at(label, guidance, config.class_names)
    curves = folder.scalars(run_dir)
    grids, num_grids = folder.sample_grids(run_dir)
    tables = folder.evaluations(run_dir)
    wanted = {"chain": chain, "neighbors": neighbors, "scores": scores}
    ready = {"chain": _chain_file(chain_file)} if chain_file else {}
    page = {
        "run": run_dir.resolve().name,
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "weights": weights,
        "facts": _facts(config, network, step, curves),
        "configuration": folder.configuration(config),
        "charts": folder.charts(curves, config),
        "samples": {"grids": grids, "count": num_grids},
        "evaluations": tables,
        "quality": quality_part(run_dir),
        "averages": _averages(run_dir, config, network),
        **_drawn(config, network, wanted, ready, space, labels, say),
    }
    if not page["charts"]:
        page["charts"] = {"missing": "The run's folder has no TensorBoard files with curves."}
    if not grids:
        page["samples"] = {"missing": "No grid of samples has been drawn (--sample_every)."}
    if not tables:
        page["evaluations"] = {"missing": "The run has not been evaluated."}
    return page


def _open(run_dir, checkpoint, average):
    """(config, network, step, kind of weights) of a run; without a checkpoint only its config."""
    settings = run_dir / "config.json"
    is_newest = checkpoint == NEWEST
    if is_newest and settings.is_file() and not checkpoint_files.listed(run_dir):
        return Config.load(settings), None, 0, None
    run = checkpoints.open_run(run_dir, average, checkpoint)
    return run.config, run.network, run.step, run.weights


def _averages(run_dir, config, network):
    """What the run has of averages of any length; None where it has none."""
    layout = None if network is None else average_files.layout_of(network)
    found = summary(run_dir, config, layout)
    if found is None:
        return None
    rows = [
        [
            f"{each.step:,}",
            ", ".join(f"{length:g}" for length in each.lengths),
            f"{each.num_bytes / 1e6:,.1f} MB",
        ]
        for each in found.snapshots
    ]
    return {"about": found.words(), "rows": rows}


def _facts(config, network, step, curves):
    """[[name, text]] for the head of the page."""
    step = max([step, *(steps[-1] for steps, _ in curves.values())])
    facts = [
        ["data set", config.dataset],
        ["images", " \u00d7 ".join(map(str, config.image_shape))],
        ["steps done", f"{step:,} of {config.num_steps:,}"],
    ]
    for name, tag in (("training loss", "train/loss"), ("test loss", "test/loss")):
        if tag in curves:
            facts.append([name, f"{curves[tag][1][-1]:.4g}"])
    if network is not None:
        facts.append(["parameters", f"{network.count_params():,}"])
    return facts


def _drawn(config, network, wanted, ready, space, labels, say):
    """The parts that need the network: {"chain", "neighbors", "scores"}.

    Args:
        config, network: of the run; the network is None where there is no checkpoint.
        wanted: {part: whether it is to be drawn}.
        ready: {part: what it is} of those that are there already.
        space: of neighbours.
        labels: the classes of samples; None of a network that knows none.
        say: called with each line.
    """
    parts = dict(ready)
    for name, is_wanted in wanted.items():
        if not is_wanted:
            parts.setdefault(name, {"missing": f"Left out (--no{name})."})
        elif network is None:
            parts.setdefault(name, {"missing": "The run has no checkpoint yet."})
    samples = None
    if "chain" not in parts:
        chain = drawings.Chain(config.image_size)
        count = max(chain.num_images, 0 if "neighbors" in parts else drawings.NUM_SAMPLES)
        samples = draw_samples(network, config, range(count), chain.add, labels)
        parts["chain"] = {**chain.part(samples), "of": "" if labels is None else str(labels)}
    makers = {
        "neighbors": lambda: drawings.neighbors_part(config, network, space, samples, labels),
        "scores": lambda: drawings.scores_part(config, network),
    }
    for name, make in makers.items():
        if name not in parts:
            try:
                parts[name] = make()
            except UserError as error:  # the data may be on another machine: the rest is shown
                say(f"{name} left out: {error}")
                parts[name] = {"missing": f"Could not be made: {error}"}
    return parts


def _chain_file(path):
    try:
        content = user_path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if content.startswith((b"GIF87a", b"GIF89a")):
        return {"uri": folder.data_uri(content, "gif")}
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return {"uri": folder.data_uri(content, "webp")}
    raise UserError(f"{path} is not a GIF or WebP, as sample.py --movie writes")
