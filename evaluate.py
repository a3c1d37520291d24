#!/usr/bin/env python3
"""Measure a trained network: bits per dimension and test loss."""

from ncsn_tf.commands.console import run_command
from ncsn_tf.commands.evaluate import main

if __name__ == "__main__":
    run_command(main)
