#!/usr/bin/env python3
"""Train a noise-conditional score network; the same command again resumes the run."""

from ncsn_tf.commands.console import command, run_command

if __name__ == "__main__":
    run_command(command("train"))
