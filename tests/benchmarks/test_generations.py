"""The generations at equal processor time: what is trained, when it ends, and the table."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import generations
from benchmarks.generations import GENERATIONS, BenchmarkOptions, main, row, run_ncsn, table
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.evaluation.quality.figure import Figure
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.flags import parse_options


@pytest.mark.parametrize("name", GENERATIONS)
def test_the_flags_are_settings_of_a_training(name):
    options = BenchmarkOptions(flags="--class_conditional --seed=3", data_dir="data")
    flags = generations.training_flags(name, options)
    config = parse_options(["train", *flags], Config)
    assert (config.features, config.batch_size, config.seed) == (16, 32, 3)
    assert config.num_evaluations == (100 if name == "ncsn" else 20)
    assert config.class_conditional and config.sampler == "dpm_sde"
    assert config.sde == {"ve": "ve", "vp": "vp"}.get(name, "auto")


def test_a_line_of_the_table():
    figures = [Figure("FD", "fid", 12.345), Figure("KD", "kid", 0.5, spread=0.123)]
    said = row("ve", 59.96, 12000, {figure.metric: figure for figure in figures})
    assert said == "| `ve` | 60.0 | 12,000 | 12.35 | 0.5 (0.12) | |"


def test_what_is_trained_enough_is_not_trained_again(tmp_path, monkeypatch):
    asked = []

    def run(arguments, log, seconds, on_use):
        asked.append((arguments[0], seconds))
        if len(asked) == 1:  # is broken off after a minute
            on_use(60.0)
            raise KeyboardInterrupt
        on_use(seconds)

    monkeypatch.setattr(generations, "run_ncsn", run)
    with pytest.raises(KeyboardInterrupt):
        generations.train("vp", BenchmarkOptions(folder=str(tmp_path), minutes=2.0))
    for minutes in (2.0, 2.0, 5.0):
        options = BenchmarkOptions(folder=str(tmp_path), minutes=minutes)
        assert generations.train("vp", options) == minutes
    assert asked == [("train", 120.0), ("train", 60.0), ("train", 180.0)]
    assert json.loads((tmp_path / "vp/processor_seconds.json").read_text()) == 300.0


def test_what_cannot_be(tmp_path):
    with pytest.raises(ConfigError, match="--generations=ncsn,x must be of ncsn, ncsnv2, ve, vp"):
        table(BenchmarkOptions(generations="ncsn,x"))
    with pytest.raises(UserError, match="flag .fetures.*all of it: .*log"):
        run_ncsn(["train", "--fetures=3"], tmp_path / "log")


@pytest.mark.slow
def test_a_network_is_trained_stopped_resumed_and_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generations, "GENERATIONS", {"ncsnv2": GENERATIONS["ncsnv2"]})
    flags = ["--generations=ncsnv2", "--dataset=digits", "--features=2", f"--folder={tmp_path}"]
    extra = "--num_levels=5 --class_conditional --checkpoint_every=20 --log_every=10"
    flags += [f"--flags={extra}", "--num_images=64"]
    steps = 0

    def used(pid):
        """All of its time once there is a checkpoint that is new, however fast the machine is."""
        found = (tmp_path / "ncsnv2/checkpoints").glob("step-*.index")
        newest = max((int(path.stem.rpartition("-")[2]) for path in found), default=0)
        return 1e9 if newest > steps else 0.0

    monkeypatch.setattr(generations, "processor_seconds", used)
    main(["", *flags, "--minutes=0.3", "--num_samples=0"])
    (line,) = capsys.readouterr().out.splitlines()[2:]
    steps = int(line.split("|")[3].replace(",", ""))
    assert steps >= 20
    (tmp_path / "ncsnv2/processor_seconds.json").write_text("18.0")
    picture = tmp_path / "picture.png"
    main(["", *flags, "--minutes=0.6", "--num_samples=20", f"--picture={picture}"])
    out = capsys.readouterr().out.splitlines()
    cells = [cell.strip() for cell in out[2].split("|")]
    assert int(cells[3].replace(",", "")) > steps
    assert out[0].split("|")[4].strip() == "FD-Train-digits-20-train-64"
    assert float(cells[4]) > 0
    assert np.ptp(np.asarray(Image.open(picture))) == 255
