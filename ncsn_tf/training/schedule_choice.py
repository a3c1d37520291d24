"""The work of `ncsn schedule`: the flags of NCSNv2 for a data set, from its images."""

import dataclasses
import math

from tqdm import tqdm

from ncsn_tf import schedule
from ncsn_tf.backend.sizes import ImageSize
from ncsn_tf.data.batches import load_pixels
from ncsn_tf.errors import UserError
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.flags import parse_config
from ncsn_tf.settings.options import show
from ncsn_tf.training.run_data import run_source

_MEMORY = 2**30  # bytes of pixels that are read unless --num_images says otherwise
_DATA = ("dataset", "data_dir", "image_size", "channels", "crop_size")


def experiment(
    dataset: str = "cifar10",
    *,
    data_dir: str = "",
    cache_dir: str = "",
    image_size: ImageSize | None = None,
    channels: int | None = None,
    crop_size: int | None = None,
    sigma_end: float = 0.01,
    num_steps_each: int | None = None,
    name: str = "",
) -> Config:
    """NCSNv2's settings for a data set, all but its noise levels and step size.

    Batch size, training steps and features are those of the data set's flagfile if it has one. What
    depends on the size of the images goes by their longer side.

    Args:
        dataset, data_dir, cache_dir: the images, as in `Config`.
        image_size, channels, crop_size: as in `Config`; None is what the data set's flagfile says.
        sigma_end: the smallest noise level.
        num_steps_each: Langevin steps a level; None is 5 up to 64 pixels, else 3.
        name: of the run, in runs/; empty is that of the data set with "_ncsnv2".

    Raises:
        ConfigError: the data set's image size is not known, or not one the network can have.

    Example:
        >>> config = experiment("digits")
        >>> config.model, config.image_size, config.num_steps_each, config.workdir
        ('ncsnv2', 8, 5, 'runs/digits_ncsnv2')
    """
    given = {"dataset": dataset, "data_dir": data_dir, "cache_dir": cache_dir}
    given |= {"image_size": image_size}
    given |= {"channels": channels, "crop_size": crop_size}
    flags = [show(key, value) for key, value in given.items() if value not in (None, "")]
    config = parse_config(["train.py", *flags])
    size = max(config.image_shape[:2])
    name = name or f"{config.run_dir.name}_ncsnv2"
    return dataclasses.replace(
        config,
        model="ncsnv2",
        depth="base" if size <= 64 else "deeper" if size <= 128 else "deepest",
        dequantize=False,
        sigma_begin=max(1.0, 2 * sigma_end),  # replaced once the images are measured
        sigma_end=sigma_end,
        learning_rate=1e-4,
        adam_epsilon=1e-8 if size <= 128 else 1e-3,
        ema_decay=0.999,
        num_steps_each=num_steps_each or (5 if size <= 64 else 3),
        denoise=True,
        workdir=f"runs/{name}",
    )


def measure(config: Config, num_images: int = 0) -> tuple[float, int, int]:
    """The largest distance between two training images.

    Args:
        config: a `Config`: data set, size and crop.
        num_images: images to measure; 0 is as many as fit 1 GiB.

    Returns:
        (distance, images measured, images in the training split; where all were read, those of
        them that can be decoded).

    Raises:
        UserError: what `run_source` raises, or images that are all the same.
    """
    source = run_source(config, "train")
    wanted = num_images or _MEMORY // math.prod(config.image_shape)
    asked = min(source.num_examples, max(2, wanted))
    with tqdm(total=asked, desc="reading", unit="image", disable=None) as bar:
        pixels = load_pixels(source, asked, bar.update)
    count = len(pixels)
    # Fewer than were asked for: the others cannot be decoded, and all have been tried.
    total = source.num_examples if count == asked < source.num_examples else count
    with tqdm(total=count, desc="distances", unit="image", disable=None) as bar:
        distance, _ = schedule.max_pairwise_distance(pixels, bar.update)
    if distance <= config.sigma_end:
        raise UserError(
            f"the {count} images of {config.dataset} are at most {distance:g} apart, not more "
            f"than {show('sigma_end', config.sigma_end)}: are they all the same?"
        )
    return distance, count, total


def with_schedule(
    config: Config, distance: float, count: int, total: int
) -> tuple[Config, dict[str, str]]:
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


def flagfile(config: Config, reasons: dict[str, str], train: str) -> str:
    """The text of a flagfile: each setting below its reason; its flags give `config` again.

    Args:
        config, reasons: what `with_schedule` returns.
        train: the command that trains by the file.
    """
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
