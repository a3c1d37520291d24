"""Command lines: flags and flagfiles to dataclasses, --help and messages."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest

from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.flags import parse_config, parse_options
from ncsn_tf.settings.help import help_text
from ncsn_tf.settings.options import flag_fields, option

ROOT = Path(__file__).resolve().parents[2]
FLAGFILES = sorted((ROOT / "flags").glob("*.flags"))
SECOND_GENERATION = [path for path in FLAGFILES if path.stem.endswith("_ncsnv2")]
THIRD_GENERATION = [path for path in FLAGFILES if re.search("_(ncsnpp|ddpm|ddpmpp)_", path.stem)]
OTHERS = [ROOT / "flags" / f"{name}.flags" for name in ("cifar10_single_level", "digits_few_steps")]
EXPERIMENTS = [*SECOND_GENERATION, *THIRD_GENERATION, *OTHERS]
OF_DATASETS = [path for path in FLAGFILES if path not in EXPERIMENTS]


@dataclasses.dataclass(frozen=True)
class Options:
    """One option of every kind, as another command would declare them."""

    workdir: str = option("", "the run", group="run")
    num_images: int = option(25, "how many", group="images", least=1)
    step_lr: Optional[float] = option(None, "step size", group="images", above=0)  # noqa: UP045
    checkpoint: int | None = option(None, "which step", group="run")
    saved_model: str | None = option(None, "a SavedModel", group="run", bare="export")
    denoise: bool = option(False, "one last step", group="images")
    movie: bool | None = option(None, "also a movie", group="images")


def config_of(*args):
    return parse_config(["train.py", *args])


def options_of(*args):
    return parse_options(["sample.py", *args], Options)


def error_of(*args):
    with pytest.raises(ConfigError) as error:
        config_of(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def run_python(code, *args):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_no_flags_is_the_cifar10_experiment():
    assert config_of() == Config()


def test_flags_of_every_kind():
    config = config_of(
        "--workdir=a b", "--features", "16", "-sigma_begin=2", "--norandom_flip", "--denoise=true"
    )
    assert config.workdir == "a b" and config.features == 16 and config.sigma_begin == 2.0
    assert config.random_flip is False and config.denoise is True


@pytest.mark.parametrize("path", OF_DATASETS, ids=lambda path: path.stem)
def test_every_flagfile_is_that_of_its_dataset(path):
    config = config_of(f"--dataset={path.stem}")
    assert config.dataset == path.stem
    assert config == config_of(f"--flagfile={path}")


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.stem)
def test_every_number_in_a_flagfile_has_its_source(path):
    lines = [line for line in path.read_text().splitlines() if line]
    for before, line in zip(lines, lines[1:], strict=False):
        if line.startswith("--"):
            assert before.startswith("# ")


def test_the_experiments():
    mnist = config_of("--dataset", "mnist")
    assert mnist == Config(
        dataset="mnist", image_size=28, channels=1, features=64, random_flip=False
    )
    assert config_of("--dataset=fashion_mnist") == dataclasses.replace(
        mnist, dataset="fashion_mnist"
    )
    assert config_of("--dataset=celeb_a") == Config(dataset="celeb_a", crop_size=140)
    assert config_of("--dataset=svhn_cropped") == Config(dataset="svhn_cropped", random_flip=False)
    assert config_of("--dataset=digits").image_shape == (8, 8, 1)


V2 = Config(
    model="ncsnv2",
    dequantize=False,
    sigma_begin=50.0,
    num_levels=232,
    learning_rate=1e-4,
    ema_decay=0.999,
    num_steps=300_000,
    step_lr=6.2e-6,
    num_steps_each=5,
    denoise=True,
)
BEDROOM = {
    "dataset": "lsun/bedroom",
    "image_size": 128,
    "depth": "deeper",
    "sigma_begin": 190.0,
    "num_levels": 1086,
    "num_steps": 150_000,
    "step_lr": 1.8e-6,
    "num_steps_each": 3,
}


@pytest.mark.parametrize(
    "name, changes",
    [
        ("cifar10_ncsnv2", {}),
        (
            "celeb_a_64_ncsnv2",
            {
                "dataset": "celeb_a",
                "crop_size": 140,
                "image_size": 64,
                "sigma_begin": 90.0,
                "num_levels": 500,
                "num_steps": 210_000,
                "step_lr": 3.3e-6,
            },
        ),
        ("lsun_bedroom_ncsnv2", BEDROOM),
        ("lsun_tower_ncsnv2", {**BEDROOM, "dataset": "lsun/tower"}),
        (
            "lsun_church_ncsnv2",
            {
                **BEDROOM,
                "dataset": "lsun/church_outdoor",
                "image_size": 96,
                "sigma_begin": 140.0,
                "num_levels": 788,
                "num_steps": 200_000,
                "step_lr": 4.9e-6,
                "num_steps_each": 4,
            },
        ),
        (
            "ffhq_256_ncsnv2",
            {
                "dataset": "image_folder",
                "data_dir": "data/ffhq",
                "image_size": 256,
                "depth": "deepest",
                "sigma_begin": 348.0,
                "num_levels": 2311,
                "batch_size": 32,
                "adam_epsilon": 1e-3,
                "num_steps": 80_000,
                "step_lr": 0.9e-6,
                "num_steps_each": 3,
            },
        ),
    ],
)
def test_the_experiments_of_the_second_generation(name, changes):
    expected = dataclasses.replace(V2, workdir=f"runs/{name}", **changes)
    assert config_of(f"--flagfile={name}") == expected


def test_the_baseline_is_the_experiment_with_its_smallest_level():
    config = config_of("--flagfile=cifar10_single_level")
    assert config == dataclasses.replace(
        config_of("--dataset=cifar10"),
        num_levels=1,
        sigma_begin=0.01,
        num_steps_each=1000,
        workdir="runs/cifar10_single_level",
    )


def test_an_experiment_is_not_a_dataset():
    assert len(EXPERIMENTS) >= 7
    for path in EXPERIMENTS:
        assert error_of(f"--dataset={path.stem}") == (
            f"--dataset={path.stem} is an experiment, not a data set: use --flagfile={path.stem}"
        )
    assert "cifar10_single_level" in error_of("--flagfile=nope")
    assert error_of("--dataset=cifar10_single_leve").endswith(
        "there is no flags/cifar10_single_leve.flags"
    )


def test_the_command_line_wins_over_the_flagfile_of_the_dataset():
    assert config_of("--features=8", "--dataset=mnist", "--random_flip").features == 8
    assert config_of("--dataset=mnist", "--random_flip").random_flip is True


def test_the_last_dataset_wins():
    assert config_of("--dataset=mnist", "--dataset=digits") == config_of("--dataset=digits")


def test_a_version_of_a_dataset_uses_the_flagfile_of_the_dataset():
    assert config_of("--dataset=mnist:3.0.1").image_size == 28


def test_only_the_flagfile_given_is_read(tmp_path):
    path = write(tmp_path / "a.flags", "# a comment", "  // another", "", "  --features=6  ")
    assert config_of(f"--flagfile={path}") == Config(features=6)
    assert config_of("--flagfile", path, "--features=4").features == 4
    assert config_of("--features=4", "--flagfile", path).features == 6
    message = error_of("--dataset=mnist", f"--flagfile={path}")
    assert message == "--dataset=mnist needs an explicit --image_size (or --flagfile=mnist)"


@pytest.mark.parametrize("name", ["mnist", "mnist.flags", "flags/mnist.flags"])
def test_flagfiles_are_found_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_of(f"--flagfile={name}") == config_of("--dataset=mnist")


def test_a_flagfile_in_the_current_folder_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    assert config_of("--flagfile=mnist").features == 64
    write(tmp_path / "mnist.flags", "--features=6")
    assert config_of("--flagfile=mnist.flags").features == 6


def test_a_flagfile_may_include_another(tmp_path):
    path = write(tmp_path / "a.flags", "--flagfile=mnist", "--features=6")
    assert config_of(f"--flagfile={path}") == dataclasses.replace(
        config_of("--dataset=mnist"), features=6
    )


def test_a_flagfile_that_includes_itself(tmp_path):
    path = write(tmp_path / "a.flags", f"--flagfile={tmp_path}/b.flags")
    write(tmp_path / "b.flags", f"--flagfile={path}")
    assert "includes itself" in error_of(f"--flagfile={path}")


def test_flagfiles_that_cannot_be_read(tmp_path):
    assert error_of("--flagfile=nope").startswith("--flagfile=nope is not a file")
    assert "mnist" in error_of("--flagfile=nope")
    assert error_of("--flagfile") == "--flagfile with no argument"
    assert error_of("--flagfile=").startswith("--flagfile= is not a file")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "cannot be read" in error_of(f"--flagfile={tmp_path}/binary")


def test_a_dataset_without_a_flagfile_needs_its_size():
    assert config_of("--dataset=flowers", "--image_size=64").dataset == "flowers"
    assert error_of("--dataset=flowers") == (
        "--dataset=flowers needs an explicit --image_size: there is no flags/flowers.flags"
    )


@pytest.mark.parametrize(("typed", "meant"), [("cifar-10", "cifar10"), ("CelebA", "celeb_a")])
def test_a_misspelt_dataset_is_hinted_at(typed, meant):
    assert f"did you mean --dataset={meant}?" in error_of(f"--dataset={typed}")


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("--fetures=3", "Unknown command line flag 'fetures'. Did you mean: features ?"),
        ("--random-flip", "Unknown command line flag 'random-flip'. Did you mean: random_flip ?"),
        ("--zzzqq=1", "Unknown command line flag 'zzzqq'"),
        ("--features=abc", "--features=abc must be a whole number"),
        ("--features=1.5", "--features=1.5 must be a whole number"),
        ("--features=", "--features= must be a whole number"),
        (
            "--image_size=48x",
            "--image_size=48x must be a whole number, or height x width such as 48x64",
        ),
        ("--image_size=0x8", "--image_size=0x8 must be at least 4 on each side"),
        (
            "--image_size=9x",
            "--image_size=9x must be a whole number, or height x width such as 48x64",
        ),
        ("--image_size=48x51", "--image_size=48x51 must be even, such as 48x52"),
        ("--sigma_end=x", "--sigma_end=x must be a number"),
        ("--sigma_end=nan", "--sigma_end=nan must be a finite number"),
        ("--sigma_end=2.0", "--sigma_end=2.0 must be below --sigma_begin=1.0"),
        ("--export=may: be", "--export=may: be must be true or false"),
        ("--export=", "--export= must be true or false"),
        ("--jit_compile=maybe", "--jit_compile=maybe must be auto, true or false"),
        ("--precision=half", "--precision=half must be auto or float32 or mixed_bfloat16"),
        ("features=3", "unexpected argument 'features=3': flags are given as --name=value"),
        ("--features", "Missing value for flag --features"),
        ("--dataset", "Missing value for flag --dataset"),
        ("--noexport=1", "--noexport=1 does not take an argument"),
    ],
)
def test_messages(arg, message):
    assert error_of(arg) == message


@pytest.mark.parametrize(
    "args, jit_compile",
    [
        ([], "auto"),
        (["--jit_compile=auto"], "auto"),
        (["--jit_compile"], True),
        (["--nojit_compile"], False),
        (["--jit_compile=true"], True),
        (["--jit_compile=0"], False),
        (["--jit_compile=auto", "--nojit_compile"], False),
    ],
)
def test_a_switch_has_three_values(args, jit_compile):
    config = config_of(*args)
    assert config.jit_compile == jit_compile
    assert Config.from_json(config.to_json()) == config


def test_options_have_their_defaults():
    assert options_of() == Options()


def test_options_of_every_kind():
    assert options_of(
        "--workdir=a",
        "--num_images=3",
        "--step_lr=1e-5",
        "--checkpoint=7",
        "--denoise",
        "--nomovie",
    ) == Options("a", 3, 1e-5, 7, None, True, False)


def test_a_flag_given_bare_or_with_a_value():
    assert options_of("--saved_model", "--denoise").saved_model == "export"
    assert options_of("-saved_model").saved_model == "export"
    assert options_of("--saved_model=here").saved_model == "here"
    with pytest.raises(ConfigError, match="unexpected argument 'here'"):
        options_of("--saved_model", "here")


def test_options_are_checked():
    with pytest.raises(ConfigError, match="--num_images=0 must be at least 1"):
        options_of("--num_images=0")
    with pytest.raises(ConfigError, match="--step_lr=0.0 must be above 0"):
        options_of("--step_lr=0")


def test_options_read_a_flagfile_when_asked(tmp_path):
    path = write(tmp_path / "a.flags", "--num_images=3", "--saved_model")
    assert options_of(f"--flagfile={path}") == Options(num_images=3, saved_model="export")


def test_parsing_leaves_its_arguments_alone():
    argv = ["train.py", "--dataset=mnist"]
    parse_config(argv)
    assert argv == ["train.py", "--dataset=mnist"]


def test_help_mentions_every_field_on_one_line():
    lines = help_text("train.py", "Train a network.", Config).splitlines()
    assert lines[:3] == ["usage: train.py [--flag=value ...]", "", "Train a network."]
    assert max(map(len, lines)) <= 100
    for field in flag_fields(Config):
        usages = (f"--{field.name}=", f"--[no]{field.name} ", f"--[no]{field.name}[=")
        assert sum(line.strip().startswith(usages) for line in lines) == 1
        assert sum(f"  {field.metadata['help']} [" in f"{line} [" for line in lines) == 1
    for group in ("data", "network", "noise", "training", "sampling", "run"):
        assert f"{group}:" in lines


def test_help_shows_kinds_and_defaults():
    text = help_text("sample.py", "", Options)
    for usage, help in [
        ("--saved_model[=TEXT]", "a SavedModel"),
        ("--num_images=N", "how many [25]"),
        ("--step_lr=X", "step size"),
        ("--[no]denoise", "one last step [false]"),
        ("--flagfile=FILE", "a file of flags, or its name in flags/"),
    ]:
        assert f"  {usage:<20}  {help}\n" in text


@pytest.mark.parametrize("flag", ["--help", "-help", "-h"])
def test_help_is_printed_and_ends_the_program(flag, capsys):
    with pytest.raises(SystemExit) as stop:
        parse_config(["bin/train.py", "--nonsense", flag], "Train a network.")
    assert not stop.value.code
    assert capsys.readouterr().out == help_text("train.py", "Train a network.", Config)


def test_nothing_here_imports_tensorflow():
    result = run_python(
        "import sys, ncsn_tf.settings.flags\n"
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules])\n"
        "ncsn_tf.settings.flags.parse_config(['train.py'])\n"
        "print('tensorflow' in sys.modules)"
    )
    assert result.stdout.split("\n")[:2] == ["[]", "False"], result.stderr


def test_a_program_is_named_as_it_was_called(capsys):
    for name, called in [
        ("/somewhere/train.py", "train.py"),
        ("ncsn schedule", "ncsn schedule"),
        ("python -m ncsn_tf schedule", "python -m ncsn_tf schedule"),
    ]:
        with pytest.raises(SystemExit):
            parse_options([name, "--help"], Options, "")
        assert capsys.readouterr().out.startswith(f"usage: {called} [--flag=value ...]")
