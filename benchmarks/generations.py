"""The three generations after equal time: `python -m benchmarks.generations --minutes=60`.

Each network is trained by `ncsn train` until it has used so many minutes of processor time, its
start and the compilation included, one network after another; then `ncsn evaluate` measures samples
of each. What was trained and measured is kept in --folder: the same command goes on, with more
minutes too. Times are those that Linux counts for the process, so that other programs on the
machine change little. The data set should be there already: the first training would pay for it.
"""

import dataclasses
import functools
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ncsn_tf.commands.console import run_command
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.files import write_atomically
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.options import option

SUMMARY = "Train networks of all generations for equal processor time, and measure their samples."
ENDLESS = 10**7  # steps: the time ends a training
METRICS = ("fid", "kid", "is")

_SOLVER = ("--sampler=dpm_sde", "--num_evaluations=20", "--denoise")
_THIRD = (
    *("--multipliers=1,2,2", "--num_res_blocks=1", "--attention_sizes=none", "--continuous"),
    *("--num_levels=1000", "--learning_rate=1e-3", "--warmup_steps=200", "--gradient_clip=1"),
    *_SOLVER,
)
# The flags of each network, for images of 28 x 28. Levels and step sizes of `ncsn schedule`.
GENERATIONS = {
    "ncsn": ("--model=ncsn", "--learning_rate=1e-3", *_SOLVER[:1], "--num_evaluations=100")
    + ("--first_level_steps=80", "--denoise"),
    "ncsnv2": ("--model=ncsnv2", "--depth=base", "--sigma_begin=16.5", "--num_levels=95")
    + ("--learning_rate=1e-3", "--step_lr=1.11e-5", "--num_steps_each=5", *_SOLVER),
    "ve": ("--model=ncsnpp", "--sde=ve", "--sigma_begin=16.5", *_THIRD),
    "vp": ("--model=ddpmpp", "--sde=vp", *_THIRD),
}
_COMMON = ("--batch_size=32", "--ema_decay=0.999", "--log_every=50", "--sample_every=0")
_COMMON += ("--eval_every=0", "--checkpoint_every=500", "--noexport")


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions:
    """The flags of this program."""

    folder: str = option("runs/generations", "where the runs are kept", "run", path=True)
    generations: str = option(",".join(GENERATIONS), "which, with commas between", "run")
    minutes: float = option(60.0, "of processor time for each training", "run", above=0)
    flags: str = option("", "more flags of all trainings, with spaces between", "run")
    dataset: str = option("mnist", "data set of the trainings", "data")
    data_dir: str = option("", "where its data are", "data", path=True)
    features: int = option(16, "channels of the networks", "run", least=1)
    num_samples: int = option(1024, "samples of each; 0 measures nothing", "figures", least=0)
    num_images: int = option(10000, "training images to compare with", "figures", least=2)
    out: str = option("", "also write the table to this file", "output", path=True)
    picture: str = option("", "write the curves of the loss and samples here", "output", path=True)


def training_flags(name: str, options: BenchmarkOptions) -> list[str]:
    """The flags of `ncsn train` for one of `GENERATIONS`."""
    data = [f"--dataset={options.dataset}", f"--features={options.features}"]
    data += [f"--data_dir={options.data_dir}"] if options.data_dir else []
    ends = [f"--num_steps={ENDLESS}", f"--workdir={Path(options.folder, name)}"]
    return [*_COMMON, *GENERATIONS[name], *data, *options.flags.split(), *ends]


def run_ncsn(
    arguments: Sequence[str],
    log: Path,
    seconds: float = math.inf,
    on_use: Callable[[float], object] = lambda used: None,
) -> None:
    """Run `ncsn` until it ends, or is stopped by SIGTERM after so many seconds of processor time.

    Args:
        arguments: its command and flags.
        log: file that takes what it says, after what is there.
        seconds: of processor time, of all its threads.
        on_use: called with the seconds that it has used, again and again.

    Raises:
        UserError: it failed; the last line it said.
    """
    root = str(Path(__file__).resolve().parent.parent)
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "ncsn_tf", *arguments]
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if math.isfinite(seconds):  # where this program is killed, it ends by itself
        hard = math.ceil(seconds) + 120
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": paths},
            stdout=output,
            stderr=output,
            preexec_fn=functools.partial(resource.setrlimit, resource.RLIMIT_CPU, (hard, hard)),
        )
        used, is_stopped = 0.0, False
        try:
            while process.poll() is None:
                used = max(used, processor_seconds(process.pid))
                on_use(used)
                if used >= seconds and not is_stopped:
                    process.send_signal(signal.SIGTERM)
                    is_stopped = True
                time.sleep(0.2)
        finally:
            process.send_signal(signal.SIGTERM)  # of this program's own end; else it is gone
            process.wait()
    if process.returncode and not (is_stopped and process.returncode == 128 + signal.SIGTERM):
        said = log.read_text(errors="replace").splitlines() or [f"exit code {process.returncode}"]
        raise UserError(f"{said[-1].removeprefix('error: ')} (all of it: {log})")


