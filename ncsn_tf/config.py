"""The settings of a run: one frozen dataclass, from which the flags and the saved JSON are made.

The defaults are those of the CIFAR-10 experiment of Song & Ermon 2019 (arXiv:1907.05600), as its
released code ran it; other experiments are files in flags/.
"""

import contextlib
import dataclasses
import functools
import json
import math
import os
import re
import typing
from pathlib import Path

from ncsn_tf.errors import ConfigError, UserError

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def option(
    default, help, group, runtime=False, choices=None, bare=None, least=None, above=None, below=None
):
    """A dataclass field that is also a flag.

    Args:
        default: value without the flag; None for a field of an optional type.
        help: one short line.
        group: heading under which `--help` lists it.
        runtime: True when the value may change when a run is resumed.
        choices: the only values allowed, if given.
        bare: value of the flag given without one (`--saved_model`), if that is allowed.
        least, above, below: bounds; `above` and `below` are exclusive.
    """
    metadata = {"group": group, "help": help, "runtime": runtime, "choices": choices, "bare": bare}
    metadata |= {"least": least, "above": above, "below": below}
    return dataclasses.field(default=default, metadata=metadata)


def option_types(dataclass_type):
    """{field name: int, float, bool or str}; `Optional[int]` counts as int."""
    hints = typing.get_type_hints(dataclass_type)
    kinds = {field.name: hints[field.name] for field in dataclasses.fields(dataclass_type)}
    return {name: (typing.get_args(kind) or (kind,))[0] for name, kind in kinds.items()}


def show(name, value):
    """A setting as a flag: `--random_flip=true`."""
    return f"--{name}={show_value(value)}"


