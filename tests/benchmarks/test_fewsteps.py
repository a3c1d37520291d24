"""The rows of the table of distance against evaluations."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks.fewsteps import BenchmarkOptions, drawn, main, rows_of
from ncsn_tf.errors import ConfigError
from ncsn_tf.evaluation.features.network import FeatureNetwork
from ncsn_tf.settings.config import Config
from ncsn_tf.training.run_sampler import chain_of

CONFIG = Config(model="ncsnv2", num_levels=10, dataset="digits", image_size=8, channels=1)


def rows(**options):
    return rows_of(CONFIG, BenchmarkOptions(**options))


def test_rows_are_of_the_evaluations_that_are_asked_for():
    found = rows(
        samplers="ald,heun,dpm_sde", evaluations="9,20", long="5,101", schedules="geometric"
    )
    said = [
        (config.sampler, about, chain_of(config).num_evaluations(config.num_steps_each))
        for about, config in found
    ]
    assert said == [
        ("ald", "1 a level", 11),
        ("ald", "10 a level", 101),
        ("heun", "geometric", 9),
        ("heun", "geometric", 19),
        ("dpm_sde", "geometric", 9),
        ("dpm_sde", "geometric", 20),
    ]
    assert all(config.denoise for _, config in found)


def test_churn_is_of_the_solvers_that_have_it():
    found = rows(samplers="heun,dpm", churn=40.0, evaluations="20")
    assert [(about, config.churn) for about, config in found] == [
        ("karras, churn 40", 40.0),
        ("geometric, churn 40", 40.0),
        ("karras", 0.0),
        ("geometric", 0.0),
    ]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"samplers": "ald,ode"}, "--samplers=ald,ode must be of ald, cas, pc, euler, "),
        ({"schedules": "linear"}, "--schedules=linear must be of karras, geometric, ladder"),
        ({"evaluations": "10,x"}, "--evaluations=10,x must be whole numbers above 0"),
        ({"long": "0"}, "--long=0 must be whole numbers above 0"),
    ],
)
def test_what_cannot_be_a_row(options, message):
    with pytest.raises(ConfigError, match=message):
        rows(**options)


def test_images_are_drawn_and_divergence_is_told():
    (_, config), *_ = rows(samplers="dpm", evaluations="2")
    pixels, count = drawn(lambda x, levels: 0.5 - x, config, [1, 2, 3])
    assert (pixels.shape, pixels.dtype, count) == ((3, 8, 8, 1), "uint8", 2)
    assert drawn(lambda x, levels: x * float("nan"), config, [1, 2, 3])[0] is None


def test_the_table_with_features_and_a_picture(tmp_path, monkeypatch):
    """Of a network that knows nothing, by features of which there are two."""
    halves = lambda pixels: (pixels.mean((2, 3), dtype=np.float32)[:, ::4], None)  # noqa: E731
    about = {"name": "Halves", "checksum": "0" * 16, "resize": "none", "channels": 0}
    features = FeatureNetwork(halves, dimension=2, **about)
    config = dataclasses.replace(CONFIG, cache_dir=str(tmp_path))
    network = lambda x, levels: 0.5 - x  # noqa: E731
    run = SimpleNamespace(config=config, network=network, origin="weights of step 1")
    monkeypatch.setattr("ncsn_tf.training.checkpoints.open_run", lambda workdir: run)
    monkeypatch.setattr("ncsn_tf.evaluation.features.open_features", lambda *_, **__: features)
    monkeypatch.setattr("ncsn_tf.commands.start.start_tensorflow", lambda: None)
    flags = ["--samplers=dpm_sde", "--evaluations=2,3", "--schedules=karras", "--num_samples=20"]
    files = [f"--out={tmp_path}/table.md", f"--grid={tmp_path}/rows.png"]
    main(["fewsteps.py", *flags, "--features=halves", *files])
    _, _, head, _, train, first, second = (tmp_path / "table.md").read_text().splitlines()
    assert head.endswith("| standard error | Frechet distance |")
    distances = [float(line.split("|")[-2]) for line in (train, first, second)]
    assert 0 < distances[0] < distances[1]
    with Image.open(tmp_path / "rows.png") as picture:
        width, height = picture.size
    assert width / height == (16 * 9 - 1) / (2 * 9 - 1)
