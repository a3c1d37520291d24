"""The equations against the reference's numbers, and against what their definitions imply."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf import sde
from ncsn_tf.backend.columns import column
from ncsn_tf.errors import ConfigError
from ncsn_tf.schedule import geometric_sigmas, uniform_sigmas
from ncsn_tf.schedule.sde import SDE, VE, VP, LadderScore, SubVP, score_fn_of

FILES = [f"sde/sde_{name}_{count}" for name in ("ve", "vp", "subvp") for count in (37, 1000)]
G_TOLERANCE = {"ve": 2e-5, "vp": 5e-7, "subvp": 5e-7}
EQUATIONS = [VE(0.01, 50.0, 40), VP(num_scales=40), SubVP(num_scales=40)]


def name_of(equation):
    return type(equation).__name__


def equation_of(name, numbers):
    """The equation of a golden file's settings."""
    if name == "ve":
        return VE(numbers["sigma_min"], numbers["sigma_max"], numbers["num_scales"])
    kind = {"vp": VP, "subvp": SubVP}[name]
    return kind(numbers["beta_min"], numbers["beta_max"], numbers["num_scales"])


def largest(values):
    """Of each example."""
    return np.abs(np.reshape(values, [len(values), -1]).astype(np.float64)).max(1)


def assert_near(mine, theirs, tolerance, terms=None):
    """Within a share of each example's largest number, or of those of the terms it is a sum of."""
    mine, theirs = np.asarray(mine), np.asarray(theirs)
    assert mine.shape == theirs.shape
    scale = np.maximum(largest(theirs), 0.0 if terms is None else largest(terms))
    assert np.all(largest(mine - theirs) <= tolerance * scale)


@pytest.mark.parametrize("file", FILES)
def test_golden_equations(file, golden):
    vectors = golden(file)
    config = json.loads(bytes(vectors["config"]))
    equation = equation_of(config["sde"], config["model"])
    x, t = tf.constant(vectors["x"]), tf.constant(vectors["t"])
    mean, std = equation.marginal(x, t)
    assert_near(mean, vectors["marginal_mean"], 1e-6)
    # Where 1 - exp(2a) cancels in float32, theirs is off; see the next test.
    cancels = (vectors["t"] < 0.01) & (config["sde"] != "ve")
    assert_near(std.numpy()[~cancels], vectors["marginal_std"][~cancels], 1e-6)
    np.testing.assert_allclose(std.numpy()[cancels], vectors["marginal_std"][cancels], 2e-2)
    assert_near(equation.drift(x, t), vectors["drift"], 1e-6)
    diffusion = equation.diffusion(t).numpy()
    near_zero = cancels & (config["sde"] == "subvp")
    assert_near(diffusion[~near_zero], vectors["diffusion"][~near_zero], 1e-6)
    np.testing.assert_allclose(diffusion[near_zero], vectors["diffusion"][near_zero], 1e-2)
    np.testing.assert_allclose(equation.prior_log_density(x), vectors["prior_logp"], 2e-6)
    np.testing.assert_array_equal(equation.index(t), vectors["discrete_index"])
    f, g = equation.discretize(x, t)
    # sqrt(1 - beta) x - x cancels in theirs, and so do two variances of the fine ladder.
    assert_near(f, vectors["discrete_f"], 3e-7, terms=x if config["sde"] == "vp" else None)
    assert_near(g[~near_zero], vectors["discrete_G"][~near_zero], G_TOLERANCE[config["sde"]])


@pytest.mark.parametrize("flow, prefix", [(False, "reverse"), (True, "ode")])
@pytest.mark.parametrize("file", FILES)
def test_golden_ways_back(file, flow, prefix, golden):
    """With the stand-in score -x / (1 + std^2), of the reference's std."""
    vectors = golden(file)
    config = json.loads(bytes(vectors["config"]))
    equation = equation_of(config["sde"], config["model"])
    x, t = tf.constant(vectors["x"]), tf.constant(vectors["t"])
    back = equation.reverse(lambda x, t: -x / column(1.0 + vectors["marginal_std"] ** 2, x), flow)
    whole = vectors["t"] >= (0.01 if config["sde"] == "subvp" else 0.0)
    assert_near(
        back.drift(x, t)[whole], vectors[f"{prefix}_drift"][whole], 1e-6, vectors["drift"][whole]
    )
    f, g = back.discretize(x, t)
    terms = x if config["sde"] == "vp" else vectors["discrete_f"]
    tolerance = 2 * G_TOLERANCE[config["sde"]]
    assert_near(
        f[whole], vectors[f"{prefix}_discrete_f"][whole], tolerance, np.asarray(terms)[whole]
    )
    assert_near(g[whole], vectors[f"{prefix}_discrete_G"][whole], G_TOLERANCE[config["sde"]])
    if not flow:
        assert_near(back.diffusion(t)[whole], vectors["reverse_diffusion"][whole], 1e-6)
    else:
        assert np.all(back.diffusion(t) == 0.0)


