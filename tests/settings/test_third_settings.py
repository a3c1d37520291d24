"""Settings of the third generation: published ones, their flagfiles, what cannot be."""

import json
import re
from pathlib import Path

import pytest

from ncsn_tf.errors import ConfigError
from ncsn_tf.models.unet_steps import unet_steps
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.flags import parse_config
from ncsn_tf.settings.published import published
from ncsn_tf.settings.third_rules import numbers

FLAGS = Path(__file__).resolve().parents[2] / "flags"
# Weights of the published networks, without the fixed frequencies.
WEIGHTS = {
    "cifar10_ncsnpp_ve": 62_693_251,
    "cifar10_ncsnpp_ve_continuous": 62_758_787,
    "cifar10_ncsnpp_ve_deep_continuous": 107_586_947,
    "cifar10_ncsnpp_vp": 62_693_251,
    "cifar10_ncsnpp_vp_continuous": 62_693_251,
    "cifar10_ncsnpp_vp_deep_continuous": 107_521_411,
    "cifar10_ncsnpp_subvp_continuous": 62_693_251,
    "cifar10_ncsnpp_subvp_deep_continuous": 107_521_411,
    "cifar10_ddpmpp_vp": 61_804_419,
    "cifar10_ddpmpp_vp_continuous": 61_804_419,
    "cifar10_ddpmpp_vp_deep_continuous": 106_632_579,
    "cifar10_ddpmpp_subvp_continuous": 61_804_419,
    "cifar10_ddpmpp_subvp_deep_continuous": 106_632_579,
    "cifar10_ddpm_ve": 35_218_947,
    "cifar10_ddpm_vp": 35_218_947,
    "cifar10_ddpm_vp_continuous": 35_218_947,
    "cifar10_ddpm_subvp_continuous": 35_218_947,
    "celeb_a_64_ncsnpp_ve": 62_693_251,
    "celebahq_256_ncsnpp_ve_continuous": 65_574_421,
    "ffhq_256_ncsnpp_ve_continuous": 65_574_421,
    "lsun_bedroom_256_ncsnpp_ve_continuous": 65_574_421,
    "lsun_church_256_ncsnpp_ve_continuous": 65_574_421,
}
SIGMAS = {"celeb_a_64": 90, "celebahq": 348, "ffhq": 348, "lsun_bedroom": 378, "lsun_church": 380}


def config_of(*flags):
    return parse_config(["train.py", *flags])


def count_weights(config):
    """Trained weights of the network, by the shapes of its layers alone."""
    features, height = config.features, config.image_shape[1]
    fourier = config.embedding == "fourier"
    steps = unet_steps(
        height,
        config.channels,
        features,
        numbers(config.multipliers),
        config.num_res_blocks,
        numbers(config.attention_sizes),
        config.block,
        config.progressive_input,
        config.progressive,
        config.progressive_combine,
        fourier + 2,
    )
    vector = 4 * features
    total, h, pyramid = 0, config.channels, config.channels
    for step in steps:
        out = step.filters
        match step.action:
            case "embed":
                total += (features * (1 + fourier) + 1) * vector + (vector + 1) * vector
            case "convolve" | "resample":
                total += 9 * h * out + out
            case "block":
                total += 2 * h + 9 * h * out + out + (vector + 1) * out + 2 * out
                total += 9 * out * out + out
                total += (h + 1) * out * (h != out or step.resample != "none")
            case "attend":
                total += 2 * h + 4 * (h + 1) * h
            case "take":
                total += (pyramid + 1) * out
            case "merge":
                total += 9 * pyramid * out + out
            case "begin" | "draw" | "finish":
                total += 2 * h + 9 * h * out + out
        if step.action == "merge":
            pyramid = out
        if step.action not in ("embed", "begin", "draw", "finish"):
            h = out
    return total


