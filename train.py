#!/usr/bin/env python3
"""Train a noise-conditional score network; the same command again resumes the run."""

from ncsn_tf.commands.console import run_command
from ncsn_tf.commands.train import main

if __name__ == "__main__":
    run_command(main)
