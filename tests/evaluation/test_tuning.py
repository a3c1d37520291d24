"""Figures as a run trains, a ranking of its checkpoints, and sweeps, through the commands."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from training_helpers import TinyLabelled, TinyNetwork, assert_same_run, numbers

from ncsn_tf.commands import evaluate, sample, train
from ncsn_tf.commands.evaluate import EvaluateOptions
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.evaluation.features import FeatureNetwork
from ncsn_tf.evaluation.quality import history
from ncsn_tf.evaluation.quality.figures import Result
from ncsn_tf.evaluation.quality.online import DivergedError, as_figures
from ncsn_tf.evaluation.report import folder
from ncsn_tf.evaluation.report.quality import quality_part
from ncsn_tf.evaluation.tuning import bench, ranking, sweep
from ncsn_tf.sampling.sampler import Sampler
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.training import best_files, checkpoint_files, checkpoints
from ncsn_tf.training import state as state_module
from ncsn_tf.training.run_sampler import chain_settings

NAME = "FD-Blocks-12"


def blocks(pixels):
    """Means of quarters of images: features that cost nothing."""
    means = pixels.reshape(len(pixels), 2, 4, 2, 4).mean((2, 4)).reshape(len(pixels), 4)
    return means.astype(np.float32) / 255, None


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """A network of five weights, and the features `blocks`, whatever is asked for."""
    network = FeatureNetwork(
        blocks, name="Blocks", checksum="0" * 16, resize="none", dimension=4, channels=1
    )
    monkeypatch.setattr(bench, "open_features", lambda name, **options: network)
    for module in (state_module, checkpoints):
        monkeypatch.setattr(module, "build_network", TinyNetwork)


@pytest.fixture
def drawn(monkeypatch):
    """The settings with which samples were measured: to draw them would take the longest time."""
    calls = []

    def draw(network, config, features, reference, metrics, num_samples, seed, *_):
        calls.append(config)
        if config.step_lr > 1:
            raise DivergedError("the chains diverged")
        scale = float(np.abs(network.get_weights()[0]).mean())
        value = 1.0 + (np.log10(config.step_lr) + 4) ** 2 + scale / 100 + config.num_steps_each
        results = {name: Result(value, 0.1, num_samples, reference.count) for name in metrics}
        known = {"sampler": chain_settings(config), "seeds": (seed, num_samples)}
        return as_figures(results, features, reference, known)

    monkeypatch.setattr(bench, "draw_and_measure", draw)
    return calls


@pytest.fixture
def config(tiny_config, tmp_path):
    return tiny_config(workdir=str(tmp_path / "run"), num_steps_each=1)


@pytest.fixture
def run(config):
    """The folder of a run with checkpoints of steps 1, 2 and 3, of ever larger weights."""
    network = TinyNetwork(config)
    parts = {"network": network, "config": tf.Variable(config.to_json())}
    for step in (1, 2, 3):
        rng = np.random.default_rng(0)
        network.set_weights([4.0**step * rng.normal(size=w.shape) for w in network.get_weights()])
        checkpoint = tf.train.Checkpoint(step=tf.Variable(step, dtype=tf.int64), **parts)
        checkpoint_files.write(checkpoint, config.run_dir, step, keep=9)
    config.save(config.run_dir / "config.json")
    return config.run_dir


def measure(run_dir, *flags):
    evaluate.main(["evaluate.py", f"--workdir={run_dir}", "--num_samples=12", *flags])


def trials(run_dir, kind):
    (path,) = (run_dir / "evaluation").glob(f"{kind}-*.json")
    return path, json.loads(path.read_text())


def test_a_sweep_finds_the_best_value(run, drawn, capsys):
    flags = ["--sweep=step_lr=1e-6:1e-2:3", "--metrics=fid,kid", "--denoise", "--seed=7"]
    measure(run, *flags)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"Evaluating {run}, weights of step 3"
    assert out[1].split() == ["step_lr", NAME, "KD-Blocks-12"]
    path, content = trials(run, "sweep-step_lr")
    tried = content["tried"]
    assert [*tried] == ["1e-06", "0.0001", "0.01"]
    values = {value: figures[0]["value"] for value, figures in tried.items()}
    best = min(values, key=values.get)
    for line, (value, figures) in zip(out[2:5], tried.items(), strict=True):
        assert line.split()[:3] == [value, *(f"{figure['value']:.4g}" for figure in figures)]
        assert line.endswith("best") == (value == best)
    assert out[5].startswith(f"Best: --denoise=true --step_lr={best}  ({NAME} {values[best]:.4g}")
    plot = path.with_suffix(".png")
    assert out[-1] == f"Wrote {path} and {plot}"
    with Image.open(plot) as picture:
        assert picture.size == (1000, 380)
    figures = history.read(run)
    assert [figure.value for figure in figures if figure.metric == "fid"] == [*values.values()]
    assert figures[0].details == {"sweep": "step_lr=1e-06"}
    assert figures[0].sampler["step_lr"] == 1e-6 and figures[0].sampler["denoise"]
    assert (figures[0].step, figures[0].weights, figures[0].seeds) == (3, "raw", (7, 12))

    # The values that are there are not measured again; the curve then has all of them.
    drawn.clear()
    measure(run, "--sweep=step_lr=1e-6,0.001", *flags[1:])
    assert [config.step_lr for config in drawn] == [0.001]
    assert "--step_lr=1e-06 is measured already" in capsys.readouterr().err
    again = trials(run, "sweep-step_lr")[1]["tried"]
    assert again.items() >= tried.items() and len(again) == 4
    assert not list((run / "evaluation").glob("*.lock"))


def test_a_sweep_that_was_broken_off_goes_on(run, drawn, monkeypatch):
    draw, calls = bench.draw_and_measure, []

    def break_off(*args):
        calls.append(args[1].num_steps_each)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return draw(*args)

    monkeypatch.setattr(bench, "draw_and_measure", break_off)
    with pytest.raises(KeyboardInterrupt):
        measure(run, "--sweep=num_steps_each=1:3:3")
    measure(run, "--sweep=num_steps_each=1:3:3")
    assert calls == [1, 2, 2, 3]


def test_values_with_which_the_chains_diverge(run, drawn, capsys):
    measure(run, "--sweep=step_lr=1e-5,1e30")
    assert capsys.readouterr().out.splitlines()[3] == "1e+30    diverged"
    assert len(history.read(run)) == 1
    with pytest.raises(UserError, match="chains diverged with every value of step_lr"):
        measure(run, "--sweep=step_lr=1e30,1e31")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--sweep=snr=0.1:0.3:3"], "--sweep=snr=...: --sampler=ald has no such setting"),
        (["--sampler=ode", "--sweep=num_steps_each=1,2"], "--sampler=ode has no such setting"),
        (["--sampler=dpm", "--sweep=num_steps_each=1,2"], "--sampler=dpm has no such setting"),
        (["--sampler=cas", "--sweep=step_lr=1,2"], "--sweep=step_lr=...: the step size of --sam"),
        (["--sweep=snr=0"], "--sweep=snr=0: --snr=0.0 must be above 0"),
        (["--step_lr=1", "--sweep=step_lr=1,2"], "--step_lr=1.0 cannot be used with --sweep=st"),
        (["--sweep=snr=1", "--every_checkpoint"], "goes without --every_checkpoint"),
        (["--sweep=snr=1", "--test_loss"], "goes without --bits_per_dim and --test_loss"),
        (["--sweep=snr=1", "--metrics"], "needs the names of --metrics, of which the first"),
        (["--every_checkpoint", "--checkpoint=3"], "--checkpoint=3 cannot be used with --every_ch"),
        (["--every_checkpoint", "--samples=a"], "--samples=a cannot be used with --every_check"),
        (["--metrics", "--samples=a", "--checkpoint=best"], "cannot be used with --samples"),
        (["--keep_best"], "--keep_best=true needs --every_checkpoint"),
        (["--sweep=step_lr=1,2", "--metrics=is"], "is needs probabilities, which Blocks does not"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_drawn(flags, message, run, monkeypatch):
    monkeypatch.setattr(bench, "draw_and_measure", None)
    with pytest.raises(ConfigError) as error:
        measure(run, *flags)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (run / "evaluation").exists()


def test_samples_of_a_sweep_need_ten_for_some_metrics():
    options = parse_options(["evaluate.py", "--every_checkpoint", "--average"], EvaluateOptions)
    options.validate()
    assert options.is_quality and not options.metrics


def test_every_checkpoint_is_ranked_and_the_best_one_kept(run, drawn, capsys, monkeypatch):
    data = Path(checkpoint_files.path_of(run, 2) + ".data-00000-of-00001")
    content = data.read_bytes()
    data.write_bytes(content[: len(content) // 2])
    measure(run, "--every_checkpoint")
    said = capsys.readouterr()
    assert said.err.count("warning: left out: checkpoint ") == 1
    out = said.out.splitlines()
    assert out[0] == f"Evaluating every checkpoint of {run}"
    assert out[1].split() == ["step", NAME]
    data.write_bytes(content)

    measure(run, "--every_checkpoint", "--keep_best")
    said = capsys.readouterr()
    assert "step 1 is measured already" in said.err and "step 2: FD-Blocks-12 " in said.err
    out = said.out.splitlines()
    figures = {figure.step: figure for figure in history.read(run)}
    assert sorted(figures) == [1, 2, 3]
    best = min(figures, key=lambda step: figures[step].value)
    assert out[5] == f"Best: --checkpoint={best}  ({figures[best]})"
    assert out[6] == f"Kept as {run / 'checkpoints' / 'best'}: --checkpoint=best"
    opened = checkpoints.open_run(run, checkpoint="best")
    assert opened.step == best
    kept = best_files.read_figure(opened.path)
    assert (kept.name, kept.value) == (NAME, figures[best].value)
    assert len(checkpoint_files.listed(run)) == 3

    # One that the rotation has removed is ranked too, by what is known of it.
    for file in checkpoint_files.files_of(checkpoint_files.path_of(run, best)):
        os.remove(file)
    monkeypatch.setattr(bench, "draw_and_measure", None)
    measure(run, "--every_checkpoint", "--keep_best")
    assert checkpoints.open_run(run, checkpoint="best").step == best


@pytest.fixture
def training():
    """--flag=value of a training that measures."""
    tiny = {"dataset": "digits", "features": 2, "num_levels": 3, "num_steps_each": 1}
    tiny |= {"batch_size": 8, "eval_every": 0, "sample_every": 0, "export": "false"}
    tiny |= {"metric_every": 2, "metric_samples": 12, "checkpoint_every": 4, "num_steps": 4}
    tiny |= {"keep_checkpoints": 1, "ema_decay": 0.5, "step_lr": 1e-5, "deterministic": "true"}
    return tiny


def run_train(workdir, settings, **changes):
    flags = [f"--{name}={value}" for name, value in {**settings, **changes}.items()]
    train.main(["train.py", f"--workdir={workdir}", *flags])


def test_training_with_classes_measures_all_of_them(training, tmp_path, monkeypatch):
    """The network's classes are those of the data, which no flag names."""
    sums = lambda pixels: (np.ones([len(pixels), 2], np.float32), np.eye(10)[[3] * len(pixels)])  # noqa: E731
    about = {"name": "Threes", "checksum": "0" * 16, "resize": "none", "channels": 0}
    threes = FeatureNetwork(sums, dimension=2, num_classes=10, **about)
    monkeypatch.setattr(bench, "open_features", lambda *_, **__: threes)
    for module in (state_module, checkpoints):
        monkeypatch.setattr(module, "build_network", TinyLabelled)
    changes = {"class_conditional": "true", "metric": "accuracy", "num_steps": 2}
    run_train(tmp_path / "run", training, **changes, metric_samples=20)
    (figure,) = history.read(tmp_path / "run")
    assert (figure.name, figure.value) == ("Accuracy-Threes-20", 0.1)
    assert figure.sampler["labels"] == "0,1,2,3,4,5,6,7,8,9"


