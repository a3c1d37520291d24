"""Training runs from start to end: resuming, signals, bad steps, what is written and said."""

import contextlib
import dataclasses
import os
import re
import signal

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from training_helpers import (
    FakeStep,
    TinyNetwork,
    assert_same_run,
    cut_back,
    numbers,
    replicas,
    train,
)

from ncsn_tf.backend import compat, signals
from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.sampling.sampler import Sampler
from ncsn_tf.settings.config import Config
from ncsn_tf.training import arithmetic, checkpoint_choice, hooks, loop
from ncsn_tf.training import state as state_module
from ncsn_tf.training.hooks import Every
from ncsn_tf.training.reporter import Reporter

SETTINGS = {
    "features": 4,
    "batch_size": 16,
    "learning_rate": 0.003,
    "ema_decay": 0.9,
    "num_steps": 60,
    "num_sample_images": 3,
    "log_every": 10,
    "eval_every": 30,
    "sample_every": 30,
    "checkpoint_every": 40,
    "deterministic": True,
}
TRAINING_ALONE = {"eval_every": 0, "sample_every": 0}


@pytest.fixture(scope="module")
def settings(tiny_config):
    """Settings of a run with everything that a run can write, changed by name."""
    return lambda **changes: tiny_config(**{**SETTINGS, **changes})


@pytest.fixture
def tiny_network(monkeypatch):
    """Training of a network of five weights, whose step is compiled in no time."""
    monkeypatch.setattr(state_module, "build_network", TinyNetwork)


@dataclasses.dataclass
class Run:
    """An uninterrupted run: its settings, what it said, its state at the end."""

    config: Config
    lines: list
    stderr: str
    state: state_module.TrainingState

    def resumed_at(self, step, strategy, workdir, **changes):
        """(what is said, the run's folder) of the rest of the run, from a checkpoint on."""
        run_dir = cut_back(self.config.run_dir, step, workdir)
        config = dataclasses.replace(self.config, workdir=str(run_dir), **TRAINING_ALONE, **changes)
        return train(config, strategy)[1], run_dir


