"""`ncsn schedule`: the noise levels and sampling steps of NCSNv2 for a data set."""

import dataclasses
import shlex

from ncsn_tf.backend.sizes import ImageSize
from ncsn_tf.commands.start import start_tensorflow
from ncsn_tf.errors import ConfigError
from ncsn_tf.files import user_path, write_atomically
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.option_paths import check_data_dir
from ncsn_tf.settings.options import option, show

SUMMARY = """\
Choose the noise levels and sampling steps of NCSNv2 for a data set, by the techniques of Song &
Ermon 2020, and print them as flags of ncsn train:

  ncsn schedule --dataset=image_folder --data_dir=pictures --image_size=64"""


@dataclasses.dataclass(frozen=True)
class ScheduleOptions:
    """The flags of `ncsn schedule`; those without a default have the data set's."""

    dataset: str = option("cifar10", "of TFDS, digits, robohash_cats, image_folder, arrays", "data")
    data_dir: str = option(
        "",
        "folder of TFDS or of pictures, or a .zip, .tar, .npy, .npz",
        "data",
        path=True,
    )
    cache_dir: str = option(
        "",
        "where decoded images are kept; empty is $NCSN_CACHE",
        "data",
        path=True,
    )
    image_size: ImageSize | None = option(
        None, "side of square images, or height x width: 48x64", "data", least=4, below=2**14
    )
    channels: int | None = option(None, "1 for grey, 3 for colour", "data", choices=(1, 3))
    crop_size: int | None = option(
        None,
        "shorter side of a centre crop before resizing; 0 is none",
        "data",
        least=0,
        below=2**16,
    )
    num_images: int = option(
        0, "images to measure; 0 is all, or as many as fit 1 GiB", "data", least=0, below=2**31
    )
    sigma_end: float = option(0.01, "smallest noise level", "schedule", above=0)
    num_steps_each: int | None = option(
        None,
        "Langevin steps a level; empty is 5 up to 64 pixels, else 3",
        "schedule",
        least=1,
        below=2**31,
    )
    write: str = option("", "also write the flags to this file", "output", path=True)
    overwrite: bool = option(False, "replace the file of --write if it exists", "output")


def main(argv: list[str]) -> None:
    options = parse_options(argv, ScheduleOptions, SUMMARY)
    target = user_path(options.write) if options.write else None
    if target is not None and target.exists() and not options.overwrite:
        raise ConfigError(f"{show('write', options.write)} exists: another name, or --overwrite")
    check_data_dir(options.dataset, options.data_dir)
    start_tensorflow()
    from ncsn_tf.training.schedule_choice import experiment, flagfile, measure, with_schedule

    config = experiment(
        options.dataset,
        data_dir=options.data_dir,
        cache_dir=options.cache_dir,
        image_size=options.image_size,
        channels=options.channels,
        crop_size=options.crop_size,
        sigma_end=options.sigma_end,
        num_steps_each=options.num_steps_each,
        name=target.stem if target is not None else "",
    )
    config, reasons = with_schedule(config, *measure(config, options.num_images))
    train = f"ncsn train --flagfile={shlex.quote(options.write or 'FILE')}"
    text = flagfile(config, reasons, train)
    print(text, end="")
    if target is not None:
        write_atomically(target, lambda path: path.write_text(text, encoding="utf-8"))
        print(f"\n# Wrote {options.write}; to train: {train}")