@pytest.mark.slow
def test_training_measures_and_its_best_checkpoint_is_sampled(training, tmp_path, capsys):
    run_train(tmp_path / "run", training)
    figures = history.read(tmp_path / "run")
    assert [(figure.step, figure.weights, figure.name) for figure in figures] == [
        (2, "average", NAME),
        (4, "average", NAME),
    ]
    best = min(figures, key=lambda figure: figure.value)
    opened = checkpoints.open_run(tmp_path / "run", checkpoint="best")
    kept = best_files.read_figure(opened.path)
    assert (opened.step, kept.value, kept.name) == (best.step, best.value, NAME)
    assert kept.about["checksum"] == "0" * 16

    capsys.readouterr()
    out = tmp_path / "best.npz"
    flags = [f"--workdir={tmp_path / 'run'}", "--checkpoint=best", "--format=npz", f"--out={out}"]
    sample.main(["sample.py", *flags, "--num_samples=3"])
    said = f"Sampling from {tmp_path / 'run'}, averaged weights of step {best.step}, the best"
    assert capsys.readouterr().out.splitlines()[0] == said

    # A ranking with the same samples finds the same figure, and the same best.
    measure(tmp_path / "run", "--every_checkpoint", "--metrics=fid")
    assert f"Best: --checkpoint={best.step} " in capsys.readouterr().out

    # A sweep draws too; a step size at which the chains diverge is no end.
    measure(tmp_path / "run", "--sweep=step_lr=1e-5,1e38")
    assert "1e+38    diverged" in capsys.readouterr().out

    # To measure changes no number of training.
    run_train(tmp_path / "plain", training, metric_every=0)
    assert_same_run(numbers(tmp_path / "run"), numbers(tmp_path / "plain"))


