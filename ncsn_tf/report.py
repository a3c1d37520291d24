"""`python -m ncsn_tf.report`: a run as one HTML page that needs nothing but a browser."""

import dataclasses
import json
import time
from pathlib import Path

from ncsn_tf.command_line import parse_options, run_command
from ncsn_tf.config import Config
from ncsn_tf.errors import UserError
from ncsn_tf.options import option

SUMMARY = """\
Write a page on a run: settings, loss curves, samples over training, a chain, the training images
nearest to samples, scores. The page is one file, which loads nothing from elsewhere:

  python -m ncsn_tf.report                          the newest run
  python -m ncsn_tf.report --workdir=runs/cifar10   writes runs/cifar10/report.html
  python -m ncsn_tf.report --nochain --noneighbors --noscores   only what the run's folder holds"""

NAME = "report.html"
_TEMPLATE = Path(__file__).with_name("report_template.html")
_PLACE = "{{data}}"


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """The flags of `python -m ncsn_tf.report`."""

    workdir: str = option("", "the run; empty is the newest in runs/", "source")
    average: bool = option(True, "the averaged weights, where the run has them", "source")
    data_dir: str = option("", "where the data are; empty is the run's --data_dir", "source")
    chain: bool = option(True, "draw a chain and show it as a movie", "contents")
    chain_file: str = option("", "a GIF to show instead, of sample.py --movie", "contents")
    neighbors: bool = option(True, "draw samples, find their nearest training images", "contents")
    space: str = option(
        "pixels",
        "what neighbours are near in: pixel values, or features of the network",
        "contents",
        choices=("pixels", "features"),
    )
    scores: bool = option(True, "show scores and one denoising step of a test image", "contents")
    out: str = option("", f"the page; empty is {NAME} in the run's folder", "output")


def write_report(options, say=print):
    """Write the page.

    Args:
        options: `ReportOptions`.
        say: called with each line.

    Returns:
        Path of the page. It appears complete, in one move.

    Raises:
        UserError: no run, a file that cannot be read, or the place cannot be written.
    """
    from ncsn_tf import checkpoints, images, outputs

    run_dir = Path(options.workdir).expanduser() if options.workdir else checkpoints.newest_run()
    target = Path(options.out).expanduser() if options.out else run_dir / NAME
    outputs.check_place(target)
    page = build_page(run_dir, options, say)
    # As "<" the data could end the script element that holds them.
    data = json.dumps(page, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    before, _, after = _TEMPLATE.read_text(encoding="utf-8").partition(_PLACE)
    text = before + data + after
    images.write_atomically(target, lambda path: path.write_text(text, encoding="utf-8"))
    return target


def build_page(run_dir, options, say=print):
    """What the page shows, as the template reads it.

    A part that cannot be shown is {"missing": why}.

    Args, errors: as `write_report`.
    """
    from ncsn_tf import report_files

    config, network, step, kind = _open(run_dir, options)
    curves = report_files.scalars(run_dir)
    grids, num_grids = report_files.sample_grids(run_dir)
    tables = report_files.evaluations(run_dir)
    page = {
        "run": run_dir.resolve().name,
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "weights": kind,
        "facts": _facts(config, network, step, curves),
        "configuration": report_files.configuration(config),
        "charts": report_files.charts(curves, config),
        "samples": {"grids": grids, "count": num_grids},
        "evaluations": tables,
        **_drawn(config, network, options, say),
    }
    if not page["charts"]:
        page["charts"] = {"missing": "The run's folder has no TensorBoard files with curves."}
    if not grids:
        page["samples"] = {"missing": "No grid of samples has been drawn (--sample_every)."}
    if not tables:
        page["evaluations"] = {"missing": "The run has not been evaluated."}
    return page


def _open(run_dir, options):
    """(config, network, step, kind of weights) of a run; without a checkpoint only its config."""
    from ncsn_tf import checkpoints

    settings = run_dir / "config.json"
    if not settings.is_file() or any((run_dir / checkpoints.FOLDER).glob("*.index")):
        path = checkpoints.latest(run_dir)
        network, config, step, is_average = checkpoints.load_network(path, options.average)
        kind = "averaged weights" if is_average else "weights"
    else:
        config, network, step, kind = Config.load(settings), None, 0, None
    if options.data_dir:
        config = dataclasses.replace(config, data_dir=options.data_dir)
    return config, network, step, kind


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


def _drawn(config, network, options, say):
    """The parts that need the network: {"chain", "neighbors", "scores"}."""
    parts = {}
    if options.chain_file:
        parts["chain"] = _chain_file(options.chain_file)
    wanted = {"chain": options.chain, "neighbors": options.neighbors, "scores": options.scores}
    for name, is_wanted in wanted.items():
        if not is_wanted:
            parts.setdefault(name, {"missing": f"Left out (--no{name})."})
        elif network is None:
            parts.setdefault(name, {"missing": "The run has no checkpoint yet."})
    if len(parts) == len(wanted):
        return parts

    from ncsn_tf import report_pictures
    from ncsn_tf.neighbors_command import draw_samples

    if not {"chain", "neighbors"} <= set(parts):
        chain = report_pictures.Chain(config.image_size)
        count = max(
            0 if "chain" in parts else chain.num_images,
            0 if "neighbors" in parts else report_pictures.NUM_SAMPLES,
        )
        samples = draw_samples(network, config, range(count), chain.add)
        parts.setdefault("chain", chain.part(samples))
    makers = {
        "neighbors": lambda: report_pictures.neighbors_part(
            samples, config, network, options.space
        ),
        "scores": lambda: report_pictures.scores_part(config, network),
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
    from ncsn_tf.report_files import data_uri

    try:
        content = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if not content.startswith((b"GIF87a", b"GIF89a")):
        raise UserError(f"{path} is not a GIF, as sample.py --movie writes")
    return {"uri": data_uri(content, "gif")}


def main(argv):
    program = ["python -m ncsn_tf.report", *argv[1:]]
    options = parse_options(program, ReportOptions, SUMMARY)
    from ncsn_tf.runtime import start_tensorflow

    start_tensorflow()
    print(f"Wrote {write_report(options)}")


if __name__ == "__main__":
    run_command(main)
