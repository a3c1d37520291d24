"""Training runs from start to end: resuming, signals, bad steps, what is written and said."""

import contextlib
import dataclasses
import os
import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ncsn_tf import checkpoints, compat, training
from ncsn_tf.config import Config
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.hooks import Every, Reporter, deferred_signals, format_time, level_scalars
from ncsn_tf.runtime import mirrored_strategy

CONFIG = Config(
    dataset="digits",
    image_size=8,
    channels=1,
    random_flip=False,
    features=4,
    num_levels=3,
    batch_size=16,
    learning_rate=0.003,
    ema_decay=0.9,
    num_steps=60,
    num_steps_each=2,
    num_sample_images=3,
    log_every=10,
    eval_every=30,
    sample_every=30,
    checkpoint_every=40,
    deterministic=True,
)


def replicas(count):
    return mirrored_strategy([f"CPU:{i}" for i in range(count)])


def train(config, strategy=None):
    """(state, lines said) of a call of `training.train`."""
    lines = []
    return training.train(config, strategy or replicas(1), lines.append), lines


def numbers(run_dir):
    """{name: value} of everything in a run's newest checkpoint, but for the settings."""
    reader = tf.train.load_checkpoint(checkpoints.latest(run_dir))
    names = [name for name in reader.get_variable_to_shape_map() if name[0] != "_"]
    return {name: reader.get_tensor(name) for name in names if not name.startswith("config")}


def cut_back(run_dir, step, copy):
    """A copy of a run as it would be, had the power failed soon after the checkpoint of `step`."""
    shutil.copytree(run_dir, copy, ignore=shutil.ignore_patterns("tensorboard"))
    folder = Path(copy) / "checkpoints"
    for path in folder.glob("step-*"):
        if not path.name.startswith(f"step-{step}."):
            path.unlink()
    tf.compat.v1.train.update_checkpoint_state(str(folder), str(folder / f"step-{step}"))
    return Path(copy)


@dataclasses.dataclass
class Run:
    """An uninterrupted run: its settings, what it said, its state at the end."""

    config: Config
    lines: list
    stderr: str
    state: training.TrainingState

    def resumed_at(self, step, strategy, workdir):
        """(what is said, the run's folder) of the rest of the run, from a checkpoint on."""
        run_dir = cut_back(self.config.run_dir, step, workdir)
        config = dataclasses.replace(
            self.config, workdir=str(run_dir), eval_every=0, sample_every=0
        )
        return train(config, strategy)[1], run_dir


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """On one replica, with everything that a run can write."""
    config = dataclasses.replace(CONFIG, workdir=str(tmp_path_factory.mktemp("run") / "one"))
    stderr = tmp_path_factory.mktemp("stderr") / "lines"
    with open(stderr, "w") as file, contextlib.redirect_stderr(file):
        state, lines = train(config)
    return Run(config, lines, stderr.read_text(), state)


@pytest.fixture(scope="module")
def run_on_two(tmp_path_factory):
    config = dataclasses.replace(
        CONFIG,
        workdir=str(tmp_path_factory.mktemp("run") / "two"),
        num_steps=8,
        checkpoint_every=4,
        eval_every=0,
        sample_every=0,
    )
    state, lines = train(config, replicas(2))
    return Run(config, lines, "", state)


def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(run, tmp_path):
    lines, run_dir = run.resumed_at(40, replicas(1), tmp_path / "resumed")
    assert lines == [f"Resuming {run_dir} at step 40 of 60 on 1 device"]
    assert_same(numbers(run.config.run_dir), numbers(run_dir))


def test_a_resumed_run_on_two_replicas_is_the_uninterrupted_run(run_on_two, tmp_path):
    assert run_on_two.lines == [
        f"Starting {run_on_two.config.run_dir} at step 0 of 8 on 2 devices",
    ]
    lines, run_dir = run_on_two.resumed_at(4, replicas(2), tmp_path / "resumed")
    assert lines == [f"Resuming {run_dir} at step 4 of 8 on 2 devices"]
    assert_same(numbers(run_on_two.config.run_dir), numbers(run_dir))


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert first["step/.ATTRIBUTES/VARIABLE_VALUE"] == second["step/.ATTRIBUTES/VARIABLE_VALUE"]
    different = [name for name in first if np.any(first[name] != second[name])]
    different = [name for name in different if not name.startswith("save_counter")]
    assert different == []