def processor_seconds(pid: int) -> float:
    """What a process of Linux has used, user and system; 0 of one that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def train(name: str, options: BenchmarkOptions) -> float:
    """Train one of `GENERATIONS` until its minutes are over; the minutes it has had."""
    run_dir = Path(options.folder, name)
    run_dir.mkdir(parents=True, exist_ok=True)
    kept = run_dir / "processor_seconds.json"
    had = json.loads(kept.read_text()) if kept.exists() else 0.0
    left = 60.0 * options.minutes - had
    if left > 0:
        print(f"{name}: trains for {left / 60:.1f} minutes of processor time", file=sys.stderr)
        log = Path(options.folder, f"{name}.log")

        def note(used):
            write_atomically(kept, lambda path: path.write_text(json.dumps(had + used)))

        run_ncsn(["train", *training_flags(name, options)], log, left, note)
        had = json.loads(kept.read_text())
    return had / 60.0


def figures(name: str, options: BenchmarkOptions) -> dict[str, object]:
    """{metric: `Figure`} of a run's newest checkpoint, measured where they are not known yet."""
    from ncsn_tf.evaluation.quality.history import read

    run_dir, step = Path(options.folder, name), newest_step(Path(options.folder, name))

    def known():
        found = {each.metric: each for each in read(run_dir) if each.step == step}
        return {
            metric: each
            for metric, each in found.items()
            if each.num_samples == options.num_samples
            and each.num_reference in (None, options.num_images)
            and (each.features or "").startswith("Train-")
            and "sweep" not in each.details
            and metric in METRICS
        }

    if len(known()) < len(METRICS):
        print(f"{name}: draws {options.num_samples} samples of step {step}", file=sys.stderr)
        flags = [f"--metrics={','.join(METRICS)}", "--features=train", "--copies=never"]
        flags += [f"--num_samples={options.num_samples}", f"--num_images={options.num_images}"]
        flags += [f"--workdir={run_dir}"]
        run_ncsn(["evaluate", *flags], Path(options.folder, f"{name}.log"))
    return known()


def newest_step(run_dir: Path) -> int:
    """The step of a run's newest checkpoint."""
    from ncsn_tf.training.checkpoint_choice import latest

    return int(Path(latest(run_dir)).name.rpartition("-")[2])


def row(name: str, minutes: float, step: int, measured: Mapping[str, object]) -> str:
    """A line of the table; `measured` is of `figures`.

    Example:
        >>> row("ve", 60.01, 1200, {})
        '| `ve` | 60.0 | 1,200 | | | |'
    """
    cells = [f"`{name}`", f"{minutes:.1f}", f"{step:,}"]
    for metric in METRICS:
        figure = measured.get(metric)
        cells.append("" if figure is None else f"{figure.value:.4g}")
        if figure is not None and figure.spread is not None:
            cells[-1] += f" ({figure.spread:.2g})"
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)


def table(options: BenchmarkOptions) -> list[str]:
    """Train and measure; lines of markdown.

    Raises:
        ConfigError: a generation that is none.
        UserError: a training or a measurement failed.
    """
    names = options.generations.split(",")
    if set(names) - set(GENERATIONS):
        raise ConfigError(
            f"--generations={options.generations} must be of {', '.join(GENERATIONS)}"
        )
    minutes = {name: train(name, options) for name in names}
    measured = {name: figures(name, options) if options.num_samples else {} for name in names}
    heads = {figure.metric: figure.name for found in measured.values() for figure in found.values()}
    head = ["network", "minutes", "steps", *(heads.get(metric, metric) for metric in METRICS)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name in names:
        step = newest_step(Path(options.folder, name))
        lines.append(row(name, minutes[name], step, measured[name]))
    return lines


def draw_picture(path: str, options: BenchmarkOptions) -> None:
    """A PNG with a line of each network: the loss of its steps, and 20 samples."""
    import numpy as np
    from matplotlib.figure import Figure

    from ncsn_tf.data.images import grid
    from ncsn_tf.evaluation.report.folder import scalars
    from ncsn_tf.training.checkpoints import open_config

    names = options.generations.split(",")
    figure = Figure(figsize=(9, 1.9 * len(names)), layout="constrained")
    for (curve, samples), name in zip(
        figure.subplots(len(names), 2, squeeze=False), names, strict=True
    ):
        run_dir, drawn = Path(options.folder, name), Path(options.folder, f"{name}.npz")
        config = open_config(run_dir)
        classes = len(config.class_names or ())
        count = ["--label=each", f"--num_samples={max(1, 20 // classes)}"] if classes else []
        chosen = [f"--workdir={run_dir}", f"--out={drawn}", "--format=npz", "--num_samples=20"]
        run_ncsn(["sample", *chosen, *count], drawn.with_suffix(".log"))
        curve.plot(*scalars(run_dir)["train/loss"], linewidth=0.8)
        curve.set(yscale="log", ylabel=f"{name}: loss", xlabel="step")
        with np.load(drawn) as file:
            picture = grid(file["images"], 10)
        samples.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=255)
        samples.axis("off")
    write_atomically(path, lambda target: figure.savefig(target, format="png", dpi=110))


def main(argv: list[str]) -> None:
    program = ["python -m benchmarks.generations", *argv[1:]]
    options = parse_options(program, BenchmarkOptions, SUMMARY)
    lines = table(options)
    print("\n".join(lines))
    if options.picture:
        draw_picture(options.picture, options)
    if options.out:
        text = "\n".join(lines) + "\n"
        write_atomically(options.out, lambda path: path.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    run_command(main)
