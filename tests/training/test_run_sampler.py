"""A run's settings bound to the samplers: what becomes of each, and what is said of a wrong one."""

import dataclasses

import numpy as np
import pytest

from ncsn_tf import likelihood
from ncsn_tf.errors import ConfigError
from ncsn_tf.sampling import Measurement
from ncsn_tf.sampling.samplers import SAMPLERS
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.settings import rules
from ncsn_tf.settings.chain import ChainOptions
from ncsn_tf.settings.config import Config
from ncsn_tf.training.run_conditions import completion_chain
from ncsn_tf.training.run_sampler import chain_of, chain_settings, sampler_of, step_sizes_of


def test_the_chain_of_a_run():
    config = Config(denoise=True, snr=0.3, corrector_steps=2, predictor="none", ode_tolerance=1e-2)
    for name, kind in SAMPLERS.items():
        chain = chain_of(dataclasses.replace(config, sampler=name))
        assert type(chain) is kind.chain
        assert chain.denoise
        np.testing.assert_array_equal(chain.sigmas, geometric_sigmas(1.0, 0.01, 10))
    ode = chain_of(dataclasses.replace(config, sampler="ode"))
    assert (ode.rtol, ode.atol, ode.jumps) == (1e-2, 1e-2, True)
    second = dataclasses.replace(config, model="ncsnv2", sampler="ode")
    assert not chain_of(second).jumps  # smooth between its levels
    pc = chain_of(dataclasses.replace(config, sampler="pc"))
    assert (pc.snr, pc.corrector_steps, pc.predictor, pc.corrector) == (0.3, 2, "none", "ald")
    pc = chain_of(dataclasses.replace(config, sampler="pc", corrector="langevin"))
    assert pc.corrector == "langevin"
    for given, expected in [({"ode_rtol": 1e-3}, (1e-3, 1e-2)), ({"ode_atol": 0.1}, (1e-2, 0.1))]:
        ode = chain_of(dataclasses.replace(config, sampler="ode", **given))
        assert (ode.rtol, ode.atol) == expected


def test_the_few_steps_of_a_run():
    config = Config(num_evaluations=9, schedule="geometric", churn=2.0, churn_noise=1.1)
    heun = chain_of(dataclasses.replace(config, sampler="heun"))
    assert (heun.num_steps(1), heun.num_evaluations(1)) == (4, 8)
    assert heun.tables["spread"].all() and np.isin(heun.points, heun.sigmas).all()  # those of NCSN
    dpm = chain_of(dataclasses.replace(config, sampler="dpm_sde", model="ncsnv2", rho=3.0))
    np.testing.assert_allclose(dpm.points, np.geomspace(1.0, 0.01, 10), rtol=1e-6)
    settings = chain_settings(dataclasses.replace(config, sampler="heun"))
    assert (settings["num_evaluations"], settings["evaluations"]) == (9, 8)


def test_the_settings_offer_every_sampler():
    (field,) = (field for field in dataclasses.fields(Config) if field.name == "sampler")
    assert (*SAMPLERS, "auto") == field.metadata["choices"]
    assert likelihood.LARGEST_EXACT == rules.LARGEST_EXACT


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"sampler": "cas", "cas_step_lr": 3e-4},
            "^the step size of --sampler=cas must be between 5.1.*e-07 and 0.000[12].* "
            "with --num_steps_each=100, not 0.0003$",
        ),
        ({"sampler": "cas", "cas_step_lr": 1e-7}, "must be between 5.1.*, not 1e-07"),
        *[
            (
                {"sampler": name, "num_levels": 1, "sigma_begin": 0.01},
                f"^--sampler={name} needs at least two noise levels$",
            )
            for name in ("cas", "pc", "ode", "heun")
        ],
        (
            {"sampler": "heun", "num_evaluations": 1},
            "^--num_evaluations=1 must be at least 2$",
        ),
        (
            {"sampler": "euler", "churn_min": 2.0, "churn_max": 1.0},
            "^--churn_max=1.0 must be above --churn_min=2.0, or 0$",
        ),
    ],
)
def test_settings_that_a_sampler_cannot_use(settings, message):
    with pytest.raises(ConfigError, match=message):
        chain_of(Config(**settings))


CIFAR10_V2 = Config(sampler="cas", sigma_begin=50.0, num_levels=232, step_lr=6.2e-6)


def test_each_sampler_has_its_own_step_size():
    """--step_lr is that of ald, --cas_step_lr that of cas; without it cas has its default."""
    assert step_sizes_of(CIFAR10_V2, 5)[0] == pytest.approx(1.1e-6, rel=0.04)
    given = dataclasses.replace(CIFAR10_V2, cas_step_lr=1.2e-6, num_steps_each=5)
    assert step_sizes_of(given, 5)[0] == 1.2e-6
    langevin = dataclasses.replace(given, sampler="ald")
    assert step_sizes_of(langevin, 3) == (6.2e-6, 0.0, np.inf)
    score_fn = lambda x, levels: -x  # noqa: E731
    for config, step_lr in ((given, 1.2e-6), (langevin, 6.2e-6)):
        sampler = sampler_of(score_fn, config)
        assert type(sampler.chain) is SAMPLERS[config.sampler].chain
        assert (sampler.step_lr, sampler.num_steps_each, sampler.tile) == (step_lr, 5, 8)
    assert sampler_of(score_fn, given, sampler.chain).chain is sampler.chain


@pytest.mark.parametrize("sampler, given", [("cas", "cas_step_lr"), (None, "step_lr")])
def test_a_step_size_of_the_command_line_is_the_samplers(sampler, given):
    run = dataclasses.replace(CIFAR10_V2, sampler="ald")
    config = ChainOptions(sampler=sampler, step_lr=2e-6).chain(run)
    expected = dataclasses.replace(run, sampler=sampler or "ald", **{given: 2e-6})
    assert config == expected
    assert ChainOptions(sampler="cas").chain(run) == CIFAR10_V2


@pytest.mark.parametrize(
    "model, asked, redraw, denoise",
    [
        ("ncsn", None, False, True),
        ("ncsn", False, False, False),
        ("ncsnv2", None, True, False),
        ("ncsnv2", True, True, True),
    ],
)
def test_images_are_completed_as_in_the_released_codes(model, asked, redraw, denoise):
    chain = completion_chain(Config(model=model, denoise=True), Measurement(), asked)
    assert (chain.redraw, chain.denoise) == (redraw, denoise)


def test_a_condition_needs_a_chain_of_steps():
    pc = completion_chain(Config(sampler="pc", snr=0.3, denoise=True), Measurement())
    assert (type(pc).__name__, pc.snr, pc.denoise) == ("ConditionalPredictorCorrector", 0.3, True)
    assert not completion_chain(Config(sampler="pc", denoise=True), Measurement(), False).denoise
    with pytest.raises(ConfigError, match="condition needs --sampler=ald or pc, not --sampler=cas"):
        completion_chain(Config(sampler="cas"), Measurement())
    with pytest.raises(ConfigError, match="not --sampler=dpm_sde"):
        completion_chain(Config(sampler="dpm_sde"), Measurement())


def test_the_probability_flow_of_a_predictor():
    config = Config(sampler="pc", probability_flow=True)
    assert chain_of(config).probability_flow
    message = "^--probability_flow needs --predictor=reverse or --predictor=euler, not ancestral$"
    with pytest.raises(ConfigError, match=message):
        chain_of(dataclasses.replace(config, predictor="ancestral"))
