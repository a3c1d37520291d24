#!/usr/bin/env python3
"""Draw images from a trained network, an exported SavedModel, or a server that runs one."""

from ncsn_tf.command_line import parse_options, run_command
from ncsn_tf.draw import SampleOptions, draw

SUMMARY = """\
Draw images from a trained network, each from its own seed:

  python sample.py                            from the newest run's newest checkpoint
  python sample.py --saved_model              from the newest run's export (made if there is none)
  python sample.py --saved_model=DIR          from any exported sampler
  python sample.py --server=host:8500         from TensorFlow Serving, over gRPC
  python sample.py --server=http://host:8501  from TensorFlow Serving, over REST

or, from a checkpoint, images of which something is known:

  python sample.py --inpaint=a.png            fills the right half, or --mask
  python sample.py --colorize=a.png           gives the picture colour
  python sample.py --super_resolve=a.png      enlarges it, by --factor
  python sample.py --interpolate=3,8          from the image of seed 3 to the noise of seed 8
  python sample.py --classifier=FILE --label=3   one class; FILE by python -m ncsn_tf.classifier"""


def main(argv):
    options = parse_options(argv, SampleOptions, SUMMARY)
    options.validate()
    print(f"Wrote {draw(options, _strategy(options))}")


def _strategy(options):
    """None when a server draws: then TensorFlow is not started, and no device is taken."""
    if options.server:
        return None
    from ncsn_tf.runtime import start_for_sampling

    num_images = min(options.batch_size, options.num_samples or options.batch_size)
    return start_for_sampling(num_images, options.num_virtual_devices)


if __name__ == "__main__":
    run_command(main)
