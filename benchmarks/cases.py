"""The cases of a measurement: every combination of the flags that take a list."""

import dataclasses
import itertools

from ncsn_tf.backend.choices import THIRD_MODELS
from ncsn_tf.backend.sizes import ImageSize
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.flags import parse_config
from ncsn_tf.settings.options import KINDS, option, show

_BOOLEANS = {"true": True, "false": False}
PYTORCH_MODELS = ("ncsn", "ncsnpp", "ddpmpp")

# Flags that take a list, and of which every combination is measured: the setting that each gives,
# and its kind. All but onednn are settings of a run's `Config`.
LISTS = {
    "dataset": ("dataset", str),
    "model": ("model", str),
    "features": ("features", int),
    "batch_sizes": ("batch_size", int),
    "precision": ("precision", str),
    "jit_compile": ("jit_compile", bool),
    "recompute": ("recompute", bool),
    "dropout": ("dropout", float),
    "ema_decay": ("ema_decay", float),
    "num_virtual_devices": ("num_virtual_devices", int),
    "sampling_tile": ("sampling_tile", int),
    "onednn": ("onednn", bool),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
        config: the `Config` of its run.
        settings: {setting: value} of the lists, in the order of the flags.
    """

    config: Config
    settings: dict

    @property
    def onednn(self) -> bool:
        return self.settings.get("onednn", True)


@dataclasses.dataclass(frozen=True)
class Options:
    """What all measurements share."""

    image_size: ImageSize = option(32, "side of the images, or 48x64", "images", least=4)
    channels: int = option(3, "1 for grey, 3 for colour", "images", choices=(1, 3))
    out: str = option("", "JSON file; empty is build/benchmarks/<measurement>.json", "output")

    def cases(self) -> list[Case]:
        """Every combination of the lists.

        Raises:
            ConfigError: a list or a combination that cannot be used.
        """
        names = [field.name for field in dataclasses.fields(self) if field.name in LISTS]
        lists = [parse_list(name, getattr(self, name), LISTS[name][1]) for name in names]
        keys = [LISTS[name][0] for name in names]
        return [
            self._case(dict(zip(keys, values, strict=True))) for values in itertools.product(*lists)
        ]

    def _case(self, settings):
        given = {key: value for key, value in settings.items() if key != "onednn"}
        base = self.base_config(given.get("dataset", "cifar10"), given.get("model", "ncsn"))
        if getattr(self, "pytorch", False) and base.model not in PYTORCH_MODELS:
            raise ConfigError(
                f"{show('pytorch', True)} is for --model={' or '.join(PYTORCH_MODELS)}, not "
                f"{base.model}: there is no other network in PyTorch"
            )
        config = dataclasses.replace(base, **given, **self.fixed_settings())
        config.check_replicas(config.num_virtual_devices or 1)
        return Case(config, settings)

    def base_config(self, dataset: str, model: str) -> Config:
        """The data set's experiment, with the images' size of these flags.

        A network of the third generation is the published one, but for its dropout.
        """
        flags = [f"--dataset={dataset}", f"--model={model}"]
        if model in THIRD_MODELS:
            flags += ["--dropout=0", *(["--continuous"] if model in PYTORCH_MODELS else [])]
        base = parse_config(["benchmarks", *flags])
        return dataclasses.replace(base, image_size=self.image_size, channels=self.channels)

    def fixed_settings(self) -> dict:
        """Settings of a run that are the same in all cases: {name: value}."""
        return {}


def parse_list(name: str, text: str, kind: type) -> list:
    """The values of a flag that takes a list.

    Raises:
        ConfigError: names the flag, and what the list must hold.
    """
    parts = [part.strip() for part in text.split(",")]
    try:
        return [_BOOLEANS[part.lower()] if kind is bool else kind(part) for part in parts]
    except (KeyError, ValueError):
        right = f"{KINDS[kind]}, or several with commas between"
        raise ConfigError(f"{show(name, text)} must be {right}") from None
