"""Settings that the weights of a reference network show, of networks of all kinds."""

import json

import numpy as np
import pytest

from ncsn_tf.models.ncsnpp import NCSNpp
from ncsn_tf.models.reference_unet import unet_settings
from ncsn_tf.models.reference_weights import reference_shapes

FILES = [
    "ddpm_vp",
    "ddpmpp_vp",
    "ncsnpp_variant_residual_fir_patched",
    "ncsnpp_variant_residual_plain_patched",
    "ncsnpp_ve_continuous",
    "ncsnpp_ve_discrete",
    "ncsnpp_ve_highres",
]


@pytest.mark.parametrize("file", FILES)
def test_settings_of_a_reference_network(file, golden):
    vectors = golden(f"sde/{file}")
    theirs = json.loads(bytes(vectors["config"]))
    model, data = theirs["model"], theirs["data"]
    arrays = {key[6:]: vectors[key] for key in vectors if key.startswith("param/")}
    found = unet_settings(arrays)
    assert found["model"] == file.partition("_")[0]
    expected = {
        "features": model["nf"],
        "channels": data["num_channels"],
        "multipliers": ",".join(map(str, model["ch_mult"])),
        "num_res_blocks": model["num_res_blocks"],
        "attention_levels": tuple(
            level
            for level in range(len(model["ch_mult"]))
            if data["image_size"] >> level in model["attn_resolutions"]
        ),
    }
    if model["name"] != "ddpm":
        expected |= {
            "embedding": model["embedding_type"],
            "block": model["resblock_type"],
            "progressive_input": model["progressive_input"],
            "progressive": model["progressive"],
            "progressive_combine": model["progressive_combine"],
        }
        assert found.get("fir", model["fir"]) == model["fir"]
    assert {name: found[name] for name in expected} == expected


def test_weights_of_no_network():
    arrays = {"all_modules.0.weight": np.zeros([16, 4]), "all_modules.1.bias": np.zeros(4)}
    with pytest.raises(ValueError, match="its first modules are not those of a network"):
        unet_settings(arrays)


def test_a_network_that_no_setting_has(golden):
    """Its layers that resample have no convolution."""
    vectors = golden("sde/ncsnpp_variant_cat_ddpm")
    arrays = {key[6:]: vectors[key] for key in vectors if key.startswith("param/")}
    with pytest.raises(ValueError, match="its modules are not those of an NCSN"):
        unet_settings(arrays)


def test_features_of_the_image_that_are_joined():
    network = NCSNpp(
        (8, 8, 1),
        features=4,
        multipliers=(1, 2),
        num_res_blocks=2,
        attention_sizes=(),
        progressive_input="input_skip",
        progressive_combine="cat",
    )
    arrays = {name: np.zeros(shape) for name, shape in reference_shapes(network).items()}
    found = unet_settings(arrays)
    assert (found["progressive_combine"], found["attention_levels"]) == ("cat", ())
    assert (found["num_res_blocks"], "fir" in found) == (2, False)
