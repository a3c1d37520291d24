"""Images from the network of a run's checkpoint."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ncsn_tf.data.images import to_uint8
from ncsn_tf.errors import UserError
from ncsn_tf.files import digest
from ncsn_tf.generation.conditions import Condition, open_condition
from ncsn_tf.sampling.sampler import Sampler, in_batches
from ncsn_tf.settings.chain import change_chain
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.labels import Labels, choose_labels, evaluations_of, say_labels
from ncsn_tf.settings.sampler_choice import tell_choice
from ncsn_tf.training.checkpoints import Run
from ncsn_tf.training.run_sampler import chain_score, sampler_of

MOVIE_IMAGES = 25
_MOST_SAMPLERS = 4  # that are kept: each has graphs of its own
# The settings that decide a run's images, besides its weights.
_DECIDING = tuple(
    field
    for field in dataclasses.fields(Config)
    if field.metadata["group"].startswith(("network", "noise", "sampling"))
)


class Opened:
    """A run whose weights are loaded, under the strategy of that time: origins for any settings.

    Args:
        run: as of `averages.open_weights`.
    """

    def __init__(self, run: Run):
        self.run = run
        self._samplers = {}

    def origin(
        self,
        *,
        chain: Mapping[str, object] | None = None,
        condition: Mapping[str, object] | None = None,
        label: str | int | Sequence[str | int] | None = None,
        guidance: float = 1.0,
        first_label: int = 0,
        batch_size: int = 64,
        keep_frames: bool = False,
    ) -> "Checkpoint":
        """What draws with these settings.

        The compiled sampler of a chain without a condition is kept for the next call.

        Args:
            chain: settings of the chain that replace the run's; see `settings.chain.change_chain`.
            condition: for conditional sampling, the arguments of `conditions.open_condition`.
            label, guidance: the classes to draw, of a run that knows classes; see
                `settings.labels.choose_labels`.
            first_label: the seed at which they begin, see `settings.labels.Labels`.
            batch_size, keep_frames: see `Checkpoint`.

        Raises:
            ConfigError: settings that the run's network or sampler cannot have, or a class that it
                does not have.
            UserError: a picture or classifier that cannot be used.
        """
        run = self.run
        config = change_chain(run.config, **(chain or {}))
        labels = choose_labels(label, guidance, config.class_names, "this run")
        labels = labels and dataclasses.replace(labels, first=first_label)
        tell_choice(chain or {}, config)
        given = dict(condition or {})
        condition = open_condition(config, **given)
        if condition is None:
            sampler = self._sampler(config)
        else:
            score_fn = condition.score_fn(chain_score(run.network, config))
            sampler = sampler_of(score_fn, config, condition.chain)
            labels = labels and condition.labels(labels)
        print(f"Sampling from {run.run_dir}, {run.origin}")
        say_labels(labels, config.class_names, given.get("classifier"))
        if sampler.num_evaluations is not None:
            print(f"{evaluations_of(labels, sampler.num_evaluations)} network evaluations an image")

        def about():
            """See `Origin`; of conditions only a class, by its classifier's file."""
            guided = {}
            if given.get("classifier"):
                content = Path(given["classifier"]).read_bytes()
                guided = {name: given[name] for name in ("label", "classifier_scale")}
                guided["classifier"] = digest([content])
            return {**about_run(run, config), **guided, **(labels.about() if labels else {})}

        return Checkpoint(
            sampler,
            condition,
            labels=labels,
            batch_size=batch_size,
            keep_frames=keep_frames,
            about=about,
        )

    def _sampler(self, config):
        if config not in self._samplers:
            if len(self._samplers) == _MOST_SAMPLERS:
                del self._samplers[next(iter(self._samplers))]
            self._samplers[config] = sampler_of(self.run.network, config)
        return self._samplers[config]


def about_run(run: Run, config: Config) -> dict[str, object]:
    """What decides the images of a run's checkpoint besides their seeds, as JSON can hold it.

    Args:
        run: the run that was opened.
        config: its `Config`, with the chain's settings.
    """
    values = {field.name: getattr(config, field.name) for field in _DECIDING}
    # Newer settings are told where they are used: shards from before there were any go on.
    newer = {field.name for field in _DECIDING if _is_newer(field)}
    unused = {field.name for field in _DECIDING if values[field.name] == field.default}
    settings = {name: value for name, value in values.items() if name not in newer & unused}
    weights = digest(array.tobytes() for array in run.network.get_weights())
    return {"weights": weights, "step": run.step, **settings}


def _is_newer(field):
    """Whether a setting is newer than shards."""
    of_third = field.metadata["group"].endswith("of the third generation")
    of_classes = ("class_conditional", "class_names")
    return of_third or field.name in ("probability_flow", "first_level_steps", *of_classes)


class Checkpoint:
    """Draws with a network's sampler, piece by piece: an `Origin`.

    Args:
        sampler: a `sampling.sampler.Sampler`, or what has its `pieces`, `evaluations` and `draw`.
        condition: whose chain the sampler draws with, if any.
        labels: the classes of the images, if they have any.
        batch_size: images at a time.
        keep_frames: whether to keep the chain of the first images for a movie.
        about: see `Origin`.

    Attributes:
        frames: None unless they are kept; else a list that takes, while the first batch is drawn,
            the state of its first images after each piece, uint8 [N, H, W, C], and at the end these
            images as they are drawn: denoised, clipped, with what is known of them.
    """

    unit = "piece"

    def __init__(
        self,
        sampler: Sampler,
        condition: Condition | None = None,
        *,
        labels: Labels | None = None,
        batch_size: int = 64,
        keep_frames: bool = False,
        about: Callable[[], dict[str, object]] = dict,
    ):
        self.about = about
        self._sampler = sampler
        self._condition = condition
        self._batch_size = batch_size
        self.inputs = None if condition is None else condition.inputs
        self.labels = labels
        self.frames = [] if keep_frames else None

    def amount(self, num_images: int) -> int:
        """See `Origin`."""
        return math.ceil(num_images / self._batch_size) * len(self._sampler.pieces)

    def images(self, seeds: np.ndarray, bar: tqdm) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `Origin`. Says at the end how many evaluations of the network were needed."""
        counts = []
        for batch, pictures in in_batches(self._draw_batch, seeds, self._batch_size, bar):
            if self._sampler.evaluations is not None:
                counts.extend(evaluations_of(self.labels, self._sampler.evaluations[: len(batch)]))
            yield batch, pictures
        if counts:
            print(f"{np.mean(counts):.0f} network evaluations an image, on average")

    def _draw_batch(self, seeds, advance):
        keep = self.frames == []  # only the first batch's

        def on_piece(state):
            advance()
            if keep:
                self.frames.append(to_uint8(state()[:MOVIE_IMAGES]))

        condition, classes = (), {} if self.labels is None else self.labels.rows(seeds)
        if self._condition is not None:
            seeds, condition = self._condition.rows(seeds)
        samples = self._sampler.draw(seeds, on_piece, condition, **classes)
        diverged = len(samples) - int(np.isfinite(samples).all((1, 2, 3)).sum())
        if diverged:
            raise UserError(
                f"the chains of {diverged} of {len(samples)} images diverged: try a smaller "
                "--step_lr, another --sampler, or a network that was trained for longer"
            )
        pictures = to_uint8(samples)
        if keep:
            self.frames.append(pictures[:MOVIE_IMAGES])
        return pictures
