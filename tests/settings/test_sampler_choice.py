"""`--sampler=auto`: what it becomes for each kind of network, and what is said of it."""

import dataclasses
import importlib
import json
from pathlib import Path

import pytest

from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.chain import change_chain
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.flags import parse_config
from ncsn_tf.settings.sampler_choice import choose_sampler, largest_noise
from ncsn_tf.training.run_equation import ladder_of

FLAGS = Path(importlib.import_module("ncsn_tf").__file__).parents[1] / "flags"
SECOND = {"model": "ncsnv2", "sigma_begin": 50.0, "num_levels": 232}


@pytest.mark.parametrize(
    "settings, sampler",
    [
        ({}, "ald"),  # the published NCSN
        ({"dataset": "digits", "image_size": 8, "channels": 1}, "ald"),
        (SECOND, "dpm_sde"),
        (dict(SECOND, sigma_begin=1.0), "ald"),
        (dict(SECOND, num_levels=1, sigma_end=50.0), "ald"),
        ({"model": "ncsnpp", "sigma_begin": 50.0, "num_levels": 1000}, "dpm_sde"),
        ({"model": "ncsnpp", "num_levels": 1000}, "pc"),  # sigma_1 = 1
        ({"model": "ddpmpp", "num_levels": 1000}, "dpm_sde"),
        ({"model": "ddpmpp", "num_levels": 1000, "sde": "subvp", "continuous": True}, "dpm_sde"),
    ],
)
def test_what_auto_becomes(settings, sampler):
    config = Config(**settings, sampler="auto")
    assert config.sampler == sampler
    assert config.denoise == (sampler == "dpm_sde")
    assert json.loads(config.to_json())["sampler"] == sampler  # as decided
    assert choose_sampler(config)[0]["sampler"] == sampler
    named = Config(**settings, sampler="cas")
    assert (named.sampler, named.denoise) == ("cas", False)


@pytest.mark.parametrize(
    "settings",
    [{}, {"model": "ncsnpp", "sigma_begin": 50.0}, {"model": "ncsnpp", "centered": True}]
    + [{"model": "ddpmpp", "sde": sde, "continuous": True} for sde in ("vp", "subvp")],
)
def test_the_largest_noise_is_that_of_the_ladder(settings):
    config = Config(**{"num_levels": 1000, **settings})
    assert largest_noise(config) == pytest.approx(float(ladder_of(config)[0]), rel=1e-4)


def test_no_flagfile_takes_it():
    for path in FLAGS.glob("*.flags"):
        assert "--sampler=auto" not in path.read_text(encoding="utf-8")


def test_a_command_says_what_it_has_become(capsys):
    command = ["train.py", "--dataset=mnist", "--model=ncsnv2", "--sampler=auto"]
    config = parse_config([*command, "--sigma_begin=16.5", "--num_evaluations=30"])
    assert (config.sampler, config.num_evaluations, config.denoise) == ("dpm_sde", 30, True)
    assert capsys.readouterr().err == (
        "sampler auto: dpm_sde, 30 evaluations (sigma_1 = 16.5, and 4.2 would hide where a chain "
        "of few steps starts)\n"
    )
    parse_config([part for part in command if "auto" not in part])
    assert capsys.readouterr().err == ""


def test_settings_given_beside_it_hold():
    chain = change_chain(Config(**SECOND), sampler="auto", num_evaluations=7, schedule="geometric")
    assert (chain.sampler, chain.num_evaluations, chain.schedule) == ("dpm_sde", 7, "geometric")
    again = change_chain(dataclasses.replace(chain, sigma_begin=0.5), sampler="auto")
    assert again.sampler == "ald"
    message = "^--denoise=false cannot be used with --sampler=auto, which decides it: name the"
    with pytest.raises(ConfigError, match=message):
        change_chain(Config(**SECOND), sampler="auto", denoise=False)
    with pytest.raises(ConfigError, match=message):
        parse_config(["train.py", "--sampler=auto", "--nodenoise"])