@pytest.mark.parametrize("count", [1, 2])
def test_several_steps_in_one_call_are_the_same_steps(count, run, run_on_two, tmp_path):
    """Calls end at the next report or checkpoint, whatever the flag says."""
    original = (run, run_on_two)[count - 1].config
    stop = original.checkpoint_every
    config = dataclasses.replace(
        original,
        workdir=str(tmp_path / "run"),
        steps_per_execution=7,
        num_steps=stop,
        eval_every=0,
        sample_every=0,
    )
    train(config, replicas(count))
    expected = cut_back(original.run_dir, stop, tmp_path / "copy")
    assert_same(numbers(config.run_dir), numbers(expected))


def test_a_call_takes_as_many_steps_as_fit_before_the_next_hook():
    config = dataclasses.replace(CONFIG, steps_per_execution=8, num_steps=60)
    hooks = [Every(10, None), Every(25, None)]
    steps = [training._steps_at_once(config, hooks, step) for step in (0, 8, 10, 18, 23, 55)]
    assert steps == [8, 2, 8, 2, 2, 5]


def test_the_run_ends_with_its_checkpoint(run):
    assert run.lines == [f"Starting {run.config.run_dir} at step 0 of 60 on 1 device"]
    assert Config.load(run.config.run_dir / "config.json") == run.config
    assert checkpoints.latest(run.config.run_dir).endswith("step-60")
    stored = numbers(run.config.run_dir)
    name = "network/begin_conv/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    np.testing.assert_array_equal(stored[name], run.state.network.begin_conv.kernel)
    assert np.any(stored["average" + name.removeprefix("network")] != stored[name])
    assert run.state.skipped_steps.numpy() == 0


def test_nothing_is_left_to_train(run):
    files = sorted(run.config.run_dir.rglob("*"))
    state, lines = train(dataclasses.replace(run.config, num_steps=60))
    assert [line.split()[0] for line in lines] == ["Resuming", "Nothing"]
    assert state.step.numpy() == 60
    assert sorted(run.config.run_dir.rglob("*")) == files


def test_other_settings_are_refused_before_anything_is_written(run):
    changed = dataclasses.replace(run.config, batch_size=8, seed=5)
    with pytest.raises(ConfigError, match="--batch_size: the run has 16.*--seed: the run has"):
        train(changed)
    assert Config.load(run.config.run_dir / "config.json") == run.config


def test_a_batch_that_does_not_fit_the_replicas(tmp_path):
    config = dataclasses.replace(CONFIG, batch_size=15, workdir=str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="--batch_size=15.*multiple of 2"):
        train(config, replicas(2))
    assert not (tmp_path / "run").exists()


def events(run_dir):
    """{tag: {step: value}} of the run's TensorBoard files; an image is its PNG."""
    values = {}
    for path in sorted((run_dir / "tensorboard").iterdir()):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                array = tf.make_ndarray(value.tensor)
                values.setdefault(value.tag, {})[event.step] = array
    return values


def test_curves_and_pictures_go_to_tensorboard(run):
    values = events(run.config.run_dir)
    reported = list(range(10, 61, 10))
    for tag in ("loss", "gradient_norm", "examples_per_second", *LEVELS):
        assert sorted(values.pop(f"train/{tag}")) == reported
    assert sorted(values["test/loss"]) == [30, 60]
    assert sorted(values["samples"]) == [30, 60]
    assert sorted(values) == ["samples", "test/loss"]
    width, height, picture = values["samples"][60]
    assert (int(width), int(height)) == (17, 17)
    path = run.config.run_dir / "samples" / "step-0000060.png"
    with Image.open(path) as shown:
        small = np.asarray(shown)[15::30, 15::30]
    np.testing.assert_array_equal(tf.io.decode_png(picture)[:, :, 0], small)


LEVELS = [f"loss_level_{i}" for i in (1, 2, 3)]


def test_losses_fall(run):
    values = events(run.config.run_dir)
    losses = [float(value) for _, value in sorted(values["train/loss"].items())]
    assert losses[-1] < 0.8 * losses[0]
    assert values["test/loss"][60] < values["test/loss"][30]


