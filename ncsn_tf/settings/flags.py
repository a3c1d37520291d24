"""Command lines: the settings of a run, or of any command, from its arguments.

TensorFlow is not imported, so that `--help` and mistakes are answered at once.
"""

from collections.abc import Sequence
from typing import TypeVar

from ncsn_tf.backend.choices import THIRD_MODELS
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.dataset_flags import flagfile_of, needs_image_size
from ncsn_tf.settings.help import help_if_asked
from ncsn_tf.settings.option_paths import with_homes
from ncsn_tf.settings.options import check_given, check_values, flag_fields
from ncsn_tf.settings.published import published
from ncsn_tf.settings.rules import check_dataset
from ncsn_tf.settings.sampler_choice import check_choice, tell_choice
from ncsn_tf.settings.typed_flags import read_flags

Options = TypeVar("Options")


def parse_config(argv: Sequence[str], summary: str = "") -> Config:
    """The Config of a training command.

    Without --flagfile, the dataset's own flags/<dataset>.flags is read first, so that the command
    line wins; with it, only the file named there is read. No --dataset means that of the defaults.
    A network of the third generation takes the data's settings alone from the dataset's flagfile,
    which is of another experiment, and those that nobody gave from what was published for it.

    Args:
        argv: the program's name, then its arguments.
        summary: what the program does, for --help.

    Raises:
        ConfigError: a flag that is unknown or cannot be used.
        SystemExit: code 0, after --help was printed.

    Example:
        >>> config = parse_config(["train.py", "--dataset=mnist", "--features=16"])
        >>> config.image_shape, config.features
        ((28, 28, 1), 16)
        >>> parse_config(["train.py", "--model=ncsnpp", "--sde=ve", "--continuous"]).sigma_begin
        50.0
        >>> parse_config(["train.py", "--features=many"])
        Traceback (most recent call last):
        ncsn_tf.errors.ConfigError: --features=many must be a whole number
    """
    help_if_asked(argv, summary, Config)
    args = list(argv[1:])
    values = own = read_flags(args, Config)
    if not is_given(args, "flagfile"):
        dataset = values["dataset"].value or Config.dataset
        check_dataset(dataset)
        flagfile = flagfile_of(dataset)
        if flagfile is not None:
            values = read_flags([f"--flagfile={flagfile}", *args], Config)
    dataset = values["dataset"].value
    check_dataset(dataset)
    # Not in Config: the runs of `training.arrays` have arrays without a file.
    if dataset == "arrays" and not values["data_dir"].value:
        raise ConfigError("--data_dir= must name the .npy or .npz that --dataset=arrays reads")
    if dataset != Config.dataset and not values["image_size"].present:
        raise ConfigError(needs_image_size(dataset, values["data_dir"].value))
    values = values.flag_values_dict()
    if values["model"] in THIRD_MODELS:
        values = _with_published(values, own)
    check_given(Config, values)
    check_values(Config, values)
    if own["denoise"].present:
        check_choice({"sampler": values["sampler"], "denoise": own["denoise"].value})
    config = Config(**values)
    tell_choice(values, config)
    return config


def parse_options(argv: Sequence[str], dataclass_type: type[Options], summary: str = "") -> Options:
    """An instance of any frozen dataclass whose fields were made with `options.option`.

    Args and errors are those of `parse_config`; --flagfile is allowed, no file is read unasked.

    Example:
        >>> from ncsn_tf.settings.chain import ChainOptions
        >>> options = parse_options(["sample.py", "--sampler=pc", "--snr", "0.2"], ChainOptions)
        >>> options.sampler, options.snr, options.denoise
        ('pc', 0.2, None)
    """
    help_if_asked(argv, summary, dataclass_type)
    values = read_flags(list(argv[1:]), dataclass_type).flag_values_dict()
    check_given(dataclass_type, values)
    check_values(dataclass_type, values)
    return dataclass_type(**with_homes(dataclass_type, values))


def is_given(args: Sequence[str], name: str) -> bool:
    """Whether a flag is among the arguments, as `--name`, `--name=x`, `-name` or `-name=x`.

    Example:
        >>> is_given(["--dataset=mnist"], "dataset"), is_given(["dataset"], "dataset")
        (True, False)
    """
    return any(arg[0:1] == "-" and arg.lstrip("-").partition("=")[0] == name for arg in args)


def _with_published(values, own):
    """The settings of a network of the third generation: what nobody gave is as published.

    Args:
        values: {setting: value}, those of the dataset's flagfile among them.
        own: the flags that were given.
    """
    default = published(values["model"], values["sde"], values["continuous"])

    def value(field):
        if own[field.name].present:
            return own[field.name].value
        if field.name in default:
            return default[field.name]
        return values[field.name] if field.metadata["group"] == "data" else field.default

    return {field.name: value(field) for field in flag_fields(Config)}
