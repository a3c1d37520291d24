"""Config: defaults, every validation rule, JSON and the comparison of two runs."""

import dataclasses
import json
from pathlib import Path

import pytest

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.settings.chain import CHAIN_SETTINGS, ChainOptions, change_chain
from ncsn_tf.settings.config import Config, differences
from ncsn_tf.settings.flags import parse_config, parse_options
from ncsn_tf.settings.options import check_options, option, option_types

INTEGERS = [name for name, kind in option_types(Config).items() if kind is int]
FLOATS = [name for name, kind in option_types(Config).items() if kind is float]
BOOLEANS = [name for name, kind in option_types(Config).items() if kind is bool]
STRINGS = [name for name, kind in option_types(Config).items() if kind is str]
RUNTIME = [
    "data_dir",
    "cache_dir",
    "num_steps",
    "max_bad_steps",
    "sampler",
    "step_lr",
    "cas_step_lr",
    "num_steps_each",
    "denoise",
    "snr",
    "corrector_steps",
    "predictor",
    "corrector",
    "probability_flow",
    "ode_tolerance",
    "ode_rtol",
    "ode_atol",
    "num_evaluations",
    "schedule",
    "rho",
    "first_level_steps",
    "churn",
    "churn_min",
    "churn_max",
    "churn_noise",
    "sampling_tile",
    "workdir",
    "log_every",
    "eval_every",
    "eval_batches",
    "sample_every",
    "num_sample_images",
    "metric_every",
    "metric",
    "metric_samples",
    "metric_features",
    "inception",
    "checkpoint_every",
    "keep_checkpoints",
    "ema_every",
    "num_virtual_devices",
    "cluster_timeout",
    "deterministic",
    "training_tile",
    "jit_compile",
    "recompute",
    "steps_per_execution",
    "export",
    "stopped_code",
]


def test_defaults_are_the_cifar10_experiment():
    config = Config()
    assert config.dataset == "cifar10"
    assert config.image_shape == (32, 32, 3)
    assert (config.features, config.num_levels, config.batch_size) == (128, 10, 128)
    assert (config.sigma_begin, config.sigma_end, config.anneal_power) == (1.0, 0.01, 2.0)
    assert (config.step_lr, config.num_steps_each, config.num_steps) == (2e-5, 100, 200_000)
    assert not config.denoise and config.ema_decay == 0


def test_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().features = 3


def test_every_field_says_what_it_is():
    groups = {"data", "network", "noise", "training", "sampling", "run"}
    groups |= {f"{group} of the third generation" for group in ("network", "noise", "training")}
    for field in dataclasses.fields(Config):
        assert field.metadata["group"] in groups
        assert field.metadata["help"] and len(field.metadata["help"]) < 60


def test_runtime_fields():
    assert [f.name for f in dataclasses.fields(Config) if f.metadata["runtime"]] == RUNTIME


