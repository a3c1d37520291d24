"""Measures this program: each measurement in a process of its own, a table and JSON in the end.

python -m benchmarks.run train --features=32,64 --jit_compile=false,true
"""

import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import comparisons, machine, options, report, rows
from benchmarks.cases import Case, Options
from benchmarks.children import DoesNotFit, measure
from ncsn_tf.commands.console import run_command
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.options import show

OPTIONS = {
    "train": options.TrainOptions,
    "sample": options.SampleOptions,
    "convolutions": options.ConvolutionsOptions,
    "startup": options.StartupOptions,
    "memory": options.MemoryOptions,
    "data": options.DataOptions,
    "serve": options.ServeOptions,
}
SUMMARY = """\
Flags that take a list measure every combination, in turns: all cases once, then all again. Nothing
else should run on the machine meanwhile."""
USAGE = "usage: python -m benchmarks.run [MEASUREMENT] [--flag=value ...]\n\nmeasurements:\n"
DOES_NOT_FIT = "does not fit in memory"
_RESULTS = Path("build") / "benchmarks"


@dataclasses.dataclass(frozen=True)
class Job:
    """One process: the module it runs, the case, and what else it is told."""

    module: str
    case: Case
    parameters: dict


def jobs(name: str, chosen: Options, folder: str, say: Callable[[str], object]) -> Iterator[Job]:
    """The processes of a measurement; exports that they read are made in `folder` first."""

    def export(case):
        say(f"export {' '.join(show(key, value) for key, value in case.settings.items())}")
        target = tempfile.mkdtemp(dir=folder)
        return measure("export", case.config, case.onednn, folder=target)["path"]

    cases = chosen.cases()
    if name == "startup":
        yield from (Job(name, _named(case, "training"), {"export": ""}) for case in cases)
        if chosen.saved_model:
            for case in _one_a_width(cases):
                yield Job(name, _named(case, "SavedModel"), {"export": export(case)})
    elif name == "serve":
        for case in cases:
            parameters = {
                "export": export(case),
                "clients": chosen.client_counts(),
                "server_threads": chosen.server_threads,
                "seconds": chosen.seconds,
            }
            yield Job(name, case, parameters)
    else:
        parameters = {"seconds": chosen.seconds} if hasattr(chosen, "seconds") else {}
        for case in cases:
            yield Job(name, case, parameters)
            if getattr(chosen, "pytorch", False) and not case.config.ema_power:
                yield Job("pytorch", case, {**parameters, "work": name})
        for number, case in chosen.prepared_cases() if name == "data" else ():
            yield Job("prepared", case, {**parameters, "number": number})


def _named(case, start):
    return dataclasses.replace(case, settings={"start": start, **case.settings})


def _one_a_width(cases):
    """The first case of each width, to be evaluated one image at a time."""
    first = {}
    for case in cases:
        first.setdefault(case.config.features, case)
    return [
        Case(
            dataclasses.replace(case.config, batch_size=1, sampling_tile=1, num_virtual_devices=0),
            {"features": features, "batch_size": 1},
        )
        for features, case in first.items()
    ]


def run(name: str, chosen: Options, say: Callable[[str], object] = lambda line: None) -> dict:
    """Run a measurement.

    Args:
        name: one of OPTIONS.
        chosen: its options.
        say: called with a line before each process.

    Returns:
        a dict that JSON can hold: machine, flags, and of each case its settings, its rows of the
        table, a note on why there are none, and what the processes answered.
    """
    about = machine.describe()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        planned = list(jobs(name, chosen, folder, say))
        answers = [[] for _ in planned]
        notes = [""] * len(planned)  # why a case has no answer
        for turn in range(chosen.repeats):
            for index, job in enumerate(planned):
                if notes[index]:
                    continue
                number = f"{turn * len(planned) + index + 1}/{chosen.repeats * len(planned)}"
                flags = " ".join(show(key, value) for key, value in job.case.settings.items())
                say(f"{number} {name} {flags}")
                try:
                    answer = measure(job.module, job.case.config, job.case.onednn, **job.parameters)
                    answers[index].append(answer)
                except DoesNotFit:
                    notes[index] = DOES_NOT_FIT
                except UserError as error:
                    notes[index] = f"failed: {error}"
                    say(notes[index])
    measured = {
        "measurement": name,
        "machine": about,
        "flags": dataclasses.asdict(chosen),
        "cases": [
            {
                "settings": job.case.settings,
                "note": note,
                "rows": [] if note else rows.ROWS[job.module](job.case, results),
                "config": dataclasses.asdict(job.case.config),
                "results": results,
            }
            for job, note, results in zip(planned, notes, answers, strict=True)
        ],
    }
    comparisons.compare_with_pytorch(measured["cases"])
    comparisons.compare_with_averages(measured["cases"])
    return measured


def write_json(results: dict, path: Path) -> None:
    """Write what `run` returned.

    Raises:
        UserError: when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def main(argv: list[str]) -> None:
    if len(argv) > 1 and not argv[1].startswith("-"):
        names, flags = [argv[1]], argv[2:]
    else:
        names, flags = list(OPTIONS), argv[1:]
        if flags and set(flags) <= {"--help", "-help", "-h"}:
            lines = [f"  {name:<12} {kind.__doc__.strip()}" for name, kind in OPTIONS.items()]
            print(USAGE + "\n".join(lines) + "\n\nWithout a name: all. Flags of one: NAME --help")
            return
        if flags:
            raise ConfigError(f"{flags[0]} needs a measurement before it: {', '.join(OPTIONS)}")
    failed = 0
    for name in names:
        if name not in OPTIONS:
            raise ConfigError(f"{name!r} is not a measurement: {', '.join(OPTIONS)}")
        kind = OPTIONS[name]
        summary = f"{kind.__doc__.strip()}\n\n{SUMMARY}"
        chosen = parse_options([f"python -m benchmarks.run {name}", *flags], kind, summary)
        path = Path(chosen.out or _RESULTS / f"{name}.json").expanduser()
        results = run(name, chosen, lambda line: print(line, file=sys.stderr, flush=True))
        write_json(results, path)
        print(f"{report.show_results(results)}\n\nEvery number: {path}\n", flush=True)
        failed += sum(case["note"].startswith("failed") for case in results["cases"])
    if failed:
        raise UserError(f"{failed} case{'s'[: failed > 1]} could not be measured")


if __name__ == "__main__":
    run_command(main)
