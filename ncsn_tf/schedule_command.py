"""The work of `python -m ncsn_tf.schedule`: the flags of NCSNv2 for a data set, from its images."""

import dataclasses
import math
import shlex
from pathlib import Path
from typing import Optional

from ncsn_tf import schedule
from ncsn_tf.command_line import parse_config, parse_options
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.options import option, show

SUMMARY = """\
Choose the noise levels and sampling steps of NCSNv2 for a data set, by the techniques of Song &
Ermon 2020, and print them as flags of train.py:

  python -m ncsn_tf.schedule --dataset=image_folder --data_dir=pictures --image_size=64"""

_MEMORY = 2**30  # bytes of pixels that are read unless --num_images says otherwise
_DATA = ("dataset", "data_dir", "image_size", "channels", "crop_size")


@dataclasses.dataclass(frozen=True)
class ScheduleOptions:
    """The flags of `python -m ncsn_tf.schedule`; those without a default have the data set's."""

    dataset: str = option("cifar10", "a TFDS name, digits, or image_folder", "data")
    data_dir: str = option("", "where TFDS keeps its data, or image_folder's folder", "data")
    image_size: Optional[int] = option(  # noqa: UP045 (a type that the flag parser reads)
        None, "side of the square images, in pixels", "data", least=4
    )
    channels: Optional[int] = option(  # noqa: UP045
        None, "1 for grey, 3 for colour", "data", choices=(1, 3)
    )
    crop_size: Optional[int] = option(  # noqa: UP045
        None, "centre crop before resizing, in pixels; 0 is none", "data", least=0
    )
    num_images: int = option(
        0, "images to measure; 0 is all, or as many as fit 1 GiB", "data", least=0
    )
    sigma_end: float = option(0.01, "smallest noise level", "schedule", above=0)
    num_steps_each: Optional[int] = option(  # noqa: UP045
        None, "Langevin steps a level; empty is 5 up to 64 pixels, else 3", "schedule", least=1
    )
    write: str = option("", "also write the flags to this file", "output")
    overwrite: bool = option(False, "replace the file of --write if it exists", "output")


def main(argv):
    program = ["python -m ncsn_tf.schedule", *argv[1:]]
    options = parse_options(program, ScheduleOptions, SUMMARY)
    target = Path(options.write).expanduser() if options.write else None
    if target is not None and target.exists() and not options.overwrite:
        raise ConfigError(f"{show('write', options.write)} exists: another name, or --overwrite")
    config = experiment(options)

    from ncsn_tf.runtime import start_tensorflow

    start_tensorflow()
    config, reasons = with_schedule(config, *measure(config, options.num_images))
    train = f"python train.py --flagfile={shlex.quote(options.write or 'FILE')}"
    text = flagfile(config, reasons, train)
    print(text, end="")
    if target is not None:
        from ncsn_tf.images import write_atomically

        write_atomically(target, lambda path: path.write_text(text, encoding="utf-8"))
        print(f"\n# Wrote {options.write}; to train: {train}")


def experiment(options):
    """NCSNv2's settings for a data set, all but its noise levels and step size.

    Batch size, training steps and features are those of the data set's flagfile if it has one.

    Raises:
        ConfigError: the data set's image size is not known, or not one the network can have.
    """
    given = {name: getattr(options, name) for name in _DATA}
    flags = [show(name, value) for name, value in given.items() if value not in (None, "")]
    config = parse_config(["train.py", *flags])
    size = config.image_size
    name = Path(options.write).stem if options.write else f"{config.run_dir.name}_ncsnv2"
    return dataclasses.replace(
        config,
        model="ncsnv2",
        depth="base" if size <= 64 else "deeper" if size <= 128 else "deepest",
        dequantize=False,
        sigma_begin=max(1.0, 2 * options.sigma_end),  # replaced once the images are measured
        sigma_end=options.sigma_end,
        learning_rate=1e-4,
        adam_epsilon=1e-8 if size <= 128 else 1e-3,
        ema_decay=0.999,
        num_steps_each=options.num_steps_each or (5 if size <= 64 else 3),
        denoise=True,
        workdir=f"runs/{name}",
    )


