"""`ncsn evaluate --label --guidance`: samples of a class beside the images of that class."""

import numpy as np
import pytest
import tensorflow as tf
from training_helpers import TinyLabelled

from ncsn_tf.commands import evaluate
from ncsn_tf.commands.console import run_command
from ncsn_tf.data.of_classes import of_classes
from ncsn_tf.evaluation.features import NETWORKS, FeatureNetwork
from ncsn_tf.evaluation.quality import history
from ncsn_tf.evaluation.report.quality import quality_part
from ncsn_tf.training import checkpoints
from ncsn_tf.training.run_data import run_source

NAMES = tuple(map(str, range(10)))


def means(inception, config, data_dir, cache_dir):
    """The mean of an image."""

    def compute(batch):
        return batch.mean((1, 2)).astype(np.float32), None

    about = {"checksum": "0" * 16, "resize": "none", "channels": 0}
    return FeatureNetwork(compute, name="Means", dimension=1, **about)


def command(capsys, *flags, code=0):
    with pytest.raises(SystemExit) as end:
        run_command(evaluate.main, ["evaluate.py", *flags])
    said = capsys.readouterr()
    assert end.value.code == code, said.err
    return said.err if code else said.out


def test_figures_of_a_class(tiny_config, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(NETWORKS, "means", means)
    monkeypatch.setattr(checkpoints, "build_network", TinyLabelled)
    strategy = tf.distribute.get_strategy()
    monkeypatch.setattr(evaluate, "start_for_sampling", lambda count: strategy)
    monkeypatch.setenv("NCSN_CACHE", str(tmp_path / "cache"))
    config = tiny_config(
        features=4,
        class_conditional=True,
        class_names=NAMES,
        num_levels=2,
        num_steps_each=1,
        workdir=str(tmp_path / "run"),
    )
    checkpoints.save_network(TinyLabelled(config), config, step=4)
    flags = [f"--workdir={tmp_path / 'run'}", "--metrics=fid", "--features=means"]
    flags += ["--num_samples=4", "--copies=never"]
    out = command(capsys, *flags, "--label=3", "--guidance=0")
    source = run_source(config, "train")
    count = int(np.sum(source.labels == 3))
    assert f"Compared with {count} training images of digits, 3\n" in out
    command(capsys, *flags)
    one, each = history.read(tmp_path / "run")
    assert (one.num_reference, one.reference) == (count, "train-of-3")
    assert (one.name, one.sampler["labels"]) == ("FD-Means-4-train-of-3", "3")
    assert (one.sampler["guidance"], each.sampler["guidance"]) == (0.0, 1.0)
    assert (each.num_reference, each.reference) == (source.num_examples, "train")
    rows = quality_part(tmp_path / "run")["rows"]
    assert [("classes 3, guidance 0" in str(row)) for row in rows] == [False, True]
    chosen = of_classes(source, [3], ["3"])
    pixels = source.images.pixels(np.flatnonzero(source.labels == 3))
    np.testing.assert_array_equal(chosen.images.pixels(np.arange(count)), pixels)
    assert chosen.fingerprint() != of_classes(source, [4], ["4"]).fingerprint()
    line = command(capsys, *flags, "--label=cat", code=2)
    assert line.startswith("error: --label=cat is no class of this run, which has 10: 0 0, 1 1")
    line = command(capsys, *flags, "--label=3", "--samples=x.npz", code=2)
    assert line.startswith("error: --label=3 cannot be used with --samples")
