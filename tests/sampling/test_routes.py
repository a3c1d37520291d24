"""Chains along the equations: laws of Gaussians, seeds, pieces, what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.backend.columns import column
from ncsn_tf.sampling import (
    Known,
    Measurement,
    PredictorCorrector,
    ProbabilityFlow,
    Rows,
    Sampler,
    SdeRoute,
    draw,
    make_chain,
)
from ncsn_tf.sampling.completion import ConditionalPredictorCorrector
from ncsn_tf.sampling.updates import fall_update, predictor_update
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.schedule.sde import VE, VP, SubVP

MEAN, DEVIATION = 0.6, 0.2
EQUATIONS = {"ve": VE(0.01, 5.0, 40), "vp": VP(num_scales=40), "subvp": SubVP(num_scales=40)}
CASES = [
    *(("ve", predictor) for predictor in ("euler", "reverse", "ancestral")),
    *(("vp", predictor) for predictor in ("euler", "reverse", "ancestral")),
    *(("subvp", predictor) for predictor in ("euler", "reverse")),
]
FEW = {"ve": VE(0.01, 1.0, 6), "vp": VP(num_scales=21), "subvp": SubVP(num_scales=6)}


def score_of(sde):
    """Of N(MEAN, DEVIATION^2) carried by an equation."""

    def score(x, t):
        scale = sde.mean_scale(t)
        scale = tf.ones_like(sde.std(t)) if scale is None else scale
        variance = tf.square(scale * DEVIATION) + tf.square(sde.std(t))
        return (column(scale * MEAN, x) - x) / column(variance, x)

    return score


def drawn(chain, sde, count=2000, clip=False):
    rows = Rows.fill(tf.range(count, dtype=tf.int64), 0.0, 1)
    return draw(chain, score_of(sde), rows, (4,), clip).numpy().astype(np.float64)


def recursion(sde, route, predictor, snr):
    """Mean and variance that the updates make of the prior, in float64."""
    t = route.grid
    ones = np.ones(len(t))
    scales = ones if sde.mean_scale(t) is None else sde.mean_scale(t).numpy()
    stds = sde.std(t).numpy().astype(np.float64)
    updates = []
    if snr:
        alpha = ones if sde.alpha(t) is None else sde.alpha(t).numpy()
        sizes = 2 * alpha * (snr * stds) ** 2
        updates.append((ones, sizes, np.sqrt(2 * sizes)))
    update = predictor_update(predictor, sde, t)
    updates.append([ones if part is None else part.numpy() for part in update])
    mean, variance = sde.center, sde.prior_std**2
    for k, (scale, std) in enumerate(zip(scales, stds, strict=True)):
        total = (scale * DEVIATION) ** 2 + std**2
        for keep, push, spread in updates:
            growth = keep[k] - push[k] / total
            mean = growth * mean + push[k] / total * scale * MEAN
            variance = growth**2 * variance + float(spread[k]) ** 2
    return mean, variance


@pytest.mark.parametrize("name, predictor", CASES)
def test_predictors_follow_the_exact_recursion(name, predictor):
    sde = EQUATIONS[name]
    route = SdeRoute(sde)
    corrected = name == "subvp" or predictor == "reverse"
    chain = PredictorCorrector(
        route, snr=0.2, predictor=predictor, corrector="ald" if corrected else "none"
    )
    x = drawn(chain, sde)
    mean, variance = recursion(sde, route, predictor, 0.2 if corrected else 0.0)
    assert abs(x.mean() - mean) < 4 * np.sqrt(variance / x.size)
    assert abs(x.var() / variance - 1) < 4 * np.sqrt(2 / x.size)
    # And the recursion leads near the law itself.
    assert abs(mean - MEAN) < 0.06 and abs(variance**0.5 - DEVIATION) < 0.08


@pytest.mark.parametrize("name", EQUATIONS)
def test_the_flow_ends_in_the_law(name):
    sde = EQUATIONS[name]
    x = drawn(ProbabilityFlow(SdeRoute(sde, 1e-4), rtol=1e-4, atol=1e-4), sde, 2000)
    # N(0, prior) is not quite the law at t = 1, which the flow carries back as it is.
    scale = 1.0 if name == "ve" else float(sde.mean_scale(1.0)[0])
    end = np.hypot(scale * DEVIATION, float(sde.std(1.0)[0]))
    start = np.hypot(DEVIATION, float(sde.std(1e-4)[0]))
    mean, std = MEAN - scale * MEAN * start / end, start * sde.prior_std / end
    assert abs(x.mean() - mean) < 4 * std / np.sqrt(x.size) + 1e-3
    assert abs(x.std() / std - 1) < 4 / np.sqrt(2 * x.size) + 1e-3


def test_denoising_leaves_out_the_last_noise():
    sde = FEW["vp"]
    noisy, clean = (
        drawn(PredictorCorrector(sde, denoise, corrector="none"), sde, 5)
        for denoise in (False, True)
    )
    step = predictor_update("reverse", sde, [1e-3])
    noise = (noisy - clean) / float(step.spread[0])
    assert 0.5 < noise.std() < 1.5 and abs(noise.mean()) < 0.9
    flow = [drawn(ProbabilityFlow(sde, denoise), sde, 5) for denoise in (False, True)]
    assert 0 < np.abs(flow[1] - flow[0]).max() < 0.1


def test_images_are_functions_of_their_seeds_and_of_no_piece():
    """By a `Sampler`, in pieces and tiles, as by `draw` at once."""
    sde = FEW["ve"]
    chain = make_chain("pc", SdeRoute(sde), denoise=True, predictor="euler", corrector="langevin")
    score_fn = score_of(sde)
    sampler = Sampler(score_fn, chain, (4,), step_lr=0.0, num_steps_each=1, tile=2)
    assert sampler.num_evaluations == 12
    images = sampler.draw([7, 8, 9])
    alone = sampler.draw([8])
    np.testing.assert_array_equal(images[1], alone[0])
    at_once = draw(chain, score_fn, Rows.fill([7, 8, 9], 0.0, 1), (4,))
    np.testing.assert_allclose(images, at_once, atol=1e-5)
    none = draw(chain, score_fn, Rows.fill([7], 0.0, 0), (4,), clip=False)
    np.testing.assert_array_equal(none, sde.prior([7], (4,)))


def test_centered_images_end_between_0_and_1():
    sde = FEW["vp"]
    chain, centered = (PredictorCorrector(SdeRoute(sde, centered=c)) for c in (False, True))
    x, images = drawn(chain, sde, 50), drawn(centered, sde, 50)
    np.testing.assert_allclose(images, (x + 1) / 2, atol=1e-6)


def test_networks_are_asked_as_they_were_trained():
    seen = []
    network = lambda x, condition: seen.append(condition.numpy()) or -x  # noqa: E731
    rows = Rows.fill([1], 0.0, 1)
    for continuous in (True, False):
        route = SdeRoute(VE(num_scales=10), continuous=continuous)
        PredictorCorrector(route, corrector="none").step(network, tf.ones([1, 2]), rows, 0)
    np.testing.assert_allclose(seen[0], [50.0], 1e-6)
    assert seen[1].tolist() == [0]


@pytest.mark.parametrize("name, grey", [("ve", False), ("vp", True), ("subvp", False)])
def test_known_parts_are_kept(name, grey):
    sde = FEW[name]
    route = SdeRoute(sde, centered=name != "ve")
    known = np.random.default_rng(0).uniform(0.3, 0.7, [2, 2, 2, 3]).astype(np.float32)
    places = np.ones([2, 2, 2, 1], np.float32)
    places[:, :, 1] = 0.0
    measurement = Measurement(grey=grey)
    chain = ConditionalPredictorCorrector(
        route, measurement, denoise=True, predictor="euler", corrector="none"
    )
    rows = Rows.fill([3, 4], 0.0, 1, Known(tf.constant(known), tf.constant(places)))
    x = draw(chain, score_of(sde), rows, (2, 2, 3)).numpy()
    np.testing.assert_allclose(
        measurement.mean(x)[:, :, 0], measurement.mean(known)[:, :, 0], atol=1e-6
    )
    assert np.all(np.abs(x[:, :, 1] - known[:, :, 1]) > 0)


@pytest.mark.parametrize("predictor", ["reverse", "ancestral"])
def test_a_ladder_is_a_case_of_the_equation(predictor):
    """One step of a ladder is one of the equation of its levels, but for the last level."""
    sigmas = geometric_sigmas(2.0, 0.05, 8).numpy()
    sde = VE.of_levels(sigmas)
    t = np.linspace(1.0, 0.0, 8).astype(np.float32)[:-1]
    mine = predictor_update(predictor, sde, t)
    ladder = fall_update(predictor, tf.constant(sigmas[:-1]), tf.constant(sigmas[1:]))
    np.testing.assert_allclose(mine.push, ladder.push, rtol=1e-5)
    np.testing.assert_allclose(mine.spread, ladder.spread, rtol=1e-5)


def test_euler_on_a_ladder_is_that_of_the_equation():
    sde = VE(0.05, 2.0, 8)
    sigma = sde.std([1.0, 0.5])
    ladder = fall_update("euler", sigma, sigma * (0.05 / 2.0) ** (1 / 8))
    for mine, theirs in zip(
        ladder[1:], predictor_update("euler", sde, [1.0, 0.5])[1:], strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: PredictorCorrector(SubVP(), predictor="ancestral"), "no ancestral .* sub-VP SDE"),
        (lambda: PredictorCorrector(VP(num_scales=9), corrector="none"), "must be above beta_max"),
        (lambda: PredictorCorrector(VP(num_scales=9), predictor="none"), "must be above beta_max"),
        (lambda: SdeRoute(VP(), epsilon=0.0), "must be between 0 and 1, not 0.0"),
        (lambda: ProbabilityFlow(VP(), jumps=True), "an equation has none"),
        (lambda: make_chain("ald", VP()), "sampler=ald is for noise levels"),
        (lambda: make_chain("cas", SdeRoute(VE())), "sampler=cas is for noise levels"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