@pytest.mark.parametrize("file", FILES)
def test_golden_grids_and_tables(file, golden):
    """The grids bit by bit, since an index is cut off from them."""
    vectors = golden(file)
    config = json.loads(bytes(vectors["config"]))
    equation = equation_of(config["sde"], config["model"])
    for epsilon in ("1e-03", "1e-05"):
        grid = equation.grid(float(epsilon))
        np.testing.assert_array_equal(grid, vectors[f"grid_{epsilon}"])
        if f"grid_index_{epsilon}" in vectors:
            np.testing.assert_array_equal(equation.index(grid), vectors[f"grid_index_{epsilon}"])
    if config["sde"] == "ve":
        np.testing.assert_allclose(equation.discrete_sigmas, vectors["discrete_sigmas"], 1e-6)
        np.testing.assert_allclose(
            equation.std(equation.grid(1e-5)), vectors["grid_sigma_1e-05"], 1e-6
        )
    elif config["sde"] == "vp":
        np.testing.assert_allclose(equation.betas, vectors["discrete_betas"], 1e-6)
        np.testing.assert_allclose(
            equation.sqrt_alphas_cumprod, vectors["sqrt_alphas_cumprod"], 1e-6
        )
        np.testing.assert_allclose(
            equation.sqrt_1m_alphas_cumprod, vectors["sqrt_1m_alphas_cumprod"], 1e-4
        )


@pytest.mark.parametrize("equation, power", [(VP(), 0.5), (SubVP(), 1.0)], ids=name_of)
def test_small_standard_deviations_are_exact(equation, power):
    """To float32's last bits, where a difference from 1 is off by 0.6 % and 1.2 % at 1e-5."""
    t = np.array([1e-5, 1e-4, 1e-3, 0.01, 0.5], np.float32)
    wide = t.astype(np.float64)
    exponent = -(wide**2) * 19.9 / 2 - wide * 0.1
    np.testing.assert_allclose(equation.std(t), (-np.expm1(exponent)) ** power, rtol=1e-6)
    literal = (1.0 - np.exp(exponent.astype(np.float32))) ** power
    assert abs(literal[0] / (-np.expm1(exponent[0])) ** power - 1) > 0.005


@pytest.mark.parametrize("equation", EQUATIONS, ids=name_of)
def test_moments_obey_the_equation(equation):
    """dm/dt = r m, dv/dt = 2 r v + g^2, by differences."""
    t = np.linspace(0.1, 0.9, 9).astype(np.float32)
    step = np.float32(1e-2)
    moments = [
        np.ones(9, np.float64) if equation.mean_scale(t + d) is None else equation.mean_scale(t + d)
        for d in (-step, step)
    ]
    rate = 0.0 if equation.rate(t) is None else equation.rate(t).numpy()
    logs = np.log(np.asarray(moments, np.float64))
    np.testing.assert_allclose((logs[1] - logs[0]) / (2 * step), rate, rtol=1e-3, atol=1e-4)
    low, high = (equation.std(t + d).numpy().astype(np.float64) ** 2 for d in (-step, step))
    middle = equation.std(t).numpy() ** 2
    slope = 2 * rate * middle + equation.diffusion(t).numpy() ** 2
    scale = equation.diffusion(t).numpy() ** 2
    assert np.all(np.abs((high - low) / (2 * step) - slope) < 2e-2 * scale)


