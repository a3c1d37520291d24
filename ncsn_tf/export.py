"""The sampler as a SavedModel: seeds in, images out, none of this code needed to run it.

    python -m ncsn_tf.export --workdir=runs/cifar10

writes <workdir>/export/<version>/, the layout that TF Serving watches.
"""

import dataclasses
import json
import os
import platform
import shutil
from pathlib import Path

from ncsn_tf.chain_options import ChainOptions
from ncsn_tf.command_line import parse_options, run_command
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.options import option, show

FOLDER = "export"
METADATA = "metadata.json"


@dataclasses.dataclass(frozen=True)
class ExportOptions(ChainOptions):
    """The flags of `python -m ncsn_tf.export`."""

    workdir: str = option("", "the run; empty is the newest in runs/", "source")
    average: bool = option(True, "the averaged weights, where the run has them", "source")
    max_steps_each: int = option(
        0,
        "most steps a level that a request may ask for; 0 is ten times the chain's",
        "serving",
        least=0,
    )
    conditional: bool = option(
        False, "also inpaint, colorize, super_resolve, interpolate: a larger export", "serving"
    )
    factor: int = option(4, "how much super_resolve enlarges", "serving", least=2)
    classifier: str = option(
        "", "with --conditional, also sample_class by this file's classifier", "serving"
    )
    classifier_scale: float = option(1.0, "weight of the classifier", "serving", least=0)
    max_batch_size: int = option(
        32, "most images that a server merges into one run", "serving", least=1
    )


def export_run(run_dir, options=None):
    """Export the newest checkpoint of a run as the next version.

    Args:
        run_dir: the run's folder.
        options: `ExportOptions`; None is the run's own sampler of its averaged weights.

    Returns:
        Path of the new version. It appears complete, in one move.

    Raises:
        ConfigError: options that contradict each other.
        UserError: no checkpoint, or the place cannot be written.
    """
    from ncsn_tf import checkpoints

    options = options or ExportOptions()
    path = checkpoints.latest(run_dir)
    network, config, step, is_average = checkpoints.load_network(path, options.average)
    about = {"training_step": step, "weights": "average" if is_average else "raw"}
    return save_sampler(network, options.chain(config), Path(run_dir) / FOLDER, about, options)


def save_sampler(network, config, folder, about, options=None):
    """Write a network's sampler to folder/<next version>/.

    Args:
        network: the score network.
        config: the run's `Config`; its sampling settings are the chain's defaults.
        folder: where the versions are; made if missing.
        about: what else `metadata.json` says of the weights, a dict.
        options: `ExportOptions`, of which the serving settings are used.

    Returns and raises what `export_run` does.
    """
    import tensorflow as tf

    from ncsn_tf import serving_assets
    from ncsn_tf.compat import raw_variables
    from ncsn_tf.conditional_signatures import conditional_functions
    from ncsn_tf.conditions import load_classifier
    from ncsn_tf.signatures import SIGNATURES, sampler_module

    options = options or ExportOptions()
    max_steps_each = options.max_steps_each or 10 * config.num_steps_each
    if max_steps_each < config.num_steps_each:
        raise ConfigError(
            f"{show('max_steps_each', max_steps_each)} must be at least the chain's own "
            f"{show('num_steps_each', config.num_steps_each)}"
        )
    for name in ("factor", "classifier", "classifier_scale"):
        value = getattr(options, name)
        if value != getattr(ExportOptions, name) and not options.conditional:
            raise ConfigError(f"{show(name, value)} needs --conditional")
    metadata = {
        **about,
        "max_steps_each": max_steps_each,
        "config": json.loads(config.to_json()),
        "versions": _versions(),
    }
    module = sampler_module(network, config, max_steps_each)
    functions = {name: getattr(module, name) for name in SIGNATURES}
    if options.conditional:
        classifier = None
        if options.classifier:
            classifier = load_classifier(options.classifier, config)
            module.classifier_weights = raw_variables(classifier)
        functions |= conditional_functions(
            network, config, options.factor, options.denoise, classifier, options.classifier_scale
        )
    version = max(versions(folder), default=0) + 1
    partial = Path(folder) / f".{version}.{os.getpid()}"
    target = Path(folder) / str(version)
    try:
        # Nobody trains an export: without the gradients it has half the operations.
        without_gradients = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, str(partial), functions, without_gradients)
        serving_assets.write(partial, config.sampling_tile, options.max_batch_size)
        (partial / METADATA).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
        os.rename(partial, target)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"the export {target} cannot be written: {error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def versions(folder):
    """The version numbers in an export folder, rising."""
    return sorted(int(path.name) for path in Path(folder).glob("*") if path.name.isdecimal())


def _versions():
    from importlib.metadata import version

    return {name: version(name) for name in ("tensorflow", "keras", "numpy")} | {
        "python": platform.python_version()
    }


def main(argv):
    options = parse_options(argv, ExportOptions, "Export a run's sampler as a SavedModel.")
    from ncsn_tf.runtime import start_tensorflow

    start_tensorflow()
    from ncsn_tf.checkpoints import newest_run

    run_dir = Path(options.workdir).expanduser() if options.workdir else newest_run()
    print(f"Exported {export_run(run_dir, options)}")


if __name__ == "__main__":
    run_command(main)
