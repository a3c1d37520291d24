"""`ncsn merge`: the images that several processes drew, as one."""

import dataclasses
from pathlib import Path

from ncsn_tf.errors import ConfigError
from ncsn_tf.files import user_path
from ncsn_tf.generation import check_places
from ncsn_tf.generation.shards import merge
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.option_paths import check_inputs
from ncsn_tf.settings.options import option, show

SUMMARY = """\
Put together the images that the shards of ncsn sample drew into one folder:

  ncsn sample --num_samples=50000 --shard=0/2 --out=parts
  ncsn sample --num_samples=50000 --shard=1/2 --out=parts
  ncsn merge --samples=parts --out=samples.npz

Checks that no image is missing or there twice, and that all were drawn with the same settings. The
file is the one that one process would have written, bit for bit, however many shards there were."""

_DEFAULT_OUT = {"npz": "samples.npz", "png": "pictures", "grid": "samples.png"}


@dataclasses.dataclass(frozen=True)
class MergeOptions:
    """The flags of `ncsn merge`."""

    samples: str = option("samples", "the folder of the shards", "source", path=True, reads=())
    out: str = option(
        "",
        "file or folder; empty is samples.npz, pictures/, samples.png",
        "output",
        path=True,
    )
    format: str = option(
        "npz",
        "arrays (images, seeds), single PNGs, or one grid",
        "output",
        choices=("npz", "png", "grid"),
    )

    @property
    def target(self) -> Path:
        """Where the images go."""
        return user_path(self.out or _DEFAULT_OUT[self.format])


def main(argv: list[str]) -> None:
    """Merge what the flags name."""
    options = parse_options(argv, MergeOptions, SUMMARY)
    check_inputs(options)
    folder = user_path(options.samples)
    if options.target.resolve() == folder.resolve():
        raise ConfigError(f"{show('out', options.target)} is the folder of the shards")
    place = {"output": options.target, "format": options.format}
    check_places(0, **place)
    count = merge(folder, **place)
    print(f"Wrote {options.target}, {count} images")