@pytest.fixture(scope="module")
def run(settings, tmp_path_factory):
    """On one replica, with everything that a run can write, by a network of a few weights."""
    config = settings(workdir=str(tmp_path_factory.mktemp("run") / "one"), learning_rate=0.03)
    stderr = tmp_path_factory.mktemp("stderr") / "lines"
    with (
        open(stderr, "w") as file,
        contextlib.redirect_stderr(file),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(state_module, "build_network", TinyNetwork)
        state, lines = train(config)
    return Run(config, lines, stderr.read_text(), state)


@pytest.fixture
def run_on_two(settings, tiny_network, tmp_path):
    workdir = str(tmp_path / "two")
    config = settings(workdir=workdir, num_steps=8, checkpoint_every=4, **TRAINING_ALONE)
    state, lines = train(config, replicas(2))
    return Run(config, lines, "", state)


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(settings, tmp_path):
    """Of the real network, whose sums are long enough for threads to decide their order.

    The next test has one of a few weights.
    """
    steps = {"num_steps": 8, "checkpoint_every": 5}
    config = settings(workdir=str(tmp_path / "whole"), **steps, **TRAINING_ALONE)
    run = Run(config, [], "", train(config)[0])
    lines, run_dir = run.resumed_at(5, replicas(1), tmp_path / "resumed")
    (line,) = lines
    assert line.startswith(f"Resuming {run_dir} at step 5 of 8 on 1 device, CPU (")
    assert_same_run(numbers(run.config.run_dir), numbers(run_dir))


def test_a_run_that_measures_and_draws_trains_as_one_that_does_not(run, tiny_network, tmp_path):
    lines, run_dir = run.resumed_at(40, replicas(1), tmp_path / "resumed")
    assert lines[0].startswith(f"Resuming {run_dir} at step 40 of 60 on 1 device, CPU (")
    assert_same_run(numbers(run.config.run_dir), numbers(run_dir))


@pytest.mark.slow
def test_a_resumed_run_on_two_replicas_is_the_uninterrupted_run(run_on_two, tmp_path):
    """Also where a call takes several steps."""
    (line,) = run_on_two.lines
    start = f"Starting {run_on_two.config.run_dir} at step 0 of 8 on 2 devices, CPU ("
    assert line.startswith(start)
    lines, run_dir = run_on_two.resumed_at(
        4, replicas(2), tmp_path / "resumed", steps_per_execution=3
    )
    (line,) = lines
    assert line.startswith(f"Resuming {run_dir} at step 4 of 8 on 2 devices, CPU (")
    assert_same_run(numbers(run_on_two.config.run_dir), numbers(run_dir))


def test_several_steps_in_one_call_are_the_same_steps(settings, tiny_network, tmp_path):
    """Calls end at the next report or checkpoint, whatever the flag says."""
    runs = {}
    for count in (1, 7):
        config = settings(
            workdir=str(tmp_path / str(count)),
            steps_per_execution=count,
            num_steps=20,
            checkpoint_every=8,
            **TRAINING_ALONE,
        )
        train(config)
        steps = sorted(path.name for path in config.run_dir.glob("checkpoints/*.index"))
        assert steps == ["step-16.index", "step-20.index", "step-8.index"]
        runs[count] = numbers(config.run_dir)
    assert_same_run(runs[1], runs[7])


def test_a_call_takes_as_many_steps_as_fit_before_the_next_hook(settings):
    config = settings(steps_per_execution=8, num_steps=60)
    hooks = [Every(10, None), Every(25, None), Every(0, None)]
    steps = [loop._steps_at_once(config, hooks, step) for step in (0, 8, 10, 18, 23, 55)]
    assert steps == [8, 2, 8, 2, 2, 5]


def test_the_run_ends_with_its_checkpoint(run):
    (line,) = run.lines
    assert line.startswith(f"Starting {run.config.run_dir} at step 0 of 60 on 1 device, CPU (")
    assert Config.load(run.config.run_dir / "config.json") == run.config
    assert checkpoint_choice.latest(run.config.run_dir).endswith("step-60")
    stored = numbers(run.config.run_dir)
    name = "network/begin/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    np.testing.assert_array_equal(stored[name], run.state.network.begin.kernel)
    assert np.any(stored["average" + name.removeprefix("network")] != stored[name])
    assert run.state.skipped_steps.numpy() == 0


def test_nothing_is_left_to_train(run, tiny_network):
    files = sorted(run.config.run_dir.rglob("*"))
    state, lines = train(dataclasses.replace(run.config, num_steps=60))
    assert [line.split()[0] for line in lines] == ["Resuming", "Nothing"]
    assert state.step.numpy() == 60
    assert sorted(run.config.run_dir.rglob("*")) == files


def test_other_settings_are_refused_before_anything_is_written(run, tiny_network):
    changed = dataclasses.replace(run.config, batch_size=8, seed=5)
    with pytest.raises(ConfigError, match="--batch_size: the run has 16.*--seed: the run has"):
        train(changed)
    assert Config.load(run.config.run_dir / "config.json") == run.config


def test_a_batch_that_does_not_fit_the_replicas(settings, tmp_path):
    config = settings(batch_size=15, workdir=str(tmp_path / "run"))
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


def test_a_run_whose_loss_is_not_finite_stops_with_its_weights(
    settings, tiny_network, tmp_path, monkeypatch
):
    """Steps 1 and 2 are good, all later ones are not."""
    make_batches = loop.training_batches

    def poisoned(source, **options):
        good = make_batches(source, **options).take(2)
        bad = tf.data.Dataset.from_tensors(tf.fill([16, 8, 8, 1], np.nan)).repeat()
        return good.concatenate(bad)

    monkeypatch.setattr(loop, "training_batches", poisoned)
    config = settings(
        workdir=str(tmp_path), log_every=1, checkpoint_every=2, max_bad_steps=3, **TRAINING_ALONE
    )
    with pytest.raises(UserError, match=r"not finite for 3 steps in a row \(--max_bad_steps=3\)"):
        train(config)

    folder = config.run_dir / "checkpoints"
    assert checkpoint_choice.latest(config.run_dir) == str(folder / "step-4")
    stored = numbers(config.run_dir)
    assert stored["skipped_steps/.ATTRIBUTES/VARIABLE_VALUE"] == 2
    good = tf.train.load_checkpoint(str(folder / "step-2"))
    for name, value in stored.items():
        if name.startswith(("network", "average", "optimizer")):
            assert np.all(np.isfinite(value))
            np.testing.assert_array_equal(value, good.get_tensor(name), err_msg=name)


@pytest.fixture
def fake(settings, tiny_network, tmp_path, monkeypatch):
    """Settings of a run whose steps take no time."""
    monkeypatch.setattr(loop, "TrainingStep", FakeStep)
    return settings(workdir=str(tmp_path / "fake"), ema_decay=0.0, log_every=5, **TRAINING_ALONE)


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
    assert checkpoint_choice.latest(fake.run_dir).endswith(f"step-{step}")
    last_line = capsys.readouterr().err.splitlines()[-1]
    name = signal.Signals(number).name
    assert last_line == f"{name}: saved step {step}; the same command resumes"
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("work", ["sample grid", "test loss"])
def test_a_signal_ends_a_grid_and_a_test_loss_and_saves_the_step(work, fake, monkeypatch, capsys):
    """Long ones are left between two of their calls."""
    calls = []

    def call(self, *args):
        calls.append(work)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return args[0] if work == "sample grid" else tf.constant(1.0)

    if work == "sample grid":
        monkeypatch.setattr(Sampler, "_advance_all", call)
        fake = dataclasses.replace(fake, sample_every=3, num_steps_each=50)
    else:
        monkeypatch.setattr(hooks.TestLoss, "_batch_loss", call)
        fake = dataclasses.replace(fake, eval_every=3, eval_batches=10)
    monkeypatch.setattr(tf, "function", lambda function, **_: function)
    train(fake)
    assert len(calls) == 2
    assert checkpoint_choice.latest(fake.run_dir).endswith("step-3")
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert last_line == "SIGTERM: saved step 3; the same command resumes"
    assert not (fake.run_dir / "samples").exists()


class Slow:
    """Batches of which one is long in coming."""

    def __init__(self, batches, step):
        self.batches, self.step, self.count = iter(batches), step, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.count == self.step:
            os.kill(os.getpid(), signal.SIGTERM)
        self.count += 1
        return next(self.batches)


@pytest.fixture
def batches_with_a_signal_before(monkeypatch):
    """A function that has a signal come in the wait for the batch of a step."""
    strategy = replicas(1)
    distribute = strategy.experimental_distribute_dataset

    def wait(step):
        monkeypatch.setattr(
            strategy, "experimental_distribute_dataset", lambda data: Slow(distribute(data), step)
        )
        return strategy

    return wait


def test_a_wait_for_data_is_no_step(fake, batches_with_a_signal_before, monkeypatch, capsys):
    """What is finished can be saved meanwhile; the step after it is not begun."""
    seen = []
    monkeypatch.setattr(
        Slow,
        "__next__",
        lambda self, original=Slow.__next__: seen.append(saved()) or original(self),
    )
    endings = []
    make = loop.Ending

    def saved():
        return endings[0].step

    monkeypatch.setattr(
        loop, "Ending", lambda *args, **kwargs: endings.append(make(*args, **kwargs)) or endings[0]
    )
    state, _ = train(fake, batches_with_a_signal_before(4))
    assert seen == [None, 1, 2, 3, 4]
    assert int(state.step.numpy()) == 4
    assert capsys.readouterr().err.endswith("SIGTERM: saved step 4; the same command resumes\n")


def test_a_wait_for_the_first_batch_ends_at_once(fake, batches_with_a_signal_before):
    with pytest.raises(signals.Interrupted):
        train(fake, batches_with_a_signal_before(0))
    assert not (fake.run_dir / "checkpoints").exists()


def test_nothing_long_begins_once_an_end_was_asked_for(fake, monkeypatch):
    """In the checkpoint before a test loss and a grid, which are due at the same step."""
    save = loop.RunCheckpoints.save
    monkeypatch.setattr(
        loop.RunCheckpoints, "save", lambda self: os.kill(os.getpid(), signal.SIGTERM) or save(self)
    )
    begun = []
    monkeypatch.setattr(hooks.Evaluate, "__call__", lambda self, step: begun.append(step))
    monkeypatch.setattr(hooks.DrawGrid, "__call__", lambda self, step: begun.append(step))
    every = {"checkpoint_every": 3, "eval_every": 3, "sample_every": 3}
    state, _ = train(dataclasses.replace(fake, **every))
    assert (int(state.step.numpy()), begun) == (3, [])


def test_a_signal_in_the_first_step_is_not_awaited(fake, monkeypatch):
    """It compiles, which can take minutes, and there is nothing to be saved."""
    monkeypatch.setattr(FakeStep, "run", lambda self, batch: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(signals.Interrupted):
        train(fake)
    assert not (fake.run_dir / "checkpoints").exists()


@pytest.mark.parametrize("device", ["CPU", "GPU"])
@pytest.mark.parametrize("xla_on_cpu", [True, False])
def test_jit_compile_is_off_where_xla_takes_minutes(device, xla_on_cpu, fake, monkeypatch):
    seen = []

    def make_step(state, config, strategy):
        seen.append(config)
        return FakeStep(state, config, strategy)

    monkeypatch.setattr(loop, "TrainingStep", make_step)
    monkeypatch.setattr(compat, "XLA_ON_CPU", xla_on_cpu)
    config = dataclasses.replace(fake, num_steps=1, jit_compile=True)
    strategy = replicas(1)
    if device == "GPU":
        monkeypatch.setattr(arithmetic, "is_cpu", lambda strategy: False)
    _, lines = train(config, strategy)
    is_off = device == "CPU" and not xla_on_cpu
    assert [config.jit_compile for config in seen] == [not is_off]
    assert len(lines) == 1 + is_off
    if is_off:
        assert lines[1].startswith("--jit_compile is off: XLA of TensorFlow ")
    stored = Config.load(config.run_dir / "config.json")
    assert stored == dataclasses.replace(config, precision="float32")


# --- images of one's own ---


@pytest.fixture(scope="module")
def own():
    """Training and test images that the run's settings do not name."""
    return [load_source("digits", split, image_size=8, channels=1) for split in ("train", "test")]


@pytest.mark.slow
def test_own_images_train_and_resume_as_a_data_set_does(
    own, settings, tiny_network, tmp_path, capsys
):
    def run(name, dataset, num_steps=6, **sources):
        config = settings(
            workdir=str(tmp_path / name),
            dataset=dataset,
            num_steps=num_steps,
            eval_every=3,
            sample_every=0,
        )
        _, lines = train(config, **sources)
        said = capsys.readouterr().err.splitlines()
        return lines[0], [line for line in said if "test loss" in line]

    _, expected_losses = run("digits", "digits")
    assert len(expected_losses) == 2
    _, losses = run("mine", "mine", 4, source=own[0])
    assert losses == []  # without test images
    started, losses = run("mine", "mine", source=own[0], test_source=own[1])
    assert started.startswith(f"Resuming {tmp_path / 'mine'} at step 4 of 6 on 1 device, CPU (")
    assert losses == expected_losses[1:]
    assert_same_run(numbers(tmp_path / "digits"), numbers(tmp_path / "mine"))


def test_own_images_of_another_shape_are_refused_before_anything_is_written(
    own, settings, tmp_path
):
    config = settings(workdir=str(tmp_path / "run"), image_size=10)
    message = "digits: images of 8 x 8 x 1 numbers cannot train a network for 10 x 10 x 1"
    for sources in ({"source": own[0]}, {"test_source": own[1]}):
        with pytest.raises(ConfigError, match=message):
            train(config, **sources)
    assert not (tmp_path / "run").exists()