def show_value(value):
    """A value as a person would type it: `true`, `0.01`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_options(options):
    """Check the type, choices and bounds of each field made with `option`.

    Raises:
        ConfigError: names the flag, its value and what would be right.
    """
    kinds = option_types(type(options))
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value is None and field.default is None:
            continue
        rule = _broken_rule(value, kinds[field.name], field.metadata)
        if rule:
            raise ConfigError(f"{show(field.name, value)} must be {rule}")


def _broken_rule(value, kind, limits):
    """What the value should have been; None when nothing is wrong with it."""
    if type(value) is not kind and not (kind is float and type(value) is int):
        return KINDS[kind]
    if kind is float and not math.isfinite(value):
        return "a finite number"
    choices, least, above, below = (limits[k] for k in ("choices", "least", "above", "below"))
    if choices is not None and value not in choices:
        return " or ".join(show_value(choice) for choice in choices)
    if least is not None and value < least:
        return f"at least {least}"
    if above is not None and value <= above:
        return f"above {above}"
    if below is not None and value >= below:
        return f"below {below}"
    return None


_data = functools.partial(option, group="data")
_network = functools.partial(option, group="network")
_noise = functools.partial(option, group="noise")
_training = functools.partial(option, group="training")
_sampling = functools.partial(option, group="sampling", runtime=True)
_run = functools.partial(option, group="run", runtime=True)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides what a run does. Checked on creation.

    Raises:
        ConfigError: a setting that cannot be used; one line that says what would be right.
    """

    dataset: str = _data("cifar10", "a TFDS name, digits, or image_folder")
    image_size: int = _data(32, "side of the square images, in pixels; even", least=4)
    channels: int = _data(3, "1 for grey, 3 for colour", choices=(1, 3))
    crop_size: int = _data(0, "centre crop before resizing, in pixels; 0 is none", least=0)
    random_flip: bool = _data(True, "mirror half of the training images")
    dequantize: bool = _data(True, "add uniform noise of one grey level in 256")
    data_dir: str = _data("", "where TFDS keeps its data, or image_folder's folder", runtime=True)

    features: int = _network(128, "channels of the first stage", least=2)
    precision: str = _network("float32", "arithmetic", choices=("float32", "mixed_bfloat16"))

    sigma_begin: float = _noise(1.0, "largest noise level", above=0)
    sigma_end: float = _noise(0.01, "smallest noise level", above=0)
    num_levels: int = _noise(10, "noise levels, in a geometric sequence", least=1)
    anneal_power: float = _noise(2.0, "a level's loss is weighted by sigma to this power")

    batch_size: int = _training(128, "images a step, over all replicas", least=1)
    optimizer: str = _training("Adam", "one of Keras's, or Addons>NAME")
    learning_rate: float = _training(1e-3, "step size of the optimizer", above=0)
    adam_beta_1: float = _training(0.9, "beta_1 of Adam and its kin", least=0, below=1)
    adam_beta_2: float = _training(0.999, "beta_2 of Adam and its kin", least=0, below=1)
    adam_epsilon: float = _training(1e-8, "epsilon of Adam and its kin", above=0)
    ema_decay: float = _training(0.0, "decay of the averaged weights; 0 is off", least=0, below=1)
    seed: int = _training(1234, "seed of weights, data order and noise", least=0, below=2**31)
    num_steps: int = _training(200_000, "training steps", runtime=True, least=1)
    max_bad_steps: int = _training(10, "non-finite steps before giving up", runtime=True, least=1)

    step_lr: float = _sampling(2e-5, "Langevin step size at the smallest noise level", above=0)
    num_steps_each: int = _sampling(100, "Langevin steps at each noise level", least=1)
    denoise: bool = _sampling(False, "end with one noise-free denoising step")
    sampling_tile: int = _sampling(
        8, "images in the network at once; decides the last bits", least=1
    )

    workdir: str = _run("", "where the run is kept; empty is runs/<dataset>")
    log_every: int = _run(100, "steps between log lines", least=1)
    eval_every: int = _run(100, "steps between test losses; 0 is never", least=0)
    eval_batches: int = _run(1, "test batches in one test loss", least=1)
    sample_every: int = _run(5000, "steps between sample grids; 0 is never", least=0)
    num_sample_images: int = _run(25, "images in a sample grid", least=1)
    checkpoint_every: int = _run(5000, "steps between checkpoints", least=1)
    keep_checkpoints: int = _run(5, "checkpoints kept", least=1)
    num_virtual_devices: int = _run(0, "virtual CPU devices; 0 leaves the CPU whole", least=0)
    deterministic: bool = _run(False, "bit-reproducible operations, slower")
    jit_compile: bool = _run(False, "compile the training step with XLA")
    export: bool = _run(True, "export the sampler as a SavedModel at the end")

    def __post_init__(self):
        self.validate()

    def validate(self):
        """Raise a ConfigError for the first setting that cannot be used."""
        check_options(self)
        if not re.fullmatch(r"\w[\w.+-]*([/:][\w*][\w.*+-]*)*", self.dataset):
            raise ConfigError(
                f"{show('dataset', self.dataset)} must be the name of a dataset, such as mnist"
            )
        if self.dataset == "image_folder" and not self.data_dir:
            raise ConfigError(
                "--data_dir= must name the folder of pictures that --dataset=image_folder reads"
            )
        if self.image_size % 2:
            raise ConfigError(
                f"{show('image_size', self.image_size)} must be even, such as {self.image_size + 1}"
            )
        if self.num_levels > 1 and self.sigma_end >= self.sigma_begin:
            raise ConfigError(
                f"{show('sigma_end', self.sigma_end)} must be below "
                f"{show('sigma_begin', self.sigma_begin)}"
            )

    def check_replicas(self, num_replicas):
        """Raise a ConfigError unless the global batch splits evenly over the replicas."""
        if self.batch_size % num_replicas:
            raise ConfigError(
                f"{show('batch_size', self.batch_size)} cannot be split evenly over "
                f"{num_replicas} replicas; use a multiple of {num_replicas}"
            )

    @property
    def image_shape(self):
        """(S, S, C) of one image."""
        return (self.image_size, self.image_size, self.channels)

    @property
    def run_dir(self):
        """The run's folder: workdir, or runs/<dataset> when that is empty."""
        if self.workdir:
            return Path(self.workdir).expanduser()
        return Path("runs") / re.sub(r"[^\w.+-]", "-", self.dataset)

    def to_json(self):
        """The settings as JSON text; `from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text):
        """The Config that `to_json` wrote.

        A setting that the text lacks is newer than the text and has its default, which is what
        was done before there was a choice; a ConfigError names an unknown one.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"not valid JSON: {error}") from None
        if not isinstance(values, dict):
            raise ConfigError("not a JSON object of settings")
        names = [field.name for field in dataclasses.fields(cls)]
        unknown = [name for name in values if name not in names]
        if unknown:
            raise ConfigError(f"unknown setting: {', '.join(unknown)}")
        return cls(**values)

    def save(self, path):
        """Write the JSON in one move: a reader sees the old file or the new one, never a part."""
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(self.to_json(), encoding="utf-8")
            os.replace(partial, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise UserError(f"{path} cannot be written: {error.strerror}") from None

    @classmethod
    def load(cls, path):
        """The Config in a file that `save` wrote."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None


def differences(old, new):
    """One line for each setting that must not change when a run is resumed, but did."""
    return [
        f"--{field.name}: the run has {show_value(getattr(old, field.name))}, "
        f"the command says {show_value(getattr(new, field.name))}"
        for field in dataclasses.fields(old)
        if not field.metadata["runtime"] and getattr(old, field.name) != getattr(new, field.name)
    ]