BAD = [
    *[(name, value) for name in INTEGERS for value in ("7", 7.0, True, None, -1)],
    *[(name, value) for name in FLOATS for value in ("7", True, None)],
    *[(name, float(value)) for name in FLOATS for value in ("nan", "inf", "-inf")],
    *[(name, value) for name in BOOLEANS for value in ("true", 1, None)],
    *[(name, value) for name in STRINGS for value in (3, None, True)],
    *[("dataset", value) for value in ("", "a b", "../mnist", "/etc", "a/../b", ".hidden", "a\n")],
    *[("image_size", value) for value in (0, 2, 3, 29, "7", 7.0, True, None, -1)],
    *[
        ("image_size", value)
        for value in ("", "x", "8x", "x8", "0x8", "2x8", "8x8x8", "4.5", "8x9")
    ],
    *[("image_size", value) for value in ("8X12", "8 x 12", "-8x12", "8x16384", (8,), "9" * 5000)],
    *[("channels", value) for value in (0, 2, 4)],
    *[("features", value) for value in (0, 1)],
    *[("model", value) for value in ("NCSN", "", "ncsnv3")],
    *[("depth", value) for value in ("deep", "")],
    *[("objective", value) for value in ("", "DSM", "esm", "sm")],
    ("num_projections", 2),
    *[("precision", value) for value in ("float16", "", "FLOAT32")],
    *[("jit_compile", value) for value in ("true", "", 1, None)],
    *[(name, value) for name in ("sigma_begin", "sigma_end") for value in (0, 0.0, -1.0)],
    *[("sigma_end", value) for value in (1.0, 2.0)],
    *[("learning_rate", value) for value in (0.0, -1e-3)],
    *[("step_lr", value) for value in (0.0, -2e-5)],
    *[("adam_epsilon", value) for value in (0.0, -1e-8)],
    *[(name, v) for name in ("adam_beta_1", "adam_beta_2", "ema_decay") for v in (-0.1, 1.0, 1.5)],
    ("seed", 2**31),
    *[
        (name, 0)
        for name in [
            "num_levels",
            "num_projections",
            "batch_size",
            "num_steps",
            "max_bad_steps",
            "num_steps_each",
            "log_every",
            "eval_batches",
            "num_sample_images",
            "checkpoint_every",
            "keep_checkpoints",
        ]
    ],
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_refused_by_name(name, value):
    with pytest.raises(ConfigError) as error:
        Config(**{name: value})
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    assert str(error.value).startswith(f"--{name}={shown} must be ")


GOOD = [
    {"num_levels": 1, "sigma_begin": 5.0, "sigma_end": 5},
    {"objective": "ssm", "num_projections": 1},
    {"objective": "ssm_vr", "num_projections": 8},
    {"objective": "sm", "image_size": 16, "channels": 1},
    {"sigma_begin": 50, "sigma_end": 1},
    {"eval_every": 0, "sample_every": 0, "num_virtual_devices": 0, "crop_size": 0, "seed": 0},
    {"adam_beta_1": 0.0, "adam_beta_2": 0, "ema_decay": 0.9999},
    {"image_size": 4, "channels": 1, "features": 2},
    {"image_size": "4x16382", "features": 2},
    {"model": "ncsnv2", "depth": "deeper", "image_size": "12x8"},
    {"dataset": "mnist:3.0.1"},
    {"dataset": "downsampled_imagenet/32x32:2.*.*"},
    {"dataset": "image_folder", "data_dir": "pictures"},
    {"precision": "mixed_bfloat16"},
    {"model": "ncsnv2", "image_size": 4},
    {"model": "ncsnv2", "depth": "deeper", "image_size": 8},
    {"model": "ncsnv2", "depth": "deepest", "image_size": 16},
    {"anneal_power": -1.0},
]


@pytest.mark.parametrize("settings", GOOD, ids=str)
def test_values_at_the_edge_are_accepted(settings):
    config = Config(**settings)
    assert all(getattr(config, name) == value for name, value in settings.items())


def test_messages_say_what_would_be_right():
    for settings, message in [
        ({"sigma_end": 2.0}, "--sigma_end=2.0 must be below --sigma_begin=1.0"),
        (
            {"num_levels": 1},
            "--sigma_end=0.01 must be that of --sigma_begin=1.0 when there is one level",
        ),
        (
            {"num_projections": 2},
            "--num_projections=2 must be 1: --objective=dsm has no projections",
        ),
        (
            {"objective": "sm"},
            "--objective=sm must be ssm_vr or dsm for images of 3072 numbers: sm takes as many "
            "backward passes a step, and is for 256 at most",
        ),
        ({"features": 1}, "--features=1 must be at least 2"),
        ({"channels": 2}, "--channels=2 must be 1 or 3"),
        ({"image_size": 27}, "--image_size=27 must be even, such as 28"),
        ({"image_size": "27x30"}, "--image_size=27x30 must be even, such as 28x30"),
        ({"image_size": 16383}, "--image_size=16383 must be even, such as 16382"),
        ({"image_size": "2x8"}, "--image_size=2x8 must be at least 4 on each side"),
        ({"image_size": "8x16384"}, "--image_size=8x16384 must be below 16384 on each side"),
        (
            {"image_size": "8x"},
            "--image_size=8x must be a whole number, or height x width such as 48x64",
        ),
        (
            {"model": "ncsnv2", "depth": "deepest", "image_size": "48x50"},
            "--image_size=48x50 must be multiples of 8 with --depth=deepest, such as 48x56",
        ),
        ({"depth": "deeper"}, "--depth=deeper is for --model=ncsnv2 only"),
        (
            {"model": "ncsnv2", "depth": "deeper", "image_size": 30},
            "--image_size=30 must be a multiple of 4 with --depth=deeper, such as 32",
        ),
        (
            {"model": "ncsnv2", "depth": "deepest", "image_size": 8},
            "--image_size=8 must be a multiple of 8 with --depth=deepest, such as 16",
        ),
        ({"ema_decay": 1.0}, "--ema_decay=1.0 must be below 1"),
        ({"learning_rate": 0.0}, "--learning_rate=0.0 must be above 0"),
        ({"precision": "x"}, "--precision=x must be auto or float32 or mixed_bfloat16"),
    ]:
        with pytest.raises(ConfigError) as error:
            Config(**settings)
        assert str(error.value) == message


def test_a_folder_of_pictures_needs_its_folder():
    with pytest.raises(ConfigError, match="--data_dir= must name .* --dataset=image_folder"):
        Config(dataset="image_folder")


def test_config_error_is_a_user_error_and_a_value_error():
    assert issubclass(ConfigError, UserError) and issubclass(ConfigError, ValueError)


def test_batches_split_evenly_over_replicas():
    config = Config(batch_size=10)
    config.check_replicas(1)
    config.check_replicas(5)
    with pytest.raises(ConfigError) as error:
        config.check_replicas(3)
    assert str(error.value) == (
        "--batch_size=10 cannot be split evenly over 3 replicas; use a multiple of 3"
    )


def test_a_tile_divides_a_replicas_batch():
    Config(batch_size=12, training_tile=3).check_replicas(2)
    Config(batch_size=12, training_tile=100).check_replicas(2)
    with pytest.raises(ConfigError, match="--training_tile=4 must divide the 6 images of a replic"):
        Config(batch_size=12, training_tile=4).check_replicas(2)


def test_run_dir():
    assert Config().run_dir == Path("runs/cifar10")
    assert Config(dataset="mnist:3.0.1").run_dir == Path("runs/mnist-3.0.1")
    assert Config(dataset="a/b").run_dir == Path("runs/a-b")
    assert Config(workdir="here/x").run_dir == Path("here/x")
    assert Config(workdir="~/x").run_dir == Path.home() / "x"


CHANGED = Config(dataset="mnist", adam_epsilon=1e-9, denoise=True, workdir="é\n", num_steps=3)


@pytest.mark.parametrize("config", [Config(), CHANGED])
def test_json_round_trip(config):
    assert Config.from_json(config.to_json()) == config


def test_a_config_is_a_dict_and_back():
    values = CHANGED.to_dict()
    assert values == dataclasses.asdict(CHANGED) and Config.from_dict(values) == CHANGED
    assert Config.from_dict({}) == Config()
    with pytest.raises(ConfigError, match="unknown setting: colour, size"):
        Config.from_dict({"colour": 1, "features": 8, "size": 2})


def test_json_with_a_field_too_many_or_too_few():
    values = json.loads(Config().to_json())
    with pytest.raises(ConfigError, match="unknown setting: colour"):
        Config.from_json(json.dumps({**values, "colour": 1}))
    del values["features"]
    assert Config.from_json(json.dumps(values)) == Config()


BEFORE_BOUNDS = {"sampling_tile": 5000, "corrector_steps": 2000, "num_sample_images": 70_000}


def test_stored_settings_of_before_there_were_bounds():
    """They are read, kept and changed; what is given now must keep the bounds."""
    config = Config.from_json(json.dumps(BEFORE_BOUNDS))
    assert {name: getattr(config, name) for name in BEFORE_BOUNDS} == BEFORE_BOUNDS
    assert Config.from_json(config.to_json()) == config
    assert change_chain(config, num_steps_each=5).sampling_tile == 5000
    for name, value in BEFORE_BOUNDS.items():
        message = rf"^--{name}={value} must be below \d+$"
        with pytest.raises(ConfigError, match=message):
            parse_config(["ncsn train", "--dataset=digits", f"--{name}={value}"])
        if name in CHAIN_SETTINGS:
            with pytest.raises(ConfigError, match=message):
                change_chain(Config(), **{name: value})
            with pytest.raises(ConfigError, match=message):
                parse_options(["ncsn sample", f"--{name}={value}"], ChainOptions)
    with pytest.raises(ConfigError, match="--sampling_tile=2147483648 must be below"):
        Config.from_dict({"sampling_tile": 2**31})


def test_json_of_before_there_were_two_generations():
    values = json.loads(Config().to_json())
    del values["model"], values["depth"]
    config = Config.from_json(json.dumps(values))
    assert (config.model, config.depth) == ("ncsn", "base")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null"])
def test_json_that_is_no_config(text):
    with pytest.raises(ConfigError, match="not "):
        Config.from_json(text)


def test_json_values_are_validated():
    text = Config().to_json().replace('"features": 128', '"features": 1')
    with pytest.raises(ConfigError, match="--features=1"):
        Config.from_json(text)


def test_save_and_load(tmp_path):
    path = tmp_path / "new" / "config.json"
    Config().save(path)
    CHANGED.save(path)
    assert Config.load(path) == CHANGED
    assert [entry.name for entry in path.parent.iterdir()] == ["config.json"]


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    Config().save(path)

    def full_disk(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(UserError, match="config.json cannot be written: No space left"):
        CHANGED.save(path)
    assert Config.load(path) == Config()
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.json"]


def test_load_errors_name_the_file(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(UserError, match="config.json cannot be read: No such file"):
        Config.load(path)
    path.write_text('{"colour": 1}')
    with pytest.raises(ConfigError, match="config.json: unknown setting: colour"):
        Config.load(path)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="config.json: "):
        Config.load(path)


def test_an_image_size_is_held_in_one_way():
    for size in (48, "48", "48x48", (48, 48)):
        assert Config(image_size=size) == Config(image_size=48)
        assert '"image_size": 48,' in Config(image_size=size).to_json()
    for size in ("48x64", (48, 64), [48, 64]):
        config = Config(image_size=size)
        assert config.image_size == "48x64" and config.image_shape == (48, 64, 3)
        assert '"image_size": "48x64",' in config.to_json()
        assert Config.from_json(config.to_json()) == config
    assert differences(Config(image_size="8x12"), Config(image_size="12x8")) == [
        "--image_size: the run has 8x12, the command says 12x8"
    ]
    assert differences(Config(image_size="8x8"), Config(image_size=8)) == []


def test_differences_lists_what_must_not_change():
    old, new = Config(features=16), Config(features=32, random_flip=False)
    assert differences(old, new) == [
        "--random_flip: the run has true, the command says false",
        "--features: the run has 16, the command says 32",
    ]


def test_runtime_settings_are_no_difference():
    new = Config(num_steps=7, step_lr=1.0, workdir="x", data_dir="y", jit_compile=True)
    assert differences(Config(), new) == []


def test_options_of_another_dataclass():
    @dataclasses.dataclass(frozen=True)
    class Options:
        count: int | None = option(None, "how many", group="images", least=1)

    check_options(Options())
    check_options(Options(3))
    with pytest.raises(ConfigError, match="--count=0 must be at least 1"):
        check_options(Options(0))