def test_every_published_experiment_is_there():
    names = {path.stem for path in FLAGS.glob("*.flags")}
    assert {name for name in names if re.search("_(ncsnpp|ddpm|ddpmpp)_", name)} == set(WEIGHTS)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_flagfile_has_the_published_network(name):
    config = config_of(f"--flagfile={name}")
    assert count_weights(config) == WEIGHTS[name]
    assert f"{WEIGHTS[name]:,} weights" in (FLAGS / f"{name}.flags").read_text().replace(
        "\n# ", " "
    )
    assert config.workdir == f"runs/{name}"
    kind, sde = re.search("_(ncsnpp|ddpm|ddpmpp)_([a-z]+)", name).groups()
    assert (config.model, config.sde) == (kind, sde)
    assert config.continuous == name.endswith("_continuous")
    assert config.num_res_blocks == (
        8 if "_deep" in name else 2 if config.image_size == 256 or kind == "ddpm" else 4
    )
    if sde == "ve":
        sigma = next((value for key, value in SIGMAS.items() if name.startswith(key)), 50)
        assert (config.sigma_begin, config.sigma_end) == (sigma, 0.01)
    assert config.num_levels == (2000 if config.image_size == 256 else 1000)


@pytest.mark.parametrize("name", [name for name in WEIGHTS if name.startswith("cifar10")])
def test_the_flags_alone_are_the_flagfile(name):
    """But for the depth, which they do not name."""
    config = config_of(f"--flagfile={name}")
    flags = [f"--model={config.model}", f"--sde={config.sde}", f"--workdir={config.workdir}"]
    flags += ["--continuous"] * config.continuous
    if "_deep" in name:
        flags += ["--num_res_blocks=8", "--num_steps=950001"]
    assert config_of(*flags) == config


@pytest.mark.slow
def test_the_count_is_that_of_the_network_itself():
    from ncsn_tf.training.run_network import build_network

    for name in ("cifar10_ncsnpp_ve_continuous", "cifar10_ddpm_vp"):
        network = build_network(config_of(f"--flagfile={name}", "--features=32"))
        counted = sum(weight.shape.num_elements() for weight in network.trainable_variables)
        assert counted == count_weights(config_of(f"--flagfile={name}", "--features=32"))


def test_a_data_set_gives_its_images_alone():
    config = config_of("--dataset=mnist", "--model=ddpmpp", "--image_size=32", "--features=16")
    assert (config.channels, config.random_flip, config.features) == (1, False, 16)
    assert (config.learning_rate, config.dequantize, config.num_levels) == (2e-4, False, 1000)
    assert config_of("--dataset=mnist").learning_rate == 1e-3


def test_what_is_auto_becomes_what_was_published_and_is_stored():
    config = Config(model="ncsnpp", num_levels=5, multipliers="1,2", fir=False)
    assert (config.sde, config.embedding, config.fir, config.num_res_blocks) == (
        *("ve", "positional", False),
        4,
    )
    assert Config.from_json(config.to_json()) == config
    stored = json.loads(config.to_json())
    assert stored["progressive_input"] == "residual" and stored["centered"] is False
    for name in published("ddpm"):
        assert hasattr(config, name)


