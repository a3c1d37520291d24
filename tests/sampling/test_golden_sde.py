"""Updates and whole chains of the equations, fed the reference's noise, against its numbers."""

import json

import numpy as np
import pytest
import tensorflow as tf
from golden_sde import assert_near, equation_of, golden_network, golden_score

from ncsn_tf.sampling import Known, Measurement, PredictorCorrector, Rows, SdeRoute
from ncsn_tf.sampling.completion import ConditionalPredictorCorrector
from ncsn_tf.sampling.updates import Update, corrector_update, norms, predictor_update
from ncsn_tf.schedule.sde import score_fn_of

FILES = [
    *("ve_ncsnpp_ve_continuous", "ve_ncsnpp_ve_discrete", "vp_ddpmpp_vp", "subvp_ddpmpp_vp"),
]
# One network by default, since each takes seconds to compile.
CASES = [
    pytest.param(name, discrete, marks=[] if "vp_ddpmpp" in name else pytest.mark.slow)
    for name, discrete in [(n, "discrete" in n) for n in FILES] + [("vp_ddpmpp_vp", True)]
]
PREDICTORS = {
    "euler_maruyama": "euler",
    "reverse_diffusion": "reverse",
    "ancestral_sampling": "ancestral",
    "none": "none",
}
TOLERANCE = 2e-5
GREY_BASIS = np.array([[1, 1, 1], [-2, 1, 1], [0, 1, -1]], np.float32).T / np.sqrt([3, 6, 2])


def batch_mean(x):
    """The norm by which the reference steps: the mean over the batch, for each image."""
    return tf.fill(tf.shape(x)[:1], tf.reduce_mean(norms(x)))


def fed(kind, draws):
    """A class of chains that takes its noise from a list, and steps by the batch's norms."""
    draws = iter(draws)

    class Fed(kind):
        def noise(self, rows, image_shape, stream, counters):
            return tf.constant(next(draws))

        def norms(self, x):
            return batch_mean(x)

    return Fed


def case(golden, name, discrete):
    vectors = golden(f"sde/samplers_{name}")
    config = json.loads(bytes(vectors["config"]))
    network, numbers, centered = golden_score(golden, config["network"])
    prefix = "discrete" if discrete else "continuous"
    mine = {
        key[len(prefix) + 1 :]: value for key, value in vectors.items() if key.startswith(prefix)
    }
    return vectors, mine, config, network, numbers, centered


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["ncsnpp_ve_continuous", "ncsnpp_ve_discrete", "ncsnpp_ve_highres", "ddpmpp_vp", "ddpm_vp"],
)
def test_scores_of_the_references_networks(name, golden):
    vectors = golden(f"sde/{name}")
    network, config = golden_network(golden, name)
    for key in json.loads(bytes(vectors["scores"])):
        kind, mode = key.removeprefix("score_").split("_")
        sde = equation_of(kind, config["model"], config["model"]["num_scales"])
        score = score_fn_of(network, sde, mode == "continuous")(vectors["x_t"], vectors["t"])
        # What divides by the standard deviation of VP cancels in theirs.
        near_zero = 1e-3 if kind != "ve" and vectors["t"].min() < 0.01 else TOLERANCE
        whole = vectors["t"] >= 0.01
        assert_near(score[whole], vectors[f"score_{kind}_{mode}"][whole], TOLERANCE)
        assert_near(score, vectors[f"score_{kind}_{mode}"], near_zero)


@pytest.mark.parametrize("name, discrete", CASES)
def test_single_updates(name, discrete, golden):
    vectors, mine, config, network, numbers, _ = case(golden, name, discrete)
    sde = equation_of(config["sde"], numbers, config["N"])
    x, t, noise = (tf.constant(vectors[key]) for key in ("x", "t", "noise"))
    place = SdeRoute(sde, continuous=not discrete)._score(network)
    score = place(x, t)
    assert_near(score, mine["score"], TOLERANCE)
    for predictor in config["predictors"]:
        update = predictor_update(PREDICTORS[predictor], sde, t)
        moved, mean = update.move(x, score, noise[0])
        assert_near(moved, mine[predictor], TOLERANCE)
        assert_near(mean, mine[f"{predictor}_mean"], TOLERANCE)
    moved, mean = predictor_update("reverse", sde, t).of_flow().move(x, score, noise[0])
    assert_near(moved, mine["reverse_diffusion_ode"], TOLERANCE)
    assert_near(mean, mine["reverse_diffusion_ode_mean"], TOLERANCE)
    drift = sde.reverse(lambda x, t: score, probability_flow=True).drift(x, t)
    assert_near(drift, mine["probability_flow_drift"], TOLERANCE)
    for corrector in config["correctors"]:
        moved = x
        for count in (1, 2):
            score_here, z = place(moved, t), noise[count - 1]
            scale = sde.std(t)
            if corrector == "langevin":
                scale = batch_mean(z) / batch_mean(score_here)
            update = corrector_update(config["snr"], scale, sde.alpha(t))
            moved, mean = update.move(moved, score_here, z)
            assert_near(moved, mine[f"{corrector}_{count}"], TOLERANCE)
            assert_near(mean, mine[f"{corrector}_{count}_mean"], TOLERANCE)


