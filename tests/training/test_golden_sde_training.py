"""Training by the rules of the third generation, fed the reference's draws, against its numbers."""

import json

import numpy as np
import pytest
import tensorflow as tf
from golden_sde import equation_of, network_of

from ncsn_tf.losses import diffusion_matching
from ncsn_tf.models.reference_weights import load_reference_weights
from ncsn_tf.schedule.sde import score_fn_of
from ncsn_tf.training.optimizers import Adam, clip_share, warmed_up
from ncsn_tf.training.state import average_decay


def with_weights(config, vectors, prefix):
    """(network with the weights of that name, those as a list of arrays)."""
    network = network_of(config)
    weights = {key[6:]: vectors[key] for key in vectors if key.startswith("param/")}
    mine = {key[len(prefix) :]: vectors[key] for key in vectors if key.startswith(prefix)}
    load_reference_weights(network, {**weights, **mine})
    return network, [weight.numpy() for weight in network.trainable_variables]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ve", "vp"])
def test_steps_of_training(name, golden):
    vectors = golden(f"sde/training_{name}")
    config = json.loads(bytes(vectors["config"]))
    rules, sde = config["optim"], equation_of(name, config["model"], config["model"]["num_scales"])
    network, first = with_weights(config, vectors, "param/")
    variables = network.trainable_variables
    optimizer = Adam(0.0, rules["beta1"], 0.999, epsilon=rules["eps"])
    optimizer.build(variables)

    def mean_loss(images, t, z):
        score_fn = score_fn_of(network, sde, config["training"]["continuous"])
        reduce_mean = config["training"]["reduce_mean"]
        return tf.reduce_mean(
            diffusion_matching(score_fn, sde, images, t, z, reduce_mean=reduce_mean)
        )

    @tf.function(autograph=False)
    def gradients(images, t, z):
        with tf.GradientTape() as tape:
            loss = mean_loss(images, t, z)
        gradients = tape.gradient(loss, variables)
        return loss, gradients, tf.linalg.global_norm(gradients)

    average = first
    for step in range(len(vectors["losses"])):
        loss, found, norm = gradients(*(vectors[key][step] for key in ("images", "t", "z")))
        np.testing.assert_allclose(loss, vectors["losses"][step], rtol=1e-5)
        np.testing.assert_allclose(norm, vectors["grad_norms"][step], rtol=1e-5)
        share = clip_share(norm, rules["grad_clip"])
        rate = warmed_up(rules["lr"], tf.constant(step), rules["warmup"])
        np.testing.assert_allclose(rate, vectors["learning_rates"][step], rtol=1e-6)
        optimizer.learning_rate = float(rate)
        optimizer.apply_gradients(zip([share * each for each in found], variables, strict=True))
        decay = float(average_decay(config["model"]["ema_rate"], tf.constant(step + 1)))
        average = [
            mine + (1.0 - decay) * (weight.numpy() - mine)
            for mine, weight in zip(average, variables, strict=True)
        ]
        if step == 0:  # which has no step size
            for weight, before in zip(variables, first, strict=True):
                np.testing.assert_array_equal(weight.numpy(), before)

    for prefix, mine in (("final/", [weight.numpy() for weight in variables]), ("ema/", average)):
        _, theirs = with_weights(config, vectors, prefix)
        for weight, each in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(weight, each, rtol=0, atol=2e-6)
        assert (
            max(np.abs(each - before).max() for each, before in zip(theirs, first, strict=True))
            > 1e-4
        )
    for weight, each in zip(variables, average, strict=True):
        weight.assign(each)
    loss = mean_loss(*(vectors[key][0] for key in ("images", "t", "z")))
    np.testing.assert_allclose(loss, vectors["eval_loss"], rtol=1e-5)