def measure(config, num_images=0):
    """The largest distance between two training images.

    Args:
        config: a `Config`: data set, size and crop.
        num_images: images to measure; 0 is as many as fit 1 GiB.

    Returns:
        (distance, images measured, images in the training split).

    Raises:
        UserError: what `sources.run_source` raises, or images that are all the same.
    """
    from tqdm import tqdm

    from ncsn_tf.data import load_pixels
    from ncsn_tf.distances import max_pairwise_distance
    from ncsn_tf.sources import run_source

    source = run_source(config, "train")
    wanted = num_images or _MEMORY // math.prod(config.image_shape)
    count = min(source.num_examples, max(2, wanted))
    with tqdm(total=count, desc="reading", unit="image", disable=None) as bar:
        pixels = load_pixels(source, count, bar.update)
    with tqdm(total=count, desc="distances", unit="image", disable=None) as bar:
        distance, _ = max_pairwise_distance(pixels, bar.update)
    if distance <= config.sigma_end:
        raise UserError(
            f"the {count} images of {config.dataset} are at most {distance:g} apart, not more "
            f"than {show('sigma_end', config.sigma_end)}: are they all the same?"
        )
    return distance, count, source.num_examples


def with_schedule(config, distance, count, total):
    """The settings with techniques 1, 2 and 4 applied, and {setting: what it is and why}.

    Args:
        config: a `Config` as from `experiment`.
        distance, count, total: what `measure` returns.
    """
    sigma_begin = _round_up(distance)
    dimension = math.prod(config.image_shape)
    levels = schedule.choose_num_levels(sigma_begin, config.sigma_end, dimension)
    ratio = (sigma_begin / config.sigma_end) ** (1.0 / (levels - 1))
    steps = config.num_steps_each
    step_lr = float(f"{schedule.choose_step_lr(config.sigma_end, ratio, steps):.3g}")
    variance = schedule.variance_ratio(step_lr, config.sigma_end, ratio, steps)
    reasons = {
        "sigma_begin": f"Technique 1: the largest distance, {distance:.4f}, between two of "
        f"{count:,} of {total:,} images; rounded up.",
        "num_levels": f"Technique 2 for D = {dimension:,}: the ratio of neighbouring levels is "
        f"{ratio:.4f}.",
        "step_lr": f"Technique 4: the least variance a level can end with, {variance:.4f} of "
        "its own.",
    }
    config = dataclasses.replace(
        config, sigma_begin=sigma_begin, num_levels=levels, step_lr=step_lr
    )
    return config, reasons


_REASONS = {
    "dataset": "The images.",
    "data_dir": None,
    "image_size": None,
    "channels": None,
    "crop_size": None,
    "random_flip": "Whether half of the training images are mirrored.",
    "dequantize": "NCSNv2 adds no noise of one grey level.",
    "model": "Technique 3: the score is divided by the noise level.",
    "depth": "By the size of the images: base up to 64 pixels, deeper up to 128, deepest above.",
    "features": "Channels of the first stage; 128 in all published experiments.",
    "sigma_end": "As in all published experiments, unless given.",
    "num_steps_each": "T: 5 up to 64 pixels, else 3, as in the published experiments, or as given.",
    "denoise": "One noise-free step at the end.",
    "batch_size": "Images a step.",
    "num_steps": "Training steps.",
    "learning_rate": "Adam's step size in all published experiments.",
    "adam_epsilon": "Adam's epsilon: 1e-8, and 1e-3 above 128 pixels.",
    "ema_decay": "Technique 5: samples are drawn with averaged weights.",
    "workdir": "Where the run is kept.",
}
_WRITTEN = (
    *_DATA,
    *("random_flip", "dequantize", "model", "depth", "features"),
    *("sigma_begin", "sigma_end", "num_levels"),
    *("batch_size", "num_steps", "learning_rate", "adam_epsilon", "ema_decay"),
    *("step_lr", "num_steps_each", "denoise", "workdir"),
)


def flagfile(config, reasons, train):
    """The text of a flagfile: each setting below its reason; its flags give `config` again."""
    lines = [
        "# NCSNv2, its noise levels chosen by the techniques of Song & Ermon 2020",
        f"# (arXiv:2006.09011) for these images. To train: {train}",
    ]
    for name in _WRITTEN:
        value = getattr(config, name)
        if value == "":
            continue
        reason = {**_REASONS, **reasons}[name]
        if reason is not None:
            lines += ["", f"# {reason}"]
        lines.append(show(name, value))
    return "\n".join(lines) + "\n"


def _round_up(distance):
    """The next number of three digits, or the number itself: 48.913 -> 49.0, 1.11 -> 1.11."""
    unit = 10.0 ** (math.floor(math.log10(distance)) - 2)
    # What is above by rounding alone is not above: 1.11 / 0.01 is 111.00000000000001.
    return float(f"{math.ceil(distance / unit * (1 - 1e-12)) * unit:.3g}")