@pytest.mark.slow
def test_chains_that_diverge_do_not_end_training(training, tmp_path, capsys):
    run_train(tmp_path / "run", training, step_lr=1e38)
    said = capsys.readouterr().err
    assert said.count("fid cannot be had yet, the chains diverge") == 2
    assert best_files.path_of(tmp_path / "run") is None
    assert history.read(tmp_path / "run") == []


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"metric": "is"}, "is needs probabilities, which Blocks does not give"),
        ({"sampler": "cas", "cas_step_lr": 9}, "the step size of --sampler=cas must be between"),
        ({"metric": "lpips"}, "--metric=lpips must be fid or kid or is or precision or recall"),
        ({"metric": "accuracy"}, "--metric=accuracy needs --class_conditional: samples of a class"),
    ],
)
def test_a_figure_that_cannot_be_had_is_said_before_the_first_step(
    changes, message, training, tmp_path
):
    with pytest.raises(ConfigError, match=message):
        run_train(tmp_path / "run", training, **changes)
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_a_shard_goes_on_with_its_own_checkpoint(run, tmp_path, monkeypatch):
    """Where training has gone on meanwhile."""
    monkeypatch.setattr(Sampler, "draw", lambda self, seeds, *_: np.zeros([len(seeds), 8, 8, 1]))
    shard = ["--num_samples=4", "--block=2", "--shard=0/2", f"--workdir={run}"]
    shard.append(f"--out={tmp_path / 'parts'}")
    sample.main(["sample.py", *shard, "--checkpoint=2"])
    other = [flag.replace("0/2", "1/2") for flag in shard]
    with pytest.raises(UserError, match="step 2 and not 3.*: name another --out, or draw with "):
        sample.main(["sample.py", *other])
    sample.main(["sample.py", *other, "--checkpoint=2"])
    assert len(list((tmp_path / "parts").glob("*.npz"))) == 2