@pytest.mark.parametrize("equation", [*EQUATIONS, VE.of_levels([3.0, 1.0, 0.9, 0.1])], ids=name_of)
def test_times_of_noise(equation):
    t = np.array([0.001, 0.1, 0.4, 0.75, 1.0], np.float32)
    scale = 1.0 if equation.mean_scale(t) is None else equation.mean_scale(t)
    np.testing.assert_allclose(equation.time(equation.std(t) / scale), t, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("equation", EQUATIONS, ids=name_of)
def test_a_ladder_asks_any_equation(equation, centered):
    """The score of N(0.6, 0.2^2) of images from 0 to 1, under noise of sigma."""
    unit = 2.0 if centered else 1.0
    mean, deviation = 0.6 * unit - centered, 0.2 * unit

    def score_fn(x, t):
        scale = 1.0 if equation.mean_scale(t) is None else column(equation.mean_scale(t), x)
        variance = (scale * deviation) ** 2 + column(equation.std(t), x) ** 2
        return (scale * mean - x) / variance

    sigmas = [2.0, 0.5, 0.05]
    x = tf.constant([[0.1, 0.9], [0.6, 0.3], [-2.0, 0.5]])
    score = LadderScore(score_fn, equation, sigmas, centered)
    expected = (0.6 - x.numpy()) / (0.2**2 + np.square(sigmas)[:, None])
    np.testing.assert_allclose(score.at_sigma(x, tf.constant(sigmas)), expected, 1e-4, 1e-6)
    np.testing.assert_allclose(score(x, tf.range(3)), expected, 1e-4, 1e-6)


@pytest.mark.parametrize("equation", EQUATIONS, ids=name_of)
def test_many_discrete_steps_make_the_marginal(equation):
    """From x at 0, step by step: f and G are those of the continuous equation, to first order."""
    kind = type(equation)
    fine = kind(num_scales=4000)
    t = np.linspace(0.0, 1.0, 4000).astype(np.float32)
    f, g = fine.discretize(tf.ones([4000, 1]), t)
    growths, spreads = 1.0 + f.numpy()[:, 0].astype(np.float64), g.numpy().astype(np.float64)
    mean, variance = 1.0, 0.0
    for growth, spread in zip(growths, spreads, strict=True):
        mean, variance = growth * mean, growth**2 * variance + spread**2
    exact_mean, exact_std = fine.marginal(tf.ones([1, 1]), 1.0)
    assert mean == pytest.approx(float(exact_mean[0, 0]), rel=2e-2)
    assert math.sqrt(variance) == pytest.approx(float(exact_std[0]), rel=1e-3)


@pytest.mark.parametrize("equation", EQUATIONS, ids=name_of)
def test_the_prior(equation):
    z = equation.prior(tf.range(500, dtype=tf.int64), (20,)).numpy().astype(np.float64)
    expected = 50.0 if name_of(equation) == "VE" else 1.0
    assert abs(z.std() / expected - 1) < 4 / math.sqrt(2 * z.size)
    assert abs(z.mean() / expected) < 4 / math.sqrt(z.size)
    np.testing.assert_array_equal(equation.prior([7], (20,))[0], z[7].astype(np.float32))
    exact = -0.5 * np.sum((z / expected) ** 2 + math.log(2 * math.pi * expected**2), 1)
    np.testing.assert_allclose(equation.prior_log_density(z.astype(np.float32)), exact, 1e-5)


# --- ladders ---


def test_a_geometric_ladder_is_the_equation():
    ladder = VE.of_levels(geometric_sigmas(2.0, 0.05, 12))
    equation = VE(0.05, 2.0, 12, center=0.5)
    t = np.linspace(0.0, 1.0, 12).astype(np.float32)
    np.testing.assert_array_equal(ladder.levels, geometric_sigmas(2.0, 0.05, 12))
    for part in (ladder.std, ladder.diffusion, ladder.discrete_diffusion):
        np.testing.assert_allclose(part(t), getattr(equation, part.__name__)(t), rtol=1e-5)
    # The labels of the levels' own times are the levels.
    np.testing.assert_array_equal(ladder.label(t), np.arange(12)[::-1])
    np.testing.assert_allclose(ladder.std(t)[::-1], ladder.levels, rtol=1e-5)


@pytest.mark.parametrize("order", [1, -1])
def test_any_ladder_is_a_case_of_the_equation(order):
    sigmas = uniform_sigmas(2.0, 0.1, 6).numpy()
    ladder = VE.of_levels(sigmas[::order], center=0.0)
    t = np.linspace(1.0, 0.0, 6).astype(np.float32)
    np.testing.assert_allclose(ladder.std(t), sigmas, rtol=1e-5)
    between = ladder.std((t[1:] + t[:-1]) / 2)
    np.testing.assert_allclose(between, np.sqrt(sigmas[1:] * sigmas[:-1]), rtol=1e-5)
    # The discrete steps add up to the variance of each level.
    added = np.cumsum(ladder.discrete_diffusion(t[::-1]).numpy() ** 2)
    np.testing.assert_allclose(added, sigmas[::-1] ** 2, rtol=1e-5)
    # g^2 is the slope of the variance, within a piece.
    middle, step = (t[1:] + t[:-1]) / 2, 1e-2
    slope = (ladder.std(middle + step) ** 2 - ladder.std(middle - step) ** 2) / (2 * step)
    np.testing.assert_allclose(ladder.diffusion(middle) ** 2, slope, rtol=1e-2)


# --- score functions ---


def recorded(equation, t, continuous):
    """(conditions that a network is given, the factor of its output) at these times."""
    seen = []

    def network(x, condition):
        seen.append(condition.numpy())
        return tf.ones_like(x)

    score = score_fn_of(network, equation, continuous)(tf.zeros([len(t), 1]), t)
    return seen[0], score.numpy()[:, 0]


def test_networks_of_ve_are_asked_by_sigma_or_by_label():
    equation = VE(0.01, 50.0, 5)
    t = np.array([1.0, 0.7, 0.375, 0.3, 0.0], np.float32)
    condition, factor = recorded(equation, t, True)
    np.testing.assert_array_equal(condition, equation.std(t))
    np.testing.assert_array_equal(factor, 1.0)
    condition, factor = recorded(equation, t, False)
    assert condition.dtype == np.int32
    np.testing.assert_array_equal(condition, [0, 1, 2, 3, 4])  # 2.5 is rounded to even
    np.testing.assert_array_equal(factor, 1.0)


@pytest.mark.parametrize("kind", [VP, SubVP])
def test_networks_of_vp_say_the_noise(kind):
    equation = kind(num_scales=37)
    t = np.array([1.0, 0.4, 0.01], np.float32)
    condition, factor = recorded(equation, t, True)
    np.testing.assert_allclose(condition, 999.0 * t, 1e-6)
    np.testing.assert_allclose(factor, -1.0 / equation.std(t).numpy(), 1e-6)
    condition, factor = recorded(equation, t, False)
    if kind is SubVP:  # continuous whatever is asked for
        np.testing.assert_allclose(condition, 999.0 * t, 1e-6)
        return
    np.testing.assert_allclose(condition, [36.0, 14.4, 0.36], 1e-5)
    stds = equation.sqrt_1m_alphas_cumprod[[36, 14, 0]]
    np.testing.assert_allclose(factor, -1.0 / stds, 1e-6)


# --- what is refused ---


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: VE(1.0, 0.5), r"sigma_min \(1.0\) must be below sigma_max \(0.5\)"),
        (lambda: VE(0.0, 0.5), "sigma_min must be a positive number, not 0.0"),
        (lambda: VE(0.1, math.inf), "sigma_max must be a positive number, not inf"),
        (lambda: VE(num_scales=1), "num_scales must be at least 2, not 1"),
        (lambda: VE.of_levels([1.0]), "at least two that rise or fall"),
        (lambda: VE.of_levels([1.0, 0.1, 0.5]), "at least two that rise or fall"),
        (lambda: VE.of_levels([1.0, -0.1]), "must be positive"),
        (
            lambda: VP(num_scales=20).discretize([[1.0]], 1.0),
            r"\(20\) must be above beta_max \(20\)",
        ),
        (lambda: VP(num_scales=20).ancestral(1.0), r"num_scales \(20\) must be above beta_max"),
        (lambda: VP(num_scales=20).sqrt_alphas_cumprod, "for the discrete steps of the variance-p"),
        (lambda: SubVP(num_scales=6).alpha(1.0), r"num_scales \(6\) must be above beta_max \(20\)"),
        (lambda: VP(20.0, 0.1), r"beta_min \(20.0\) must be below beta_max"),
        (lambda: VP(math.nan), "beta_min must be a positive number, not nan"),
        (lambda: SubVP().ancestral([0.5]), "no ancestral sampling of the sub-VP SDE"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value) and isinstance(caught.value, ValueError)


def test_euler_steps_are_of_any_number():
    assert np.all(np.isfinite(VP(num_scales=6).drift([[1.0]], 1.0)))
    assert np.all(np.isfinite(SubVP(num_scales=6).discretize([[1.0]], 1.0)[0]))


def test_the_public_name():
    assert sde.VP is VP and issubclass(sde.SubVP, SDE)
