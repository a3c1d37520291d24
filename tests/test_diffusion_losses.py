"""The objectives of the equations against the reference's numbers and closed forms."""

import numpy as np
import pytest
import tensorflow as tf
from golden_sde import equation_of, golden_score

from ncsn_tf.backend.columns import column
from ncsn_tf.losses import (
    denoising_score_matching,
    diffusion_matching,
    level_matching,
    noise_matching,
    times_of,
)
from ncsn_tf.schedule.sde import VE, VP, SubVP, score_fn_of

EQUATIONS = {"ve": VE(), "vp": VP(), "subvp": SubVP()}
MEAN, DEVIATION = 0.3, 0.5


def gaussian_score(equation):
    """Of N(MEAN, DEVIATION^2) carried by the equation."""

    def score(x, t):
        scale = equation.mean_scale(t)
        scale = tf.ones_like(equation.std(t)) if scale is None else scale
        variance = tf.square(scale * DEVIATION) + tf.square(equation.std(t))
        return (column(scale, x) * MEAN - x) / column(variance, x)

    return score


def examples(count, size):
    rng = np.random.default_rng(0)
    images = rng.normal(MEAN, DEVIATION, [count, size]).astype(np.float32)
    return images, rng.normal(size=[count, size]).astype(np.float32)


@pytest.mark.parametrize("name", EQUATIONS)
def test_the_perturbed_images_of_the_reference(name, golden):
    vectors = golden(f"sde/losses_{'ncsnpp_ve_continuous' if name == 've' else 'ddpmpp_vp'}")
    images, t, z = (vectors[key] for key in ("images", "t", "z"))
    seen = []
    score_fn = lambda x, t: seen.append(x) or tf.zeros_like(x)  # noqa: E731
    # Their data are from -1 to 1 already where the network wants that.
    diffusion_matching(score_fn, EQUATIONS[name], images, t, z)
    if f"perturbed_{name}" in vectors:
        theirs = vectors[f"perturbed_{name}"]
        largest = np.abs(theirs).max(axis=(1, 2, 3), keepdims=True)
        assert np.all(np.abs(seen[0] - theirs) <= 2e-6 * largest)


@pytest.mark.parametrize("reduce_mean", [False, True])
@pytest.mark.parametrize("likelihood_weighting", [False, True])
@pytest.mark.parametrize("name", EQUATIONS)
def test_the_expected_loss_of_a_gaussian(name, likelihood_weighting, reduce_mean):
    """With the exact score, s std + z has variance 1 - std^2 / (m^2 s^2 + std^2) a number."""
    equation, count, size = EQUATIONS[name], 4, 20_000
    images, noise = examples(count, size)
    t = tf.constant([0.01, 0.1, 0.4, 0.9])
    loss = diffusion_matching(
        gaussian_score(equation), equation, images, t, noise, likelihood_weighting, reduce_mean
    ).numpy()
    std = equation.std(t).numpy().astype(np.float64)
    scale = np.ones(4) if name == "ve" else equation.mean_scale(t).numpy()
    left = 1.0 - std**2 / ((scale * DEVIATION) ** 2 + std**2)
    weight = equation.diffusion(t).numpy() ** 2 / std**2 if likelihood_weighting else 1.0
    expected = left * weight * (1.0 if reduce_mean else 0.5 * size)
    np.testing.assert_allclose(loss, expected, rtol=5 * np.sqrt(2 / size))


def test_discrete_levels_are_those_of_the_earlier_generations():
    equation = VE(0.05, 3.0, 7)
    images, noise = examples(5, 12)
    labels = np.array([0, 6, 3, 3, 1], np.int32)

    def network(x, labels):
        return tf.sin(x) / column(tf.gather(equation.levels, labels), x)

    loss = level_matching(network, equation, images, labels, noise)
    before = denoising_score_matching(network, images, labels, noise, equation.levels)
    np.testing.assert_allclose(loss, before, rtol=1e-5)
    mean = level_matching(network, equation, images, labels, noise, reduce_mean=True)
    np.testing.assert_allclose(mean, loss / 6, rtol=1e-6)


def test_a_network_that_knows_the_noise_has_no_loss():
    images, noise = examples(3, 12)
    loss = noise_matching(lambda x, labels: tf.constant(noise), VP(), images, [0, 500, 999], noise)
    np.testing.assert_array_equal(loss, np.zeros(3))
    seen = []
    network = lambda x, labels: seen.append(x) or x  # noqa: E731
    noise_matching(network, VP(), images, [0, 500, 999], noise)
    np.testing.assert_allclose(seen[0][0], images[0], atol=0.05)  # label 0: hardly any noise
    np.testing.assert_allclose(seen[0][2], noise[2], atol=0.02)


def test_times_are_uniform_and_each_its_own():
    t = times_of([3] * 20_000, (tf.range(20_000), 5)).numpy().astype(np.float64)
    assert 1e-5 <= t.min() < 1e-3 and 0.999 < t.max() <= 1.0
    counts = np.histogram(t, 10, (0, 1))[0]
    assert np.all(np.abs(counts - 2000) < 4 * np.sqrt(2000))
    np.testing.assert_array_equal(times_of([3], ([7], 5))[0], t[7].astype(np.float32))
    assert float(times_of([3], ([7], 6))[0]) != t[7]


@pytest.mark.parametrize(
    "name",
    [
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("ncsnpp_ve_continuous", "ncsnpp_ve_discrete")
        ),
        "ddpmpp_vp",
    ],
)
def test_losses_of_the_references_networks(name, golden):
    vectors = golden(f"sde/losses_{name}")
    network, numbers, _ = golden_score(golden, name)
    images, t, z, labels = (vectors[key] for key in ("images", "t", "z", "labels"))
    checked = 0
    for key, theirs in vectors.items():
        if not key.startswith("loss_"):
            continue
        kind, reduce_mean = key.split("_")[1], "reduce_mean1" in key
        sde = equation_of({"smld": "ve", "ddpm": "vp"}.get(kind, kind), numbers, 1000)
        if kind in ("smld", "ddpm"):
            loss_fn = level_matching if kind == "smld" else noise_matching
            loss = loss_fn(network, sde, images, labels, z, reduce_mean)
        else:
            score_fn = score_fn_of(network, sde, continuous=True)
            weighting = "likelihood1" in key
            loss = diffusion_matching(score_fn, sde, images, t, z, weighting, reduce_mean)
        # 1 - exp(2a) cancels in theirs, up to 2e-5 of sub-VP's std at t = 0.013.
        tolerance = 4e-5 if "subvp" in key and "likelihood1" in key else 1e-5
        np.testing.assert_allclose(loss, theirs, rtol=tolerance, err_msg=key)
        checked += 1
    assert checked == {"ddpmpp_vp": 10, "ncsnpp_ve_continuous": 4, "ncsnpp_ve_discrete": 2}[name]