def test_other_settings_have_other_files(run, drawn):
    for seed in (0, 1):
        measure(run, "--sweep=num_steps_each=1,2", f"--seed={seed}")
    assert len(list((run / "evaluation").glob("sweep-num_steps_each-*.json"))) == 2
    path = sorted((run / "evaluation").glob("*.json"))[0]
    path.write_text('{"tried": 3}')
    with pytest.raises(UserError, match="cannot be read: .*; move it away to measure anew"):
        for seed in (0, 1):
            measure(run, "--sweep=num_steps_each=1,2", f"--seed={seed}")
    shutil.rmtree(run / "evaluation")


def test_the_report_lists_a_sweep_and_plots_it_over_no_steps(run, drawn):
    measure(run, "--sweep=step_lr=1e-5,1e-4,1e30")
    (found,) = folder.evaluations(run)
    rows = dict(found["rows"])
    assert rows["tried.0.0001"].startswith(f"{NAME} ") and rows["tried.1e+30"] == "diverged"
    part = quality_part(run)
    assert (part["charts"], part["count"]) == ([], 2)
    measure(run, "--every_checkpoint")
    assert [series["steps"] for series in quality_part(run)["charts"][0]["series"]] == [[1, 2, 3]]


def test_the_table_of_a_score_ranks_the_highest_first():
    figures = {"1": [dataclasses.replace(FIGURE, value=2.0)], "2": [FIGURE]}
    assert sweep.best_of(figures) == ranking.best_of(figures) == "2"


FIGURE = history.Figure("CS-Blocks-1k", "is", 3.0)
