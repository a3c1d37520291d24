#!/usr/bin/env python3
"""Measure a trained network: bits per dimension and test loss."""

from ncsn_tf.command_line import parse_options, run_command
from ncsn_tf.evaluation import EvaluateOptions, evaluate

SUMMARY = """\
Measure a trained network on images of its data set:

  python evaluate.py --bits_per_dim    likelihood along the probability-flow ODE, in bits/dim
  python evaluate.py --test_loss       the loss that it was trained with

The same --bits_per_dim command again continues where it was interrupted."""


def main(argv):
    options = parse_options(argv, EvaluateOptions, SUMMARY)
    options.validate()
    from ncsn_tf.runtime import start_for_sampling

    start_for_sampling(options.batch_size)
    evaluate(options)


if __name__ == "__main__":
    run_command(main)
