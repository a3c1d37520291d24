"""The rows of the table of distance against evaluations."""

import pytest

from benchmarks.fewsteps import BenchmarkOptions, drawn, rows_of
from ncsn_tf.errors import ConfigError
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
