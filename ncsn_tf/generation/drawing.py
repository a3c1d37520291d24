"""Samples for an evaluation: drawn into a folder in blocks, which are kept and added to."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ncsn_tf.generation.checkpoint_origin import Checkpoint, about_run
from ncsn_tf.generation.shards import Shard, check_folder, write_shard
from ncsn_tf.generation.writing import Origin
from ncsn_tf.settings.chain import change_chain
from ncsn_tf.settings.checkpoint import NEWEST
from ncsn_tf.settings.class_flags import GUIDANCE, looked_at
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.labels import EACH, Labels, labelled_settings
from ncsn_tf.settings.sampler_choice import tell_choice
from ncsn_tf.training.averages import open_weights
from ncsn_tf.training.checkpoints import Run
from ncsn_tf.training.run_sampler import chain_settings, sampler_of


@dataclasses.dataclass(frozen=True)
class Drawing:
    """What draws the samples of an evaluation.

    Attributes:
        origin: where they come from.
        config: of the run whose network it is; None where that is not known.
        known: what is known of it, for those that measure the samples: `sampler`, the settings of
            the chain, `weights`, see `Run.kind`, and `step`.
    """

    origin: Origin
    config: Config | None
    known: Mapping[str, Any]

    @property
    def labels(self) -> Labels | None:
        """The classes of the images, if they have any."""
        return self.origin.labels

    def about(self) -> dict[str, object]:
        """See `Origin`."""
        return self.origin.about()

    def draw(
        self,
        folder: Path,
        first_seed: int,
        count: int,
        block: int,
        shard: Shard = Shard(0, 1),  # noqa: B008 (it is frozen)
    ) -> list[Path]:
        """Files of the images of these seeds; those that are there stay as they are.

        Args:
            folder: where they go; other seeds may be drawn into it at other times.
            first_seed, count: the seeds of all shards together.
            block: images in a file.
            shard: which part of them.

        Raises:
            UserError: as of `write_shard`.
        """
        check_folder(folder)
        place = {"folder": folder, "block": block, "is_open": True}
        return write_shard(self.origin, shard, first_seed, count, **place)


def open_drawing(
    workdir: str | os.PathLike = "",
    *,
    checkpoint: str | int = NEWEST,
    average: bool = True,
    ema: float | None = None,
    chain: Mapping[str, object] | None = None,
    label: str = EACH,
    guidance: float = GUIDANCE,
    batch_size: int = 64,
) -> tuple[Drawing, Run]:
    """What draws samples of a run's checkpoint, under the current strategy; and the run.

    Args:
        workdir, checkpoint, average, ema: see `averages.open_weights`.
        chain: settings of the chain that replace the run's; see `settings.chain.change_chain`.
        label, guidance: the classes to draw, of a run that knows classes: all of them in turn, if
            no others are named; see `settings.labels.choose_labels`.
        batch_size: images at a time.

    Raises:
        ConfigError: settings that the run's sampler cannot have, or classes that it does not have.
        UserError: no run, or no checkpoint.
    """
    run = open_weights(workdir, average, checkpoint, ema)
    config = change_chain(run.config, **(chain or {}))
    labels = looked_at(label, guidance, config.class_names)
    said = labels.about() if labels else {}
    tell_choice(chain or {}, config)
    origin = Checkpoint(
        sampler_of(run.network, config),
        labels=labels,
        batch_size=batch_size,
        about=lambda: {**about_run(run, config), **said},
    )
    sampler = labelled_settings(chain_settings(config), labels)
    known = {"sampler": sampler, "weights": run.kind, "step": run.step}
    if run.length is not None:
        known["length"] = run.length
    return Drawing(origin, config, known), run
