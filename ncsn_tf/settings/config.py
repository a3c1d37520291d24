"""The settings of a run: one frozen dataclass, from which the flags and the saved JSON are made.

The defaults are those of the CIFAR-10 experiment of Song & Ermon 2019 (arXiv:1907.05600), as its
released code ran it; other experiments are files in flags/.
"""

import contextlib
import dataclasses
import functools
import json
import re
from pathlib import Path
from typing import Any

from ncsn_tf.backend.choices import (
    CORRECTORS,
    PRECISIONS,
    PREDICTORS,
    QUALITY_METRICS,
    SAMPLERS,
    SCHEDULES,
)
from ncsn_tf.backend.sizes import as_setting, sides
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.files import user_path, write_atomically
from ncsn_tf.settings.experiment import Experiment
from ncsn_tf.settings.options import ANY_NAME, AUTO, Switch, check_options, option, show, show_value
from ncsn_tf.settings.published import settle_network
from ncsn_tf.settings.rules import RULES
from ncsn_tf.settings.sampler_choice import settle_sampler

_sampling = functools.partial(option, group="sampling", runtime=True)
_run = functools.partial(option, group="run", runtime=True)


@dataclasses.dataclass(frozen=True)
class Config(Experiment):
    """Everything that decides what a run does. Checked on creation.

    `image_size` is the side of square images, or height and width as in "48x64"; "48x48" is 48.
    What is "auto" of a network of the third generation becomes what was published for it, and the
    sampler "auto" what `sampler_choice.choose_sampler` says.

    Raises:
        ConfigError: a setting that cannot be used; one line that says what would be right.

    Example:
        >>> config = Config(dataset="mnist", image_size=28, channels=1, features=64)
        >>> config.image_shape
        (28, 28, 1)
        >>> dataclasses.replace(config, image_size="28x36").image_shape
        (28, 36, 1)
        >>> dataclasses.replace(config, features=1)
        Traceback (most recent call last):
        ncsn_tf.errors.ConfigError: --features=1 must be at least 2
    """

    sampler: str = _sampling(
        "ald",
        "auto; ald cas pc ode; euler ancestral heun dpm dpm_sde",
        choices=(*SAMPLERS, AUTO),
    )
    step_lr: float = _sampling(2e-5, "step size of ald at the smallest noise level", above=0)
    cas_step_lr: float = _sampling(0.0, "that of cas; 0 is 1.5 times its smallest", least=0)
    num_steps_each: int = _sampling(
        100, "steps at each noise level, of ald, cas and pc", least=1, below=2**31
    )
    denoise: bool = _sampling(False, "end with one noise-free denoising step")
    snr: float = _sampling(0.16, "signal-to-noise ratio of pc's corrector", above=0)
    corrector_steps: int = _sampling(
        1, "corrections by pc at each level", least=0, below=2**31, given_below=1001
    )
    predictor: str = _sampling(
        "reverse", "of pc: reverse, ancestral, euler or none", choices=PREDICTORS
    )
    corrector: str = _sampling(
        "ald", "step of pc's corrector: by sigma, or by norms", choices=CORRECTORS
    )
    probability_flow: bool = _sampling(False, "half of the predictor's score, and no noise")
    ode_tolerance: float = _sampling(1e-5, "relative and absolute tolerance of ode", above=0)
    ode_rtol: float = _sampling(0.0, "relative one alone; 0 is --ode_tolerance", least=0)
    ode_atol: float = _sampling(0.0, "absolute one alone; 0 is --ode_tolerance", least=0)
    num_evaluations: int = _sampling(
        20, "evaluations an image, of euler and all after it", least=1, below=100_001
    )
    schedule: str = _sampling("karras", "noise levels at which these step", choices=SCHEDULES)
    rho: float = _sampling(7.0, "of karras: the larger, the more small levels", least=1)
    first_level_steps: int = _sampling(
        0, "Langevin steps at sigma_1 among these, of dpm_sde and kin", least=0, below=100_001
    )
    churn: float = _sampling(0.0, "S_churn of euler and heun: noise on the way", least=0)
    churn_min: float = _sampling(0.0, "S_min: smallest level that has it", least=0)
    churn_max: float = _sampling(0.0, "S_max: largest level that has it; 0 is any", least=0)
    churn_noise: float = _sampling(1.0, "S_noise: a factor of that noise", above=0)
    sampling_tile: int = _sampling(
        8,
        "images in the network at once; decides the last bits",
        least=1,
        below=2**31,
        given_below=4097,
    )

    workdir: str = _run("", "where the run is kept; empty is runs/<dataset>", path=True)
    log_every: int = _run(100, "steps between log lines", least=1, below=2**62)
    eval_every: int = _run(100, "steps between test losses; 0 is never", least=0, below=2**62)
    eval_batches: int = _run(1, "test batches in one test loss", least=1, below=2**31)
    sample_every: int = _run(5000, "steps between sample grids; 0 is never", least=0, below=2**62)
    num_sample_images: int = _run(
        25, "images in a sample grid", least=1, below=2**31, given_below=2**16
    )
    metric_every: int = _run(
        0, "steps between figures of quality; 0 is never", least=0, below=2**62
    )
    metric: str = _run(
        "fid",
        "fid, kid, is, precision, recall, accuracy: what is best",
        pattern=("|".join(QUALITY_METRICS), " or ".join(QUALITY_METRICS)),
    )
    metric_samples: int = _run(
        1000, "samples that it is of", least=10, below=2**31, given_below=10_000_001
    )
    metric_features: str = _run(
        "train", "by which network: as --features of ncsn evaluate", path=True, reads=ANY_NAME
    )
    inception: str = _run("", "file of the Inception graph of 2015", path=True, reads=())
    checkpoint_every: int = _run(5000, "steps between checkpoints", least=1, below=2**62)
    keep_checkpoints: int = _run(5, "checkpoints kept", least=1, below=2**31)
    ema_every: int = _run(
        0, "steps between --ema_power snapshots; 0: 1/20 of the run", least=0, below=2**62
    )
    num_virtual_devices: int = _run(
        0, "virtual CPU devices; 0 leaves the CPU whole", least=0, below=257
    )
    cluster_timeout: float = _run(
        300.0, "seconds to wait for other workers at the start", above=0, below=1e6
    )
    deterministic: bool = _run(False, "bit-reproducible operations, slower")
    training_tile: int = _run(
        0, "images in the network at once; 0 suits the device", least=0, below=2**20
    )
    jit_compile: Switch = _run(AUTO, "compile the training step with XLA; auto: on a GPU")
    recompute: bool = _run(False, "less memory for large images, a third more work")
    steps_per_execution: int = _run(
        1, "training steps in one call of the device", least=1, below=2**31
    )
    export: bool = _run(True, "export the sampler as a SavedModel at the end")
    stopped_code: int = _run(
        0, "exit code when a signal ends the run before its end", least=0, below=256
    )

    def __post_init__(self):
        with contextlib.suppress(ValueError):  # `validate` says what is wrong with it
            object.__setattr__(self, "image_size", as_setting(self.image_size))
        if isinstance(self.class_names, list):  # of JSON
            object.__setattr__(self, "class_names", tuple(self.class_names))
        for name, value in settle_network(self).items():
            object.__setattr__(self, name, value)
        self.validate()
        for name, value in settle_sampler(self).items():
            object.__setattr__(self, name, value)

    def validate(self) -> None:
        """Raise a ConfigError for the first setting that cannot be used."""
        check_options(self)
        for rule in RULES:
            rule(self)

    def check_replicas(self, num_replicas: int) -> None:
        """Raise a ConfigError unless the global batch splits evenly over the replicas."""
        if self.batch_size % num_replicas:
            raise ConfigError(
                f"{show('batch_size', self.batch_size)} cannot be split evenly over "
                f"{num_replicas} replicas; use a multiple of {num_replicas}"
            )

        tile = self.training_tile
        share = self.batch_size // num_replicas
        if tile and share % min(tile, share):
            raise ConfigError(
                f"{show('training_tile', tile)} must divide the {share} images of a replica's batch"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        return (*sides(self.image_size), self.channels)

    @property
    def num_classes(self) -> int:
        """K, the classes that the network knows; 0 of a run that is not class-conditional."""
        return len(self.class_names)

    @property
    def run_dir(self) -> Path:
        """The run's folder: workdir, or runs/<dataset> when that is empty."""
        if self.workdir:
            return user_path(self.workdir)
        return Path("runs") / re.sub(r"[^\w.+-]", "-", self.dataset)

    def settled(self) -> "Config":
        """With what was done before there was a choice in place of "auto": float32, without XLA.

        What a stored run means that says "auto"; training puts what suits its device there first.

        Example:
            >>> Config().settled().precision, Config(jit_compile=True).settled().jit_compile
            ('float32', True)
        """
        precision = PRECISIONS[0] if self.precision == AUTO else self.precision
        return dataclasses.replace(self, precision=precision, jit_compile=self.jit_compile is True)

    def to_dict(self) -> dict[str, Any]:
        """{setting: value}, all of them; `from_dict` reads it back.

        Example:
            >>> Config().to_dict()["dataset"]
            'cifar10'
        """
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """The Config that `to_dict` described.

        A setting that is missing is newer than the dict and has its default, which is what was
        done before there was a choice; a ConfigError names an unknown one.

        Example:
            >>> Config.from_dict({"features": 64}) == Config(features=64)
            True
        """
        names = [field.name for field in dataclasses.fields(cls)]
        unknown = [name for name in values if name not in names]
        if unknown:
            raise ConfigError(f"unknown setting: {', '.join(unknown)}")
        return cls(**values)

    def to_json(self) -> str:
        """`to_dict` as JSON text; `from_json` reads it back."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Config":
        """The Config that `to_json` wrote, by the rules of `from_dict`."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"not valid JSON: {error}") from None
        if not isinstance(values, dict):
            raise ConfigError("not a JSON object of settings")
        return cls.from_dict(values)

    def save(self, path: str | Path) -> None:
        """Write the JSON in one move: a reader sees the old file or the new one, never a part."""
        write_atomically(path, lambda file: file.write_text(self.to_json(), encoding="utf-8"))

    @classmethod
    def load(cls, path: str | Path) -> "Config":
        """The Config in a file that `save` wrote."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None


def differences(old: Config, new: Config) -> list[str]:
    """One line for each setting that must not change when a run is resumed, but did.

    Example:
        >>> differences(Config(seed=1), Config(seed=2, num_steps=7))
        ['--seed: the run has 1, the command says 2']
    """
    return [
        _difference(field, getattr(old, field.name), getattr(new, field.name))
        for field in dataclasses.fields(old)
        if not field.metadata["runtime"] and getattr(old, field.name) != getattr(new, field.name)
    ]


def _difference(field, old, new):
    if field.metadata["flag"]:
        return f"--{field.name}: the run has {show_value(old)}, the command says {show_value(new)}"
    old, new = (show_value(value) or "none" for value in (old, new))
    return f"{field.name}: the run has {old}, the data have {new}"