def test_progress_is_written_line_by_line_when_no_one_watches(run):
    lines = run.stderr.splitlines()
    assert re.fullmatch(r"First step done \d+\.\d s after the start", lines[0])
    shape = r"step (\d+) of 60  loss \d+\.\d  \d+\.\d\d steps/s  \d+s left"
    matches = [match for match in (re.fullmatch(shape, line) for line in lines) if match]
    assert [int(match[1]) for match in matches] == [10, 20, 30, 40, 50, 60]
    assert sum(bool(re.fullmatch(r"step 60 of 60  test loss \d+\.\d", line)) for line in lines) == 1
    assert sum(line.startswith("samples/step-0000060.png drawn in ") for line in lines) == 1
    assert len(lines) == 1 + 6 + 2 + 2


def test_a_run_whose_loss_is_not_finite_stops_with_its_weights(tmp_path, monkeypatch):
    """Steps 1 and 2 are good, all later ones are not."""
    make_batches = training.training_batches

    def poisoned(source, **options):
        good = make_batches(source, **options).take(2)
        bad = tf.data.Dataset.from_tensors(tf.fill([16, 8, 8, 1], np.nan)).repeat()
        return good.concatenate(bad)

    monkeypatch.setattr(training, "training_batches", poisoned)
    config = dataclasses.replace(
        CONFIG,
        workdir=str(tmp_path),
        log_every=1,
        checkpoint_every=2,
        max_bad_steps=3,
        eval_every=0,
        sample_every=0,
    )
    with pytest.raises(UserError, match=r"not finite for 3 steps in a row \(--max_bad_steps=3\)"):
        train(config)

    folder = config.run_dir / "checkpoints"
    assert checkpoints.latest(config.run_dir) == str(folder / "step-4")
    stored = numbers(config.run_dir)
    assert stored["skipped_steps/.ATTRIBUTES/VARIABLE_VALUE"] == 2
    good = tf.train.load_checkpoint(str(folder / "step-2"))
    for name, value in stored.items():
        if name.startswith(("network", "average", "optimizer")):
            assert np.all(np.isfinite(value))
            np.testing.assert_array_equal(value, good.get_tensor(name), err_msg=name)


