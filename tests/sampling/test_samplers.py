"""What all samplers of the table share, and how they are made by name."""

import numpy as np
import pytest
import tensorflow as tf
from gaussian_chains import SHAPE, SIGMAS, GaussianScore, compiled

from ncsn_tf.sampling import samplers
from ncsn_tf.sampling.chain import Chain, Rows, draw
from ncsn_tf.sampling.consistent import ConsistentAnnealing, consistent_step_range
from ncsn_tf.sampling.heun import Euler, Heun
from ncsn_tf.sampling.langevin import AnnealedLangevin
from ncsn_tf.sampling.multistep import DPMSolver, DPMSolverSDE, EulerAncestral
from ncsn_tf.sampling.predictor_corrector import PredictorCorrector
from ncsn_tf.sampling.probability_flow import ProbabilityFlow
from ncsn_tf.sampling.samplers import SAMPLERS, Kind, make_chain, step_sizes
from ncsn_tf.schedule import geometric_sigmas

CHAINS = {
    "ald": AnnealedLangevin(SIGMAS, denoise=True),
    "cas": ConsistentAnnealing(SIGMAS, denoise=True),
    "pc": PredictorCorrector(SIGMAS, denoise=True, corrector_steps=2),
    "ode": ProbabilityFlow(SIGMAS, denoise=True, rtol=1e-3, atol=1e-3),
    "euler": Euler(SIGMAS, denoise=True, num_evaluations=6),
    "ancestral": EulerAncestral(SIGMAS, denoise=True, num_evaluations=6),
    "heun": Heun(SIGMAS, denoise=True, num_evaluations=9, churn=1.0),
    "dpm": DPMSolver(SIGMAS, denoise=True, num_evaluations=6),
    "dpm_sde": DPMSolverSDE(SIGMAS, denoise=True, num_evaluations=6),
}
# Of the others, what `heun` and `dpm_sde` do not show is in test_few_steps.py.
COMPILED = ("ald", "cas", "pc", "ode", "heun", "dpm_sde")


def test_all_samplers_are_tested_here():
    assert {name: type(chain) for name, chain in CHAINS.items()} == {
        name: kind.chain for name, kind in SAMPLERS.items()
    }


@pytest.mark.parametrize("name", COMPILED)
def test_a_row_depends_on_nothing_but_itself(name):
    """Alone, among others, with other numbers of steps beside it, in tiles: the same bits."""
    rows = Rows.fill([3, 5, 8, 13, 21], [2e-3, 2e-3, 1e-3, 2e-3, 3e-3], [2, 1, 3, 2, 5])
    run = compiled(CHAINS[name], tile=2)
    together = run(rows).numpy()
    assert np.isfinite(together).all()
    for index in range(5):
        alone = run(Rows(*(value[index : index + 1] for value in rows[:3]))).numpy()
        np.testing.assert_array_equal(alone[0], together[index])
    uniform = run(Rows.fill(rows.seeds, 2e-3, 2)).numpy()
    np.testing.assert_array_equal(uniform[[0, 3]], together[[0, 3]])


