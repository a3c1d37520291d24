"""The flags of each measurement."""

import dataclasses
import os

from benchmarks.cases import Case, Options, parse_list
from ncsn_tf.backend.sizes import ImageSize
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.averages import check_kept
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.flags import parse_config
from ncsn_tf.settings.options import option, show


def _list(default, help):
    return option(default, help, "compared (lists: 1,2)")


def _model():
    return _list("ncsn", "networks; ncsnpp and ddpmpp as published, on continuous times")


def _features(default="32,64,128"):
    return _list(default, "channels of the network's first stage")


def _batch_sizes(default):
    return _list(default, "images a step, over all replicas")


def _precision():
    return _list("float32", "float32, mixed_bfloat16")


def _onednn():
    return _list("true", "whether TensorFlow uses oneDNN")


def _devices(default):
    return _list(default, "virtual CPU devices; 0 leaves the CPU whole")


def _pytorch():
    return option(
        False, "also the same network in PyTorch (requirements-pytorch.txt), in turns", "compared"
    )


def _seconds(default):
    return option(default, "time for one measurement", "time", above=0)


def _repeats(default=2):
    return option(default, "times that each case is measured, in turns", "time", least=1)


@dataclasses.dataclass(frozen=True)
class TrainOptions(Options):
    """Seconds a training step on synthetic images."""

    model: str = _model()
    features: str = _features()
    batch_sizes: str = _batch_sizes("4,16")
    precision: str = _precision()
    jit_compile: str = _list("false", "compile the step with XLA")
    recompute: str = _list("false", "keep only the blocks' inputs")
    dropout: str = _list("0", "share that blocks set to 0, of the third generation")
    ema_decay: str = _list("0", "decay of the averaged weights; 0 is off")
    ema_power: str = option(
        "", "also with averages of these lengths kept, as 0.05,0.1, in turns", "compared"
    )
    num_virtual_devices: str = _devices("0")
    onednn: str = _onednn()
    pytorch: bool = _pytorch()
    seconds: float = _seconds(10.0)
    repeats: int = _repeats()

    def cases(self) -> list[Case]:
        cases = super().cases()
        if not self.ema_power:
            return cases
        check_kept(self.ema_power, 0)
        return [
            Case(
                dataclasses.replace(case.config, ema_power=kept),
                {**case.settings, "ema_power": kept},
            )
            for case in cases
            for kept in ("", self.ema_power)
        ]


@dataclasses.dataclass(frozen=True)
class SampleOptions(Options):
    """Seconds a network evaluation, and a Langevin step in the compiled chain."""

    model: str = _model()
    features: str = _features()
    batch_sizes: str = _batch_sizes("4,16")
    precision: str = _precision()
    onednn: str = _onednn()
    pytorch: bool = _pytorch()
    seconds: float = _seconds(10.0)
    repeats: int = _repeats(1)


@dataclasses.dataclass(frozen=True)
class ConvolutionsOptions(Options):
    """Seconds of each shape of convolution alone, and of all that a step has."""

    model: str = _model()
    features: str = _features("128")
    batch_sizes: str = _batch_sizes("4")
    onednn: str = _onednn()
    seconds: float = _seconds(0.5)
    repeats: int = _repeats(1)


@dataclasses.dataclass(frozen=True)
class StartupOptions(Options):
    """Seconds from the start of a process to its first step, or first evaluation of an export."""

    model: str = _model()
    features: str = _features()
    batch_sizes: str = _batch_sizes("4")
    num_virtual_devices: str = _devices("0,2")
    ema_decay: str = _list("0.999", "decay of the averaged weights; 0 is off")
    jit_compile: str = _list("false", "compile the step with XLA")
    saved_model: bool = option(True, "also start from an export of each width", "starts")
    repeats: int = _repeats(1)


@dataclasses.dataclass(frozen=True)
class MemoryOptions(Options):
    """Peak memory of a training step."""

    model: str = _model()
    features: str = _features()
    batch_sizes: str = _batch_sizes("4,16")
    precision: str = _precision()
    ema_decay: str = _list("0", "decay of the averaged weights; 0 is off")
    recompute: str = _list("false", "keep only the blocks' inputs")
    onednn: str = _onednn()
    repeats: int = _repeats(1)


@dataclasses.dataclass(frozen=True)
class DataOptions(Options):
    """Batches a second of the input pipeline, beside those that the training step takes."""

    image_size: ImageSize = option(
        0, "side of the images, or 48x64; 0 is the data set's", "images", least=0
    )
    channels: int = option(0, "channels; 0 is the data set's", "images", choices=(0, 1, 3))
    dataset: str = _list("", "data sets; empty is digits, and cifar10 and mnist with --data_dir")
    features: str = _features("32")
    batch_sizes: str = _batch_sizes("64")
    data_dir: str = option("", "where TFDS keeps its data", "images")
    pictures: str = option(
        "2000,100000", "numbers of pictures in folders that are prepared; empty is none", "images"
    )
    seconds: float = _seconds(15.0)
    repeats: int = _repeats(1)

    def prepared_cases(self) -> list[tuple[int, Case]]:
        """(a number of pictures, the case in which a folder of so many is prepared)."""
        first = self.cases()[0]
        config = dataclasses.replace(
            first.config,
            dataset="image_folder",
            data_dir="made on the spot",
            image_size=self.image_size or 64,
            channels=self.channels or 3,
        )
        numbers = parse_list("pictures", self.pictures, int) if self.pictures else []
        if min(numbers, default=1) < 1:
            raise ConfigError(f"{show('pictures', self.pictures)} must be numbers of at least 1")
        return [
            (number, Case(config, {**first.settings, "dataset": f"{number:,} pictures"}))
            for number in numbers
        ]

    def cases(self) -> list[Case]:
        if self.dataset:
            return super().cases()
        names = "digits,cifar10,mnist" if self.data_dir else "digits"
        return dataclasses.replace(self, dataset=names).cases()

    def base_config(self, dataset: str, model: str) -> Config:
        base = parse_config(["benchmarks", f"--dataset={dataset}"])
        given = {"image_size": self.image_size, "channels": self.channels}
        return dataclasses.replace(base, **{key: value for key, value in given.items() if value})

    def fixed_settings(self) -> dict:
        return {"data_dir": self.data_dir}


@dataclasses.dataclass(frozen=True)
class ServeOptions(Options):
    """Load time of an export, and images a second for several clients at once."""

    features: str = _features("32")
    sampling_tile: str = _list("8", "images in the network at once")
    onednn: str = _onednn()
    num_levels: int = option(10, "noise levels of the chain", "chain", least=1)
    num_steps_each: int = option(1, "Langevin steps at each level", "chain", least=1)
    clients: str = option("1,8,32", "numbers of clients, one after another", "clients")
    server_threads: int = option(
        os.cpu_count() or 1, "requests that run at once without merging", "clients", least=1
    )
    seconds: float = _seconds(12.0)
    repeats: int = _repeats(1)

    def cases(self) -> list[Case]:
        if min(self.client_counts()) < 1:
            raise ConfigError(f"{show('clients', self.clients)} must be numbers of at least 1")
        return super().cases()

    def client_counts(self) -> list[int]:
        """Numbers of clients, one after another."""
        return parse_list("clients", self.clients, int)

    def fixed_settings(self) -> dict:
        return {"num_levels": self.num_levels, "num_steps_each": self.num_steps_each}