def test_the_first_two_generations_stay_as_they_were():
    config = Config(model="ncsnv2")
    assert (config.sde, config.multipliers, config.dropout) == ("auto", "auto", 0.0)
    old = {name: value for name, value in config.to_dict().items() if name in ("model", "depth")}
    assert Config.from_dict(old) == config


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--sde=ve", "--sde=ve is for --model=ncsnpp, ddpmpp or ddpm only"),
        (
            "--dropout=0.1 --model=ncsnv2",
            "--dropout=0.1 is for --model=ncsnpp, ddpmpp or ddpm only",
        ),
        ("--model=ncsnpp --depth=deeper", "--depth=deeper is for --model=ncsnv2 only"),
        ("--model=ncsnpp --objective=ssm", "--objective=ssm is for --model=ncsn or ncsnv2 only"),
        (
            "--model=ncsnpp --anneal_power=1",
            "--anneal_power=1.0 is for --model=ncsn or ncsnv2 only",
        ),
        ("--model=ddpmpp --sde=subvp", "--sde=subvp needs --continuous: it has no discrete steps"),
        ("--model=ddpmpp --sigma_begin=3", "--sigma_begin=3.0 is for --sde=ve only"),
        ("--model=ncsnpp --beta_max=3", "--beta_max=3.0 is for --sde=vp or subvp only"),
        ("--model=ddpmpp --beta_min=30", "--beta_min=30.0 must be below --beta_max=20.0"),
        ("--model=ddpmpp --num_levels=20", "must be above --beta_max=20.0 without --continuous"),
        ("--model=ddpmpp --num_levels=1", "--num_levels=1 must be at least 2 with --sde=vp"),
        ("--model=ncsnpp --likelihood_weighting", "--likelihood_weighting=true needs --continuous"),
        (
            "--model=ncsnpp --embedding=fourier",
            "--embedding=fourier must be positional with --sde=ve and discrete steps",
        ),
        (
            "--model=ncsnpp --continuous --embedding=positional",
            "--embedding=positional must be fourier with --sde=ve and --continuous",
        ),
        (
            "--model=ddpm --sde=ve --continuous",
            "--model=ddpm with --sde=ve has no --continuous: its embedding is of steps",
        ),
        ("--model=ddpmpp --scale_by_sigma", "--scale_by_sigma=true is for --sde=ve only"),
        ("--model=ddpm --fir", "--fir=true is for --model=ncsnpp or ddpmpp only"),
        (
            "--model=ncsnpp --progressive_combine=cat",
            "--progressive_combine=cat is for --progressive_input=input_skip only",
        ),
        (
            "--model=ddpm --features=16",
            "gives a layer of 16 channels, which must be a multiple of 32",
        ),
        (
            "--model=ncsnpp --features=6",
            "gives a layer of 18 channels, which must be a multiple of 4",
        ),
        (
            "--model=ncsnpp --features=136",
            "a layer of 136 channels, which must be a multiple of 32",
        ),
        (
            "--model=ncsnpp --dataset=mnist",
            "--image_size=28 must be a multiple of 8 for the 4 levels of --multipliers=1,2,2,2, "
            "such as 32",
        ),
        ("--model=ncsnpp --image_size=36x48", "must be multiples of 8 for the 4 levels"),
        ("--model=ncsnpp --multipliers=1,,2", "must be whole numbers with commas, such as 1,2,2,2"),
        ("--model=ncsnpp --attention_sizes=x", "must be whole numbers with commas, or none"),
        ("--model=ncsnpp --sde=edm", "--sde=edm must be auto or ve or vp or subvp"),
    ],
)
def test_what_cannot_be_is_one_line(flags, message):
    with pytest.raises(ConfigError) as error:
        config_of(*flags.split())
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("multipliers", ["1", "2,1", "1,3,2"])
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("combine", ["sum", "cat"])
def test_the_rule_of_channels_is_that_of_the_layers(multipliers, blocks, combine):
    """Every layer that is normalised, and no other."""
    from ncsn_tf.settings.third_rules import _normed_channels

    own = {"multipliers": multipliers, "num_res_blocks": blocks, "progressive_combine": combine}
    config = Config(model="ncsnpp", num_levels=5, progressive_input="input_skip", **own)
    steps = unet_steps(
        *(32, 3, 128, numbers(multipliers), blocks, (16,), "biggan", "input_skip"),
        *("none", combine),
    )
    h, normed = 128, set()
    for step in steps:
        if step.action in ("block", "attend", "finish"):
            normed.add(h)
        if step.action == "block":
            normed.add(step.filters)
        h = step.filters or h
    assert _normed_channels(config) == normed