@pytest.mark.parametrize("name", COMPILED)
def test_pieces_are_the_whole(name):
    chain = CHAINS[name]
    rows = Rows.fill(tf.range(3, dtype=tf.int64), 2e-3, 2)
    num_steps = chain.num_steps(2)

    @tf.function(autograph=False)
    def advance(state, start, stop):
        return chain.advance(GaussianScore(), state, rows, start, stop)

    first = chain.start(rows.seeds, SHAPE)
    whole = advance(first, tf.constant(0), tf.constant(num_steps))
    middle = advance(first, tf.constant(0), tf.constant(num_steps // 3))
    pieces = advance(middle, tf.constant(num_steps // 3), tf.constant(num_steps))
    np.testing.assert_array_equal(chain.images(pieces), chain.images(whole))
    assert not np.array_equal(chain.images(middle), chain.images(whole))


def test_evaluations_are_counted():
    assert CHAINS["ald"].num_evaluations(4) == 5 * 4 + 1
    assert CHAINS["cas"].num_evaluations(4) == 17 + 1
    assert CHAINS["cas"].num_evaluations(1) == 5 + 1
    # The predictor has nowhere to go from the last point.
    assert CHAINS["pc"].num_evaluations(4) == 17 * 2 + 16 + 1
    assert PredictorCorrector(SIGMAS, predictor="none").num_evaluations(4) == 17
    assert CHAINS["ode"].num_evaluations(4) is None


@pytest.mark.parametrize("name", [name for name in CHAINS if name != "ode"])
def test_the_count_is_that_of_the_calls(name):
    calls = []
    chain = CHAINS[name]
    rows = Rows.fill(tf.constant([1], tf.int64), 2e-3, 2)

    def score(x, levels):
        calls.append(1)
        return GaussianScore()(x, levels)

    draw(chain, score, rows, SHAPE)  # not compiled: every evaluation is a call
    assert len(calls) == chain.num_evaluations(2)


# --- by name ---


def test_a_chain_has_the_settings_of_its_sampler_alone():
    settings = {"snr": 0.3, "corrector_steps": 2, "predictor": "euler", "corrector": "langevin"}
    settings |= {"probability_flow": True, "rtol": 1e-2, "atol": 1e-3, "jumps": True}
    settings |= {"num_evaluations": 7, "schedule": "geometric", "rho": 3.0, "churn": 1.0}
    settings |= {"churn_max": 0.5}
    made = {name: make_chain(name, SIGMAS, denoise=True, **settings) for name in SAMPLERS}
    for name, chain in made.items():
        assert type(chain) is SAMPLERS[name].chain
        assert chain.denoise
        np.testing.assert_array_equal(chain.sigmas, SIGMAS)
    assert {name: getattr(made["pc"], name) for name in SAMPLERS["pc"].settings} == {
        name: settings[name] for name in SAMPLERS["pc"].settings
    }
    assert (made["ode"].rtol, made["ode"].atol, made["ode"].jumps) == (1e-2, 1e-3, True)
    assert made["dpm_sde"].count == 6 and made["heun"].count == 3
    assert made["heun"].tables["spread"].ravel().tolist().count(0.0) == 2  # churn below 0.5 alone
    default = make_chain("ode", SIGMAS)
    assert (default.rtol, default.atol, default.jumps, default.denoise) == (
        1e-5,
        1e-5,
        False,
        False,
    )


def test_a_new_sampler_is_a_line_of_the_table(monkeypatch):
    class Resting(Chain):
        def __init__(self, sigmas, denoise=False, pause=1):
            super().__init__(sigmas, denoise)
            self.pause = pause

    one = lambda sigmas, num_steps_each: np.ones(np.shape(num_steps_each))  # noqa: E731
    monkeypatch.setitem(samplers.SAMPLERS, "rest", Kind(Resting, ("pause",), step_lr=one))
    assert make_chain("rest", SIGMAS, pause=7, snr=0.1).pause == 7
    assert step_sizes("rest", SIGMAS, 3) == (1.0, 0.0, np.inf)
    assert step_sizes("rest", SIGMAS, 3, 0.5) == (0.5, 0.0, np.inf)


ONE_LEVEL = geometric_sigmas(0.01, 0.01, 1)


@pytest.mark.parametrize(
    "sampler, sigmas, settings, error, message",
    [
        ("eulr", SIGMAS, {}, ValueError, "sampler must be one of ald, cas, .*, dpm_sde, not eulr"),
        *[
            (name, ONE_LEVEL, {}, ValueError, f"^sampler={name} needs at least two noise levels$")
            for name in ("cas", "pc", "ode", "euler", "dpm_sde")
        ],
        ("cas", SIGMAS, {"step_lr": 1e-7}, ValueError, "num_steps_each=100, not 1e-07$"),
        ("cas", SIGMAS, {"step_lr": 1.0}, ValueError, "step size of sampler=cas must be between"),
        ("ald", SIGMAS, {"step_lr": 0.0}, ValueError, "must be between 0 and inf with"),
        ("pc", SIGMAS, {"snrr": 0.1}, TypeError, "no sampler has a setting snrr"),
        ("pc", SIGMAS, {"corrector": "norm"}, ValueError, "one of ald, langevin, none, not norm"),
    ],
)
def test_what_a_sampler_cannot_use(sampler, sigmas, settings, error, message):
    with pytest.raises(error, match=message):
        make_chain(sampler, sigmas, **settings)


def test_one_level_is_enough_for_langevin():
    assert make_chain("ald", ONE_LEVEL).num_levels == 1


CIFAR10_V2 = geometric_sigmas(50.0, 0.01, 232)


@pytest.mark.parametrize("num_steps_each, published", [(1, 5.6e-6), (5, 1.1e-6)])
def test_the_default_step_of_cas_is_the_published_one(num_steps_each, published):
    own, lowest, highest = step_sizes("cas", CIFAR10_V2, num_steps_each)
    assert own == pytest.approx(published, rel=0.04)
    assert lowest < own < highest
    assert (lowest, highest) == consistent_step_range(CIFAR10_V2.numpy(), num_steps_each)


def test_a_step_that_cas_cannot_take_is_its_default():
    own = step_sizes("cas", CIFAR10_V2, np.array([1, 5]), 1.2e-6)[0]
    # Below what one step a level can take, it is the default again.
    assert own[0] == step_sizes("cas", CIFAR10_V2, 1)[0] and own[1] == 1.2e-6
    coarse = geometric_sigmas(50.0, 0.01, 3)  # 1.5 times the lowest: too high
    assert step_sizes("cas", coarse, 1)[0] == pytest.approx(1e-4, rel=1e-6)


def test_any_step_is_one_of_the_other_samplers():
    assert step_sizes("ald", CIFAR10_V2, 3, 6.2e-6) == (6.2e-6, 0.0, np.inf)
    assert step_sizes("ald", CIFAR10_V2, 3)[0] == pytest.approx(2e-5)  # NCSN's
    assert step_sizes("pc", CIFAR10_V2, 3, 6.2e-6) == (6.2e-6, 0.0, np.inf)
    assert step_sizes("pc", CIFAR10_V2, np.array([1, 2]))[0].tolist() == [0.0, 0.0]
