"""`python -m ncsn_tf COMMAND`, which is the console script `ncsn` under another name."""

from ncsn_tf.commands.console import main

if __name__ == "__main__":
    main("python -m ncsn_tf")
