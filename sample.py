#!/usr/bin/env python3
"""Draw images from a trained network, or from an exported SavedModel."""

from ncsn_tf.command_line import parse_options, run_command
from ncsn_tf.draw import SampleOptions

SUMMARY = """\
Draw images by annealed Langevin dynamics, each from its own seed:

  python sample.py                        from the newest run's newest checkpoint
  python sample.py --saved_model          from the newest run's export (made if there is none)
  python sample.py --saved_model=DIR      from any exported sampler"""


def main(argv):
    options = parse_options(argv, SampleOptions, SUMMARY)
    options.validate()
    from ncsn_tf.runtime import start_tensorflow

    strategy = start_tensorflow(options.num_virtual_devices)
    from ncsn_tf.draw import draw

    print(f"Wrote {draw(options, strategy)}")


if __name__ == "__main__":
    run_command(main)