class FakeStep:
    """Counts a step and computes nothing."""

    def __init__(self, state, config, strategy):
        self.state = state
        self.totals = self

    def run(self, batch):
        self.state.step.assign_add(1)

    def report(self):
        return 1.0, 1.0, [1.0, 1.0, 1.0]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Settings of a run whose steps take no time."""
    monkeypatch.setattr(training, "TrainingStep", FakeStep)
    return dataclasses.replace(
        CONFIG,
        workdir=str(tmp_path / "fake"),
        features=2,
        ema_decay=0.0,
        log_every=5,
        eval_every=0,
        sample_every=0,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("place", ["in a step", "in a report"])
def test_a_signal_ends_the_run_after_its_step_with_a_checkpoint(
    number, place, fake, monkeypatch, capsys
):
    before = signal.getsignal(number)

    def kill(owner, name, is_now):
        original = getattr(owner, name)

        def killed(self, *args):
            if is_now(self, *args):
                os.kill(os.getpid(), number)
            return original(self, *args)

        monkeypatch.setattr(owner, name, killed)

    if place == "in a step":
        kill(FakeStep, "run", lambda step, batch: step.state.step.numpy() == 6)
    else:
        kill(Reporter, "report", lambda reporter, step: step == 5)
    state, _ = train(fake)
    step = int(state.step.numpy())
    assert step in (5, 6, 7)
    assert checkpoints.latest(fake.run_dir).endswith(f"step-{step}")
    last_line = capsys.readouterr().err.splitlines()[-1]
    name = signal.Signals(number).name
    assert last_line == f"{name}: saved step {step}; the same command resumes"
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("device", ["CPU", "GPU"])
@pytest.mark.parametrize("xla_on_cpu", [True, False])
def test_jit_compile_is_off_where_xla_takes_minutes(device, xla_on_cpu, fake, monkeypatch):
    seen = []

    def make_step(state, config, strategy):
        seen.append(config)
        return FakeStep(state, config, strategy)

    monkeypatch.setattr(training, "TrainingStep", make_step)
    monkeypatch.setattr(compat, "XLA_ON_CPU", xla_on_cpu)
    config = dataclasses.replace(fake, num_steps=1, jit_compile=True)
    strategy = replicas(1)
    if device == "GPU":
        extended = SimpleNamespace(worker_devices=("/replica:0/task:0/device:GPU:0",))
        others = SimpleNamespace(extended=extended)
        choose = training._without_slow_xla
        monkeypatch.setattr(
            training, "_without_slow_xla", lambda config, _, say: choose(config, others, say)
        )
    _, lines = train(config, strategy)
    is_off = device == "CPU" and not xla_on_cpu
    assert [config.jit_compile for config in seen] == [not is_off]
    assert len(lines) == 1 + is_off
    if is_off:
        assert lines[1].startswith("--jit_compile is off: XLA of TensorFlow ")
    assert Config.load(config.run_dir / "config.json") == config


def test_the_second_signal_is_not_deferred():
    requests = []
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with deferred_signals(requests.append):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        os.kill(os.getpid(), signal.SIGTERM)
        assert requests == ["SIGTERM"]
        for number in (signal.SIGINT, signal.SIGTERM):
            assert signal.getsignal(number) is signal.SIG_DFL
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_is_due():
    every = Every(3, None)
    assert [step for step in range(1, 8) if every.is_due(step, step == 7)] == [3, 6, 7]
    assert not any(Every(0, None).is_due(step, True) for step in range(5))


class Writer:
    """A summary writer that is never asked."""

    def close(self):
        pass


class Totals:
    def __init__(self, *reports):
        self.reports = list(reports)

    def report(self):
        return self.reports.pop(0)


def test_speed_is_that_since_the_last_report(monkeypatch, capsys):
    now = 100.0
    config = dataclasses.replace(CONFIG, num_steps=1000, batch_size=8)
    totals = Totals((2.0, 3.0, [1.0, None, 4.0]), (None, None, [None] * 3), (2.0, 3.0, [1.0] * 3))
    reporter = Reporter(config, totals, Writer(), first_step=10, clock=lambda: now)
    written = []
    monkeypatch.setattr(reporter, "write", lambda step, scalars: written.append((step, scalars)))

    now = 104.0
    reporter.report(20)
    scalars = {
        "train/loss": 2.0,
        "train/gradient_norm": 3.0,
        "train/loss_level_1": 1.0,
        "train/loss_level_2": None,
        "train/loss_level_3": 4.0,
        "train/examples_per_second": 2.5 * 8,
    }
    assert written == [(20, scalars)]
    now = 200.0
    reporter.restart_clock(21)
    now = 201.0
    reporter.report(25)
    assert written[1][1]["train/examples_per_second"] == 4 * 8
    now = 204.0
    reporter.report(25)
    assert "train/examples_per_second" not in written[2][1]
    reporter.close()
    assert capsys.readouterr().err.splitlines() == [
        "step 20 of 1000  loss 2.0  2.50 steps/s  6m32s left",
        "step 25 of 1000  loss no finite step  4.00 steps/s  4m04s left",
        "step 25 of 1000  loss 2.0  0.00 steps/s  ? left",
    ]


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (754, "12m34s"),
        (3599.7, "1h00m"),
        (5 * 3600 + 6 * 60 + 59, "5h06m"),
        (100 * 3600, "100h00m"),
        (float("inf"), "?"),
    ],
)
def test_format_time(seconds, text):
    assert format_time(seconds) == text


def test_of_many_noise_levels_groups_are_reported():
    assert level_scalars([3.0, None]) == {"train/loss_level_1": 3.0, "train/loss_level_2": None}
    assert len(level_scalars([1.0] * 20)) == 20
    losses = [float(i) for i in range(1, 233)]
    losses[3] = None
    losses[24:47] = [None] * 23
    scalars = level_scalars(losses)
    assert len(scalars) == 10
    first, second, *_, last = scalars.items()
    assert first == ("train/loss_levels_0001_to_0024", pytest.approx((24 * 25 / 2 - 4) / 23))
    assert second == ("train/loss_levels_0025_to_0048", pytest.approx(48.0))
    assert last == ("train/loss_levels_0210_to_0232", pytest.approx(221.0))
