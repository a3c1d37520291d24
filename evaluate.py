#!/usr/bin/env python3
"""Measure a trained network: bits per dimension and test loss."""

from ncsn_tf.commands.console import command, run_command

if __name__ == "__main__":
    run_command(command("evaluate"))
