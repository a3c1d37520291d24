"""Golden files of the third generation: their equations, networks, and how near is near."""

import functools
import json

import numpy as np
import tensorflow as tf

from ncsn_tf.models.ddpm import DDPM
from ncsn_tf.models.ncsnpp import NCSNpp
from ncsn_tf.models.reference_weights import load_reference_weights
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.schedule.sde import VE, VP, SubVP

_networks = {}  # with golden weights, and of those the compiled scores, by the file's name
_scores = {}


def assert_near(mine, theirs, tolerance):
    """Within a share of the largest number of each example."""
    mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
    assert mine.shape == theirs.shape
    axes = tuple(range(1, theirs.ndim))
    error = np.abs(mine - theirs).max(axis=axes) / np.abs(theirs).max(axis=axes)
    assert error.max() <= tolerance, error


def equation_of(name, numbers, num_scales):
    """The equation of a reference configuration's model."""
    if name == "ve":
        return VE(numbers["sigma_min"], numbers["sigma_max"], num_scales)
    kind = {"vp": VP, "subvp": SubVP}[name]
    return kind(numbers["beta_min"], numbers["beta_max"], num_scales)


def network_of(config, **changes):
    """The network of a reference configuration; `changes` are settings by name."""
    model, data = config["model"], config["data"]
    size = data["image_size"]
    settings = {
        "image_shape": (size, size, data["num_channels"]),
        "features": model["nf"],
        "multipliers": model["ch_mult"],
        "num_res_blocks": model["num_res_blocks"],
        "attention_sizes": model["attn_resolutions"],
        "resamp_with_conv": model["resamp_with_conv"],
        "scale_by_sigma": model["scale_by_sigma"],
        "centered": data["centered"],
        "conditional": model["conditional"],
        "activation": model["nonlinearity"],
    }
    if model["name"] == "ddpm":
        return DDPM(**settings, **changes)
    if model["embedding_type"] == "positional" and model["scale_by_sigma"]:
        ends = model["sigma_max"], model["sigma_min"]
        settings["sigmas"] = geometric_sigmas(*ends, model["num_scales"])
    return NCSNpp(
        **settings,
        embedding=model["embedding_type"],
        block=model["resblock_type"],
        fir=model["fir"],
        fir_kernel=model["fir_kernel"],
        progressive_input=model["progressive_input"],
        progressive=model["progressive"],
        progressive_combine=model["progressive_combine"],
        skip_rescale=model["skip_rescale"],
        **changes,
    )


def golden_network(golden, file):
    """(network with the weights of a golden file, its configuration); shared, not changed."""
    if file not in _networks:
        vectors = golden(f"sde/{file}")
        config = json.loads(bytes(vectors["config"]))
        network = network_of(config)
        weights = {key[6:]: vectors[key] for key in vectors if key.startswith("param/")}
        load_reference_weights(network, weights)
        _networks[file] = network, config
    return _networks[file]


def golden_score(golden, file):
    """(compiled network with the weights of a golden file, its model's numbers, centered)."""
    name = file.removesuffix(".npz")
    if name not in _scores:
        network, config = golden_network(golden, name)
        shape = golden(f"sde/{name}")["x"].shape[1:]
        compiled = {  # once for batches of any size
            dtype: tf.function(
                functools.partial(network),
                [tf.TensorSpec([None, *shape]), tf.TensorSpec([None], dtype)],
                autograph=False,
            )
            for dtype in (tf.int32, tf.float32)
        }

        def run(x, condition):
            condition = tf.convert_to_tensor(condition)
            return compiled[condition.dtype](x, condition)

        _scores[name] = run, config["model"], config["data"]["centered"]
    return _scores[name]
