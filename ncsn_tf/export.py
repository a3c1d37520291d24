"""The sampler as a SavedModel: seeds in, images out, none of this code needed to run it.

    python -m ncsn_tf.export --workdir=runs/cifar10

writes <workdir>/export/<version>/, the layout that TF Serving watches.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path

from ncsn_tf.command_line import parse_options, run_command
from ncsn_tf.config import option
from ncsn_tf.errors import UserError

FOLDER = "export"
METADATA = "metadata.json"


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """The flags of `python -m ncsn_tf.export`."""

    workdir: str = option("", "the run; empty is the newest in runs/", "export")
    average: bool = option(True, "the averaged weights, where the run has them", "export")


def export_run(run_dir, use_average=True):
    """Export the newest checkpoint of a run as the next version.

    Args:
        run_dir: the run's folder.
        use_average: take the averaged weights where the run kept an average.

    Returns:
        Path of the new version. It appears complete, in one move.

    Raises:
        UserError: no checkpoint, or the place cannot be written.
    """
    from ncsn_tf import checkpoints

    path = checkpoints.latest(run_dir)
    network, config, step, is_average = checkpoints.load_network(path, use_average)
    metadata = {
        "training_step": step,
        "weights": "average" if is_average else "raw",
        "config": json.loads(config.to_json()),
        "versions": _versions(),
    }
    return save_sampler(network, config, Path(run_dir) / FOLDER, metadata)


def save_sampler(network, config, folder, metadata):
    """Write the network's sampler to folder/<next version>/. Arguments as in `export_run`."""
    import tensorflow as tf

    module = sampler_module(network, config)
    version = max(versions(folder), default=0) + 1
    partial = Path(folder) / f".{version}.{os.getpid()}"
    target = Path(folder) / str(version)
    try:
        tf.saved_model.save(
            module, str(partial), signatures={"serving_default": module.serving_default}
        )
        (partial / METADATA).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
        os.rename(partial, target)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"the export {target} cannot be written: {error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def sampler_module(network, config):
    """A `tf.Module` whose `serving_default` maps seeds, int64 [B], to images, uint8 [B, H, W, C].

    The weights are attached as raw variables: a Keras 3 model on a module is saved in a form that
    TF Serving cannot restore.
    """
    import tensorflow as tf

    from ncsn_tf import sampling
    from ncsn_tf.compat import raw_variables
    from ncsn_tf.schedule import geometric_sigmas

    sigmas = geometric_sigmas(config.sigma_begin, config.sigma_end, config.num_levels)

    def draw(seed):
        images = sampling.annealed_langevin(
            network,
            seed,
            config.image_shape,
            sigmas,
            config.step_lr,
            config.num_steps_each,
            denoise=config.denoise,
            tile=config.sampling_tile,
        )
        return {"images": sampling.to_uint8(images)}

    module = tf.Module()
    module.weights = raw_variables(network)
    signature = [tf.TensorSpec([None], tf.int64, name="seed")]
    module.serving_default = tf.function(draw, input_signature=signature, autograph=False)
    return module


def versions(folder):
    """The version numbers in an export folder, rising."""
    return sorted(int(path.name) for path in Path(folder).glob("*") if path.name.isdecimal())


def _versions():
    from importlib.metadata import version

    return {name: version(name) for name in ("tensorflow", "keras")}


def main(argv):
    options = parse_options(argv, ExportOptions, "Export a run's sampler as a SavedModel.")
    from ncsn_tf.runtime import start_tensorflow

    start_tensorflow()
    from ncsn_tf.checkpoints import newest_run

    run_dir = Path(options.workdir).expanduser() if options.workdir else newest_run()
    print(f"Exported {export_run(run_dir, options.average)}")


if __name__ == "__main__":
    run_command(main)
