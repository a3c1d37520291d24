"""Injects faults into commands and writes what came of it into docs/reliability.md.

    make reliability

Each fault meets a small run that has done 60 steps. Survived: the next command ended as it should,
and the run at step 70 is, bit for bit, the one that no fault met. Recovery: from the start of the
next command to its first training step, or to its end where it does not train. Exits with 1 if a
fault was not survived or something was lost. With words as arguments, only the first of each kind
that contains one of them is injected, and no table is written.
"""

import concurrent.futures
import dataclasses
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import fork_server
import killer
import runs

from ncsn_tf.errors import UserError

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"
BEGIN, END = (
    "<!-- written by make reliability -->\n",
    "<!-- end of what make reliability wrote -->\n",
)
MORE = 70
KEPT = 58  # the older of the two checkpoints of step 60
AT_ONCE = 2  # commands


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one fault.

    Attributes:
        lost: what was lost, in words; "" is nothing.
        problem: why it was not survived; "" if it was.
        seconds: until the next command had recovered.
    """

    lost: str
    problem: str
    seconds: float


class Scene:
    """A folder of its own with a copy of the run at step 60, for one fault.

    Args:
        server: a `ForkServer`.
        base: folder with `run`, at step 60, and `more`, the same at step 70.
        folder: the new folder.
        rng: a `random.Random`.
    """

    def __init__(self, server, base, folder, rng):
        self.server, self.base, self.folder, self.rng = server, base, folder, rng
        self.run = folder / "run"
        shutil.copytree(base / "run", self.run)
        self.checkpoints = self.run / "checkpoints"
        (self.newest,) = self.checkpoints.glob("step-60.data-*")

    def start(self, *argv, **options):
        return self.server.popen(argv, cwd=self.folder, **options)

    def train(self, *flags, workdir="run"):
        return runs.train(workdir, MORE, *flags)

    def ended(self, *argv, **options):
        return self.server.run(argv, cwd=self.folder, **options)

    def goes_on(self, workdir="run", says=""):
        """The outcome of training on to step 70: all bits as they would have been."""
        seconds, code, said = runs.seconds_to(self.server, self.train(workdir=workdir), self.folder)
        lost = problem = ""
        if code != 0 or "Traceback" in said:
            problem = f"exit code {code}: {(said.splitlines() or [''])[-1]}"
        elif says not in said:
            problem = f"it did not say {says!r}"
        elif int((re.search(r"^Resuming .* at step (\d+) of", said, re.M) or [0, -1])[1]) < KEPT:
            lost = "steps"  # it may come to the same bits from the first step, in days
        else:
            try:
                same = runs.numbers(self.folder / workdir), runs.numbers(self.base / "more")
                runs.assert_same_run(*same)
            except (AssertionError, UserError):
                lost = "bits of the run"
        return Outcome(lost, problem, seconds)

    @staticmethod
    def stopped(done):
        """Empty if a command stopped in one line, otherwise how it ended."""
        try:
            runs.one_line(done)
        except AssertionError:
            return f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"
        return ""


def kill(moment):
    """SIGKILL at a moment of a checkpoint's writing."""

    def inject(scene):
        is_moment = killer.CHECKPOINT_MOMENTS[moment]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        count, delay = scene.rng.randint(1, 3), scene.rng.choice([0, 0.0005, 0.002])
        with (
            killer.Watch(scene.checkpoints) as watch,
            scene.start(*scene.train(), **quiet) as process,
        ):
            killer.kill_at(process, watch, is_moment, count, delay)
        return scene.goes_on()

    return inject


def flip(scene):
    """One bit of the newest checkpoint's data."""
    data = bytearray(scene.newest.read_bytes())
    data[scene.rng.randrange(len(data))] ^= 1 << scene.rng.randrange(8)
    scene.newest.write_bytes(data)
    return scene.goes_on()


def cut(scene):
    """The newest checkpoint's data or index ends early."""
    path = scene.rng.choice([scene.newest, scene.checkpoints / "step-60.index"])
    path.write_bytes(path.read_bytes()[: scene.rng.randrange(path.stat().st_size)])
    return scene.goes_on(says="step-60")


