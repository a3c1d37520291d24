"""The two sides of a comparison: what is compared with, and samples that are drawn or there."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ncsn_tf.data.class_names import names_of
from ncsn_tf.data.of_classes import of_classes
from ncsn_tf.errors import ConfigError, UserError, inform
from ncsn_tf.evaluation.features import FeatureNetwork
from ncsn_tf.evaluation.measure import FOLDER
from ncsn_tf.evaluation.quality.asked import Asked, of_seeds, read_asked
from ncsn_tf.evaluation.quality.image_sets import FirstImages, Images
from ncsn_tf.evaluation.quality.images import FileImages, open_images
from ncsn_tf.evaluation.quality.reference import (
    is_moments,
    of_images,
    read_moments,
    reference_of,
)
from ncsn_tf.evaluation.quality.sets import FeatureSet
from ncsn_tf.files import digest, hold
from ncsn_tf.settings.labels import Labels
from ncsn_tf.training.run_data import run_source

_BLOCK = 100  # images in a file of drawn samples: as many are lost at most with each end


class Drawing(Protocol):
    """Draws samples into files; made by the command, from a checkpoint or an export.

    Attributes:
        known: what figures say of where their samples are from: `sampler`, `weights`, `step` and
            `source` of `Figure`.
        labels: the classes of the images, if they have any.
    """

    known: Mapping[str, Any]
    labels: Labels | None

    def about(self) -> dict[str, object]:
        """What decides the images besides their seeds, as JSON can hold it."""

    def draw(self, folder: Path, first_seed: int, count: int, block: int) -> list[Path]:
        """Files of images of these seeds, `block` of them in each; those that are there stay."""


class Real:
    """The images that are compared with, opened before anything is drawn."""

    def __init__(self, config, reference, split, num_images, classes=()):
        self._classes = [] if reference else [*classes]
        self._config, self._reference, self._split = config, reference, split
        self._limit = num_images
        self.is_moments = bool(reference) and is_moments(reference)
        self.channels = 0 if config is None else config.channels
        self._images = self._source = self._shape = self.count = None
        self.class_names = ()  # of the images' labels, where they have any
        if reference and not self.is_moments:
            self._images = open_images(reference, self.channels)
            self._shape, self.count = self._images.shape, self._images.count
            self.channels = self._shape[2]
        elif not reference:
            if config is None:
                raise ConfigError(
                    "there is no run whose images could be compared with: name one with "
                    "--workdir, or a file or folder with --reference"
                )
            self._source = source = run_source(config, split)
            if source.labels is not None:
                named = names_of(source.labels, source.classes) if source.classes else ()
                self.class_names = config.class_names or named
            if self._classes:
                names = [config.class_names[label] for label in self._classes]
                self._source = of_classes(self._source, self._classes, names)
            self._shape, self.count = self._source.image_shape, self._source.num_examples

    def check(self, images: Images) -> None:
        """Raise a UserError for samples of another size."""
        if self._shape is not None and images.shape != self._shape:
            real = self._reference or self._source.name
            raise UserError(
                f"{images.name} has images of {list(images.shape)}, {real} of "
                f"{list(self._shape)}: give such of the same size"
            )

    def features(self, network: FeatureNetwork, keep: int, cache_dir: str) -> FeatureSet:
        """The `FeatureSet`."""
        if self.is_moments:
            return read_moments(self._reference, network)
        if self._reference:
            return of_images(self._images, network, keep, cache_dir)
        given = {"split": self._split, "num_images": self._limit, "source": self._source}
        found = reference_of(self._config, network, keep=keep, **given)
        if self._classes:
            named = f"{found.label}-of-{self._named()}"
            found.label = found.against = named
        return found

    def _named(self):
        return "+".join(self._config.class_names[label] for label in self._classes)

    def words(self, compared: FeatureSet) -> str:
        """What it is, for people."""
        if self.is_moments:
            return f"the mean and covariance in {self._reference}"
        if self._reference:
            return f"{compared.count} images of {self._reference}"
        kind = "training" if self._split == "train" else "test"
        classes = f", {self._named()}" if self._classes else ""
        return f"{compared.count} {kind} images of {self._config.dataset}{classes}"


class Drawn:
    """A seed range of samples that are drawn, or are there already."""

    def __init__(self, drawing, run_dir, first, count):
        self._drawing, self._range = drawing, (first, count)
        self.count = count
        self.folder = samples_folder(run_dir, drawing)
        self.known = {**drawing.known, "seeds": self._range}

    @contextlib.contextmanager
    def open(self) -> Iterator[Images]:
        """The images, drawn; nobody else draws or measures them meanwhile."""
        lock = self.folder.with_name(f"{self.folder.name}.lock")
        doing = f"the samples in {self.folder} are being drawn and measured"
        with hold(lock, doing, "let others draw parts of them with --shard=i/n"):
            inform(f"samples are kept in {self.folder}")
            paths = self._drawing.draw(self.folder, *self._range, _BLOCK)
            images = FileImages(paths, str(self.folder))
            yield FirstImages(images, self._range[1])

    def asked(self) -> Asked:
        """The classes that were asked for; a UserError where there are none."""
        labels = self._drawing.labels
        if labels is None:
            raise UserError("the samples are of a network that knows no classes")
        first, count = self._range
        return of_seeds(labels, range(first, first + count))

    def cache(self) -> Path | None:
        """Where its features are kept."""
        return self.folder


class Given:
    """Images that are there."""

    def __init__(self, images, count, class_names=()):
        self._all, self._class_names = images.count, class_names
        self._images = FirstImages(images, count or images.count)
        self.count = self._images.count
        self.known = {"source": images.name}

    @contextlib.contextmanager
    def open(self) -> Iterator[Images]:
        """The images."""
        yield self._images

    def asked(self) -> Asked:
        """The classes that their files tell; a UserError where they tell none."""
        found = read_asked(self._images.name, self._all, self._class_names)
        return found._replace(labels=found.labels[: self.count])

    def cache(self) -> Path | None:
        """Their features are not kept."""
        return None


def samples_folder(run_dir: Path, drawing: Drawing) -> Path:
    """Where samples of a run are kept: another folder for other weights or another chain."""
    text = json.dumps(drawing.about(), sort_keys=True)
    return run_dir / FOLDER / f"samples-{digest([text.encode()])}"


def draw_shard(drawing: Drawing, run_dir: Path, shard: Any, seed: int, count: int) -> list[Path]:
    """Draw a part of the samples of `evaluate_quality`, and measure nothing.

    Args:
        drawing: whose `draw` takes a `shard`.
        run_dir: the run's folder.
        shard: which part.
        seed, count: of all parts together.
    """
    return drawing.draw(samples_folder(run_dir, drawing), seed, count, _BLOCK, shard=shard)