@pytest.mark.parametrize("name, discrete", CASES)
def test_whole_chains(name, discrete, golden):
    vectors, mine, config, network, numbers, centered = case(golden, name, discrete)
    sde = equation_of(config["sde"], numbers, config["chain_N"])
    route = SdeRoute(sde, config["eps"], continuous=not discrete, centered=centered)
    rows = Rows.fill([0, 1], 0.0, 1)
    for settings in config["chains"]:
        chain = fed(PredictorCorrector, vectors["chain_noise"])(
            route,
            settings["denoise"],
            config["snr"],
            config["chain_steps"],
            PREDICTORS[settings["predictor"]],
            settings["corrector"],
        )
        x = tf.constant(vectors["chain_x0"] * np.float32(sde.prior_std))
        x = chain.advance(network, x, rows, 0, chain.num_steps(1))
        images = chain.finish(network, x, rows)
        key = f"chain_{settings['predictor']}_{settings['corrector']}"
        assert_near(images, mine[f"{key}_denoise{int(settings['denoise'])}"], 5 * TOLERANCE)


@pytest.mark.parametrize("task", ["inpaint", "colorize"])
@pytest.mark.parametrize(
    "name",
    [pytest.param("ve_ncsnpp_ve_continuous", marks=pytest.mark.slow), "vp_ddpmpp_vp"],
)
def test_completing_images(name, task, golden):
    """From the reference's start, which is not that of `ConditionalPredictorCorrector`."""
    vectors = golden(f"sde/controllable_{name}")
    config = json.loads(bytes(vectors["config"]))
    network, numbers, centered = golden_score(golden, config["network"])
    sde = equation_of(config["sde"], numbers, config["N"])
    route = SdeRoute(sde, config["eps"], continuous=True, centered=centered)
    known = vectors["images"] if task == "inpaint" else vectors["grey"]
    places = vectors["mask"][..., :1] if task == "inpaint" else np.ones_like(known[..., :1])
    draws, each = vectors["noise"].copy(), 3 if config["corrector"] == "none" else 4
    if task == "colorize":  # theirs is drawn in a basis that has the grey first
        for of_data in (each - 3, each - 1):
            draws[of_data::each] = draws[of_data::each] @ GREY_BASIS.T
    measurement = Measurement(grey=task == "colorize")
    chain = fed(ConditionalPredictorCorrector, draws)(
        route,
        measurement,
        snr=config["snr"],
        predictor=PREDICTORS[config["predictor"]],
        corrector=config["corrector"],
    )
    values = tf.constant(known)  # as the network sees them
    rows = Rows.fill([0, 1], 0.0, 1, Known(route.images(values), tf.constant(places)))
    prior = vectors["x0"] * np.float32(sde.prior_std)
    if task == "inpaint":
        x = measurement.replace(prior, Known(values, rows.condition.places))
    else:  # theirs drops the red of the noise, and adds the grey to what is left
        x = measurement.mean(values) + prior * np.array([0, 1, 1], np.float32)
    x = chain.advance(network, x, rows, 0, chain.num_steps(1))
    assert_near(chain.images(x), vectors[f"{task}_denoise0"], 5 * TOLERANCE)
    scale = sde.mean_scale([config["eps"]])
    mean = values if scale is None else scale * values
    x = measurement.replace(x, Known(mean, rows.condition.places))
    assert_near(chain.images(x), vectors[f"{task}_denoise1"], 5 * TOLERANCE)


def test_the_noise_of_an_update_is_what_it_is_fed():
    update = Update(None, tf.constant([0.0]), tf.constant([2.0]))
    moved, mean = update.move(tf.ones([1, 2]), tf.ones([1, 2]), tf.constant([[1.0, -1.0]]))
    np.testing.assert_array_equal(moved, [[3.0, -1.0]])
    np.testing.assert_array_equal(mean, [[1.0, 1.0]])
