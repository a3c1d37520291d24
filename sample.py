#!/usr/bin/env python3
"""Draw images from a trained network, an exported SavedModel, or a server that runs one."""

from ncsn_tf.commands.console import command, run_command

if __name__ == "__main__":
    run_command(command("sample"))
