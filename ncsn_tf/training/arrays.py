"""Training on images that are arrays: `ncsn train` for a notebook."""

import os
from collections.abc import Callable, Sequence

import keras
import numpy as np

from ncsn_tf.backend import devices
from ncsn_tf.backend.sizes import as_setting
from ncsn_tf.data.source import from_arrays
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import check_given
from ncsn_tf.settings.published import with_published
from ncsn_tf.training import loop
from ncsn_tf.training.best import MetricOf
from ncsn_tf.training.checkpoints import Run, open_run


def train(
    images: np.ndarray,
    workdir: str | os.PathLike,
    *,
    labels: np.ndarray | None = None,
    class_names: Sequence[str] = (),
    test_images: np.ndarray | None = None,
    test_labels: np.ndarray | None = None,
    measure: Callable[[keras.Model, Config], float] | None = None,
    **settings: object,
) -> Run:
    """Train a network on images, or resume its training, and open the run.

    Args:
        images: the training images: [N, H, W], which are grey, or [N, H, W, C] with C 1 or 3;
            uint8, or float in [0, 1]. H and W are even, or what `--depth` needs.
        workdir: where the run is kept: checkpoints, curves, grids of samples. The same call again
            resumes it.
        labels: the class of each image, [N]: whole numbers from 0, or names. With them the network
            learns the classes (`class_conditional`).
        class_names: the names of the classes, by number; empty where the labels have none, or are
            the names.
        test_images: images for the test loss, of the same size; None leaves it out.
        test_labels: the classes of the test images; without, their loss is that of no label.
        measure: with `metric_every=N`, called every N steps with the network, its averaged weights
            in it where there are any, and the settings; it returns a number, of which the lower is
            the better. `open_run(workdir, checkpoint="best")` is then the best checkpoint.
        **settings: the flags of `ncsn train` by name, such as `features=32` or `num_steps=1000`;
            the others have their defaults, for a model of the third generation those that were
            published for it. Data set and image size are those of the arrays.

    Returns:
        the `Run`: its folder, network, settings and step.

    Raises:
        ValueError: arrays that are not images, or a setting that cannot be used.
        UserError: the folder holds a run with other settings, or cannot be written.

    Example:
        >>> images = np.random.default_rng(0).random([32, 8, 8])
        >>> tiny = {"features": 2, "num_levels": 2, "batch_size": 8, "sample_every": 0}
        >>> run = train(images, "runs/mine", num_steps=3, **tiny)  # doctest: +ELLIPSIS
        Starting runs/mine at step 0 of 3 on ...
        >>> run.step, run.config.image_shape
        (3, (8, 8, 1))
    """
    source = from_arrays(images, labels, classes=class_names)
    test_source = None
    if test_images is not None:
        test_source = from_arrays(test_images, test_labels, "test images", source.classes)
    if labels is not None and not settings.setdefault("class_conditional", True):
        raise ConfigError("labels= is for class_conditional=True")
    if (test_labels is not None and test_images is None) or (len(class_names) and labels is None):
        raise ConfigError("test_labels= needs test_images=, and class_names= needs labels=")
    check_given(Config, settings)
    *size, channels = source.image_shape
    try:
        config = Config(
            dataset="arrays",
            image_size=as_setting(size),
            channels=channels,
            workdir=os.fspath(workdir),
            **with_published(settings),
        )
    except TypeError as error:  # a setting that there is not
        raise ConfigError(str(error).replace("Config.__init__() got an ", "")) from None
    metric = None if measure is None else MetricOf(measure)
    if bool(config.metric_every) != (metric is not None):
        raise ConfigError("metric_every=N and measure=, a function of the network, go together")
    strategy = devices.start(config.num_virtual_devices, config.deterministic)
    loop.train(config, strategy, source=source, test_source=test_source, metric=metric)
    return open_run(config.run_dir)
