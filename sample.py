#!/usr/bin/env python3
"""Draw images from a trained network, an exported SavedModel, or a server that runs one."""

from ncsn_tf.commands.console import run_command
from ncsn_tf.commands.sample import main

if __name__ == "__main__":
    run_command(main)