def state(how):
    """TensorFlow's list of checkpoints is gone, empty or zeros."""

    def inject(scene):
        path = scene.checkpoints / "checkpoint"
        size = path.stat().st_size
        path.unlink()
        if how != "removed":
            path.write_bytes(bytes(size) if how == "zeroed" else b"")
        return scene.goes_on()

    return inject


def full(command):
    """No file may grow beyond a few bytes while a command writes."""

    def inject(scene):
        argv = scene.train() if command == "train" else [runs.NCSN, *WRITERS[command]]
        before = runs.contents(scene.folder)
        done = scene.ended(*argv, fsize=scene.rng.choice([0, 50, 100]))
        problem = scene.stopped(done)
        after = runs.contents(scene.folder)
        lost = "" if before.items() <= after.items() else "files of before"
        if not problem and set(after) - set(before):
            problem = f"left {sorted(set(after) - set(before))}"
        if command == "train":
            outcome = scene.goes_on()
            return Outcome(lost or outcome.lost, problem or outcome.problem, outcome.seconds)
        seconds, code, said = runs.seconds_to(scene.server, argv, scene.folder, "never said")
        problem = problem or ("" if code == 0 else f"afterwards: {said.splitlines()[-1:]}")
        return Outcome(lost, problem, seconds)

    return inject


def two_runs(scene):
    """A second training process in a folder where one runs."""
    argv = runs.train("run", 1_000_000)
    with killer.Watch(scene.checkpoints) as watch, scene.start(*argv) as first:
        while not any("_temp" in name for _, name in watch.events(1)):
            if first.poll() is not None:
                return Outcome("", "the first one ended", 0.0)
        done = scene.ended(*argv, timeout=60)
        problem = scene.stopped(done) or ("" if str(first.pid) in done.stderr else "no holder")
        first.kill()
        first.wait(60)
    started = time.monotonic()
    with scene.start(*argv) as third:
        for line in third.stderr:
            if "First step done" in line:
                break
        else:
            problem = problem or f"the folder stayed locked: exit code {third.wait(60)}"
        seconds = time.monotonic() - started
    return Outcome("", problem, seconds)


def signalled(number):
    """A signal while training."""

    def inject(scene):
        is_moment = killer.CHECKPOINT_MOMENTS["temporary folder made"]
        with (
            killer.Watch(scene.checkpoints) as watch,
            scene.start(*scene.train()) as process,
        ):
            killer.kill_at(process, watch, is_moment, 1, 0, number)
            process.communicate(60)
        problem = "" if process.returncode == 0 else f"exit code {process.returncode}"
        outcome = scene.goes_on()
        return Outcome(outcome.lost, problem or outcome.problem, outcome.seconds)

    return inject


def unreadable(scene):
    """Pictures that are no pictures among those of a folder."""
    from PIL import Image

    folder = scene.folder / "pictures"
    folder.mkdir()
    for index in range(12):
        Image.new("L", (8, 8), 20 * index).save(folder / f"{index:02}.png")
    bad = scene.rng.sample(range(12), 3)
    for index, content in zip(bad, (b"", b"no picture", b"\x89PNG\r\n\x1a\n"), strict=True):
        (folder / f"{index:02}.png").write_bytes(content)
    flags = ["--dataset=image_folder", f"--data_dir={folder}", "--image_size=8", "--channels=1"]
    argv = runs.train("other", 4, *flags)
    seconds, code, said = runs.seconds_to(scene.server, argv, scene.folder)
    problem = "" if code == 0 and "Traceback" not in said else f"exit code {code}"
    unnamed = [index for index in bad if f"{index:02}.png" not in said]
    return Outcome("", problem or ("left out without a word" if unnamed else ""), seconds)


def odd_path(name):
    """A workdir whose name TensorFlow or a shell could take for something else."""

    def inject(scene):
        scene.run.rename(scene.folder / name)
        return scene.goes_on(workdir=name)

    return inject


