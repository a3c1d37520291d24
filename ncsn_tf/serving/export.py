"""The sampler as a SavedModel: seeds in, images out, none of this code needed to run it.

    ncsn export --workdir=runs/cifar10

writes <workdir>/export/<version>/, the layout that TF Serving watches.
"""

import dataclasses
import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf.backend.compat import raw_variables
from ncsn_tf.errors import ConfigError, inform
from ncsn_tf.serving import assets, contract
from ncsn_tf.serving.conditional_signatures import conditional_functions
from ncsn_tf.serving.metadata import METADATA
from ncsn_tf.serving.signatures import sampler_module, sampling_signatures
from ncsn_tf.serving.stored import reading, stored_weights
from ncsn_tf.serving.versions import write_version
from ncsn_tf.settings.chain import change_chain
from ncsn_tf.settings.checkpoint import NEWEST
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import show
from ncsn_tf.settings.sampler_choice import tell_choice
from ncsn_tf.training.averages import open_weights
from ncsn_tf.training.classifier import load_classifier
from ncsn_tf.training.run_sampler import chain_of, goes_by_equation

FOLDER = "export"
MOST_STEPS_EACH = 1_000_000  # a table of step sizes has an entry for each number of steps


@dataclasses.dataclass(frozen=True)
class ConditionalSettings:
    """How an export samples conditionally.

    Attributes:
        factor: how much `super_resolve` enlarges.
        denoise: whether chains that complete images end with a denoising step; None is the run's
            setting for NCSN, and no for NCSNv2.
        classifier: file of a classifier, with which the export also draws one class; "" is none.
        classifier_scale: weight of the classifier.
    """

    factor: int = 4
    denoise: bool | None = None
    classifier: str | os.PathLike = ""
    classifier_scale: float = 1.0


def export_run(
    run_dir: str | os.PathLike,
    *,
    checkpoint: str | int = NEWEST,
    average: bool = True,
    ema: float | None = None,
    max_steps_each: int = 0,
    conditional: ConditionalSettings | None = None,
    max_batch_size: int = 32,
    export_weights: str = "float32",
    folder: str | os.PathLike | None = None,
    **chain: Any,
) -> Path:
    """Export the sampler of a run as the next version.

    Args:
        run_dir: the run's folder.
        checkpoint: "newest", "best" or a step.
        average: whether to export the averaged weights, where the run has them.
        ema: the relative length of the average to export instead, see `averages.open_weights`.
        max_steps_each, conditional, max_batch_size, export_weights: see `save_sampler`.
        folder: where the versions are; None is <run_dir>/export.
        **chain: settings of the chain that replace the run's, see `settings.chain.change_chain`.

    Returns:
        Path of the new version. It appears complete, in one move.

    Raises:
        ConfigError: settings that the export cannot have.
        UserError: no checkpoint, no tensorflow-serving-api, or the place cannot be written.
    """
    run = open_weights(run_dir, average, checkpoint, ema)
    if run.arithmetic:
        inform(f"Exporting {run.run_dir}, {run.origin}")
    config = change_chain(run.config, **chain)
    tell_choice(chain, config)
    return save_sampler(
        run.network,
        config,
        run.run_dir / FOLDER if folder is None else folder,
        {"training_step": run.step, "weights": run.kind},
        max_steps_each=max_steps_each,
        conditional=conditional,
        max_batch_size=max_batch_size,
        export_weights=export_weights,
    )


def save_sampler(
    network: Callable,
    config: Config,
    folder: str | os.PathLike,
    about: Mapping[str, object],
    *,
    max_steps_each: int = 0,
    conditional: ConditionalSettings | None = None,
    max_batch_size: int = 32,
    export_weights: str = "float32",
) -> Path:
    """Write a network's sampler to folder/<next version>/.

    Args:
        network: the score network.
        config: the run's `Config`; its sampling settings are the chain's defaults.
        folder: where the versions are; made if missing.
        about: what else `metadata.json` says of the weights.
        max_steps_each: most steps a level that a request may ask for; 0 is ten times the chain's. 1
            of chains that have the steps of an equation.
        conditional: exports the signatures of conditional sampling too, unless it is None.
        max_batch_size: most images that a server merges into one run.
        export_weights: the type in which the network's weights are stored, "float32" or "float16";
            it computes in float32. A classifier's stay as they are.

    Returns and raises what `export_run` does.
    """
    assets.check_package()
    max_steps_each = _max_steps_each(max_steps_each, config)
    stored = stored_weights(network, export_weights)
    module, functions = _module(network, config, max_steps_each, conditional, stored)
    metadata = {
        **about,
        "stored_in": export_weights,
        "interface": contract.INTERFACE,
        "max_steps_each": max_steps_each,
        "config": json.loads(config.to_json()),
        "versions": _packages(),
    }

    if config.class_names:
        metadata["class_names"] = [*config.class_names]

    def write(path):
        # Nobody trains an export: without the gradients it has half the operations.
        without_gradients = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, str(path), functions, without_gradients)
        # The probability flow takes its own steps, and an equation has its own, so that a warm-up
        # would draw a whole image. (So it does with a solver of few steps, which takes no longer
        # than a request.)
        warm_up = config.sampler != "ode" and not goes_by_equation(config)
        assets.write(
            path, tile=config.sampling_tile, max_batch_size=max_batch_size, warm_up=warm_up
        )
        (path / METADATA).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")

    return write_version(folder, write)


def _module(network, config, max_steps_each, conditional, stored):
    """(what holds the weights, {signature: function}) of an export."""
    module = sampler_module(network, config, max_steps_each, stored)
    functions = {name: getattr(module, name) for name in sampling_signatures(config)}
    if conditional is not None:
        classifier = None
        if conditional.classifier:
            classifier = load_classifier(conditional.classifier, config)
            module.classifier_weights = raw_variables(classifier)
        functions |= conditional_functions(
            reading(network, stored),
            config,
            factor=conditional.factor,
            denoise=conditional.denoise,
            classifier=classifier,
            scale=conditional.classifier_scale,
        )
    return module, functions


def _max_steps_each(max_steps, config):
    """The most steps a level of a request; a ConfigError where they or the chain's are too many."""
    if goes_by_equation(config) and config.sampler == "pc":
        chain_of(config)  # which has one step at each point of the equation
        if max_steps > 1:
            raise ConfigError(
                f"{show('max_steps_each', max_steps)} must be 1 with --sampler=pc: the chain has "
                f"as many steps as its equation, {show('num_levels', config.num_levels)}"
            )
        return 1
    most = min(MOST_STEPS_EACH, (2**31 - 1) // config.num_levels)  # steps are counted in int32
    steps = config.num_steps_each
    for name, value in (("num_steps_each", steps), ("max_steps_each", max_steps)):
        if value > most:
            raise ConfigError(
                f"{show(name, value)} must be at most {most} in an export with "
                f"{show('num_levels', config.num_levels)}"
            )
    if max_steps and max_steps < steps:
        raise ConfigError(
            f"{show('max_steps_each', max_steps)} must be at least the chain's own "
            f"{show('num_steps_each', steps)}"
        )
    return max_steps or min(10 * steps, most)


def _packages():
    """The versions of the packages that run."""
    return {
        "tensorflow": tf.__version__,  # whose distribution may be tensorflow-cpu
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
