"""The training step of the third generation, fed the reference's draws, against its numbers."""

import json

import numpy as np
import pytest
import tensorflow as tf
from training_helpers import replicas

from ncsn_tf import losses
from ncsn_tf.backend.compat import raw_variable
from ncsn_tf.losses import diffusion_matching
from ncsn_tf.models.reference_weights import load_reference_weights
from ncsn_tf.schedule.sde import score_fn_of
from ncsn_tf.settings.config import Config
from ncsn_tf.training import diffusion_objective
from ncsn_tf.training.run_equation import equation_of
from ncsn_tf.training.run_network import build_network
from ncsn_tf.training.state import TrainingState, copies
from ncsn_tf.training.step import TrainingStep


def config_of(theirs):
    """The settings of a run that a reference configuration describes."""
    model, data, rules, training = (theirs[key] for key in ("model", "data", "optim", "training"))
    is_ve = training["sde"] == "vesde"
    ends = {"sigma_begin": model["sigma_max"], "sigma_end": model["sigma_min"]}
    betas = {"beta_min": model["beta_min"], "beta_max": model["beta_max"]}
    return Config(
        model=model["name"],
        sde=training["sde"].removesuffix("sde"),
        continuous=training["continuous"],
        image_size=data["image_size"],
        channels=data["num_channels"],
        centered=data["centered"],
        features=model["nf"],
        multipliers=",".join(map(str, model["ch_mult"])),
        num_res_blocks=model["num_res_blocks"],
        attention_sizes=",".join(map(str, model["attn_resolutions"])),
        embedding=model["embedding_type"],
        fir=model["fir"],
        progressive_input=model["progressive_input"],
        scale_by_sigma=model["scale_by_sigma"],
        dropout=model["dropout"],
        num_levels=model["num_scales"],
        **(ends if is_ve else betas),
        reduce_mean=training["reduce_mean"],
        batch_size=2,
        training_tile=2,  # the draws are given for the batch as a whole
        dequantize=False,
        learning_rate=rules["lr"],
        adam_epsilon=rules["eps"],
        warmup_steps=rules["warmup"],
        gradient_clip=rules["grad_clip"],
        ema_decay=model["ema_rate"],
        average_ramp=True,
        precision="float32",
    )


def weights_of(config, vectors, prefix):
    """(a network with the weights of that name, those as a list of arrays)."""
    network = build_network(config)
    weights = {key[6:]: vectors[key] for key in vectors if key.startswith("param/")}
    theirs = {key[len(prefix) :]: vectors[key] for key in vectors if key.startswith(prefix)}
    load_reference_weights(network, {**weights, **theirs})
    return network, [weight.numpy() for weight in network.trainable_variables]


def vector_of(weights):
    return np.concatenate([np.ravel(weight) for weight in weights])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ve", "vp"])
def test_steps_of_training(name, golden, monkeypatch):
    vectors = golden(f"sde/training_{name}")
    config = config_of(json.loads(bytes(vectors["config"])))
    strategy = replicas(1)
    state = TrainingState(config, strategy)
    first, before = weights_of(config, vectors, "param/")
    for each in (state.network, state.evaluation_network):
        each.set_weights(first.get_weights())
    state.flatten()
    step_fn = TrainingStep(state, config, strategy)

    def given(key):
        return lambda *args: tf.gather(tf.constant(vectors[key]), state.step)

    monkeypatch.setattr(losses, "times_of", given("t"))
    monkeypatch.setattr(diffusion_objective.random, "normal", given("z"))
    for step, images in enumerate(vectors["images"]):
        # The objective maps images to [-1, 1] where the reference was given them so.
        step_fn.run(tf.constant((images + 1.0) / 2.0 if config.centered else images))
        loss, norm, _ = step_fn.totals.report()
        np.testing.assert_allclose(loss, vectors["losses"][step], rtol=1e-5)
        np.testing.assert_allclose(norm, vectors["grad_norms"][step], rtol=1e-5)
        rate = copies(raw_variable(state.optimizer.learning_rate))[0].numpy()
        np.testing.assert_allclose(rate, vectors["learning_rates"][step], rtol=1e-6)
        if step == 0:  # which has no step size
            np.testing.assert_array_equal(state.weights.vector, vector_of(before))

    for prefix, mine in (("final/", state.weights), ("ema/", state.average)):
        theirs = vector_of(weights_of(config, vectors, prefix)[1])
        np.testing.assert_allclose(mine.vector, theirs, rtol=0, atol=2e-6)
        assert np.abs(theirs - vector_of(before)).max() > 1e-4
    state.refresh_average()
    score_fn = score_fn_of(state.evaluation_network, equation_of(config), config.continuous)
    draws = (vectors[key][0] for key in ("images", "t", "z"))
    values = diffusion_matching(
        score_fn, equation_of(config), *draws, reduce_mean=config.reduce_mean
    )
    np.testing.assert_allclose(tf.reduce_mean(values), vectors["eval_loss"], rtol=1e-5)