ODD_NAMES = ("exp[1]", "two words", "it's", 'a"b', "a\\b", "*?", "\u5b66\u4e60", "-x", "a,b", "{a}")
WRITERS = {
    "export": ["export", "--workdir=run"],
    "sample": ["sample", "--workdir=run", "--num_samples=2"],
    "evaluate": [
        *("evaluate", "--workdir=run", "--bits_per_dim", "--num_images=1", "--ode_tolerance=0.5")
    ],
    "report": ["report", "--workdir=run"],
    "schedule": ["schedule", "--dataset=digits", "--write=new.flags", "--overwrite"],
    "classifier": ["classifier", "--workdir=run", "--num_steps=1", "--features=2"],
}


def kinds():
    """[(kind in words, [function of a `Scene`, ...])]."""
    return [
        *((f"SIGKILL, checkpoint: {name}", [kill(name)] * 3) for name in killer.CHECKPOINT_MOMENTS),
        ("a flipped bit in the newest checkpoint", [flip] * 4),
        ("the newest checkpoint cut short", [cut] * 3),
        *((f"state file {how}", [state(how)]) for how in ("removed", "emptied", "zeroed")),
        ("full disk: train", [full("train")] * 2),
        *((f"full disk: {name}", [full(name)]) for name in WRITERS),
        ("two runs in one folder", [two_runs] * 2),
        *(
            (f"{number.name} while training", [signalled(number)])
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        ),
        ("unreadable pictures", [unreadable]),
        ("odd names of folders", [odd_path(name) for name in ODD_NAMES]),
    ]


def row(kind, outcomes):
    """A line of the table.

    Example:
        >>> row("a fault", [Outcome("", "", 1.0), Outcome("", "a traceback", 3.0)])
        '| a fault | 2 | 1 | nothing | 2.0 | 3.0 |'
    """
    survived = sum(not outcome.problem and not outcome.lost for outcome in outcomes)
    lost = ", ".join(sorted({outcome.lost for outcome in outcomes} - {""})) or "nothing"
    seconds = [outcome.seconds for outcome in outcomes]
    times = f"{statistics.median(seconds):.1f} | {max(seconds):.1f}"
    return f"| {kind} | {len(outcomes)} | {survived} | {lost} | {times} |"


def table(found):
    """The text between the markers, from {kind: outcomes}."""
    cores = len(os.sched_getaffinity(0))
    heads = ("fault", "injected", "survived", "lost", "recovery: median, s", "longest, s")
    lines = [
        f"On a machine with {cores} cores, TensorFlow {runs.tf.__version__}, {AT_ONCE} commands at "
        "a time:",
        "",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
        *(row(kind, outcomes) for kind, outcomes in found.items()),
    ]
    return "\n".join(lines) + "\n"


def main():
    """Inject everything, rewrite the table, say what was not survived."""
    words = sys.argv[1:]
    with fork_server.ForkServer() as server, tempfile.TemporaryDirectory() as work:
        base = Path(work, "base")
        base.mkdir()
        for name, steps in (("run", runs.NUM_STEPS), ("more", MORE)):
            done = server.run(runs.train(name, steps), cwd=base)
            assert done.returncode == 0, done.stderr

        def attempt(item):
            place, (kind, inject) = item
            folder = Path(work, str(place))
            folder.mkdir()
            try:
                outcome = inject(Scene(server, base, folder, random.Random(place)))
            except (OSError, subprocess.TimeoutExpired) as error:
                outcome = Outcome("", f"{type(error).__name__}: {error}", 0.0)
            shutil.rmtree(folder)
            with lock:
                print(f"{kind}: {outcome}", flush=True)
            return kind, outcome

        lock = threading.Lock()
        faults = [(kind, inject) for kind, functions in kinds() for inject in functions]
        if words:
            chosen = [item for item in kinds() if any(word in item[0] for word in words)]
            faults = [(kind, functions[0]) for kind, functions in chosen]
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            results = list(pool.map(attempt, enumerate(faults)))
    if not words:
        _write({kind: [other for name, other in results if name == kind] for kind, _ in results})
    sys.exit(any(outcome.problem or outcome.lost for _, outcome in results))


def _write(found):
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    PAGE.write_text(before + BEGIN + table(found) + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
