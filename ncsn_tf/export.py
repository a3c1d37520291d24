"""The sampler as a SavedModel: seeds in, images out, none of this code needed to run it.

    python -m ncsn_tf.export --workdir=runs/cifar10

writes <workdir>/export/<version>/, the layout that TF Serving watches.
"""

import dataclasses
import errno
import json
import os
import platform
import re
import shutil
from pathlib import Path

from ncsn_tf.chain_options import ChainOptions
from ncsn_tf.command_line import parse_options, run_command
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.options import option, show

FOLDER = "export"
METADATA = "metadata.json"
MOST_STEPS_EACH = 1_000_000  # a table of step sizes has an entry for each number of steps
_EXISTS = (errno.EEXIST, errno.ENOTEMPTY)


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
        UserError: no checkpoint, no tensorflow-serving-api, or the place cannot be written.
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
    serving_assets.check_package()
    max_steps_each = _max_steps_each(options, config)
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
    target = _next_version(folder)
    partial = target.with_name(f".{target.name}.{os.getpid()}.{platform.node()}")
    try:
        _remove_leftovers(folder)
        # Nobody trains an export: without the gradients it has half the operations.
        without_gradients = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, str(partial), functions, without_gradients)
        # The probability flow takes its own steps, so that a warm-up would draw a whole image.
        warm_up = config.sampler != "ode"
        serving_assets.write(partial, config.sampling_tile, options.max_batch_size, warm_up)
        (partial / METADATA).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
        target = _appear(partial, target)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"the export {target} cannot be written: {error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def versions(folder):
    """The version numbers in an export folder, rising."""
    return sorted(int(path.name) for path in Path(folder).glob("*") if path.name.isdecimal())


def _max_steps_each(options, config):
    """The most steps a level of a request; a ConfigError where they or the chain's are too many."""
    most = min(MOST_STEPS_EACH, (2**31 - 1) // config.num_levels)  # steps are counted in int32
    steps, max_steps = config.num_steps_each, options.max_steps_each
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


def _next_version(folder):
    return Path(folder) / str(max(versions(folder), default=0) + 1)


def _appear(partial, target):
    """Rename the finished export; to the next number if another export took its own meanwhile."""
    while True:
        try:
            os.rename(partial, target)
            return target
        except OSError as error:
            if error.errno not in _EXISTS:
                raise
        target = _next_version(target.parent)


def _remove_leftovers(folder):
    """Remove what exports of this machine left when they were killed."""
    for path in Path(folder).glob(".*"):
        match = re.fullmatch(r"\.\d+\.(\d{1,9})\.(.*)", path.name)
        if match and match[2] == platform.node() and not _runs(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def _runs(process):
    """Whether another process with that id is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def _versions():
    import keras
    import numpy as np
    import tensorflow as tf

    return {
        "tensorflow": tf.__version__,  # whose distribution may be tensorflow-cpu
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
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
