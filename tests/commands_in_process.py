"""Commands with a network of a few weights, run in the test's own process."""

import importlib
from collections.abc import Callable, Iterable

import pytest
import soak
import tensorflow as tf

from ncsn_tf.commands.console import COMMANDS, run_command


def tiny_commands(patch: pytest.MonkeyPatch, names: Iterable[str]) -> Callable[..., int]:
    """(command, its flags) -> exit code of `ncsn`, on one device."""
    soak.use_tiny_network(patch.setattr)
    modules = {}
    for name in names:
        modules[name] = module = importlib.import_module(f"ncsn_tf.commands.{COMMANDS[name][0]}")
        for start in ("start_tensorflow", "start_for_training", "start_for_sampling"):
            if hasattr(module, start):
                cpu = lambda *_, **__: tf.distribute.OneDeviceStrategy("/cpu:0")  # noqa: E731
                patch.setattr(module, start, cpu)

    def run(command, *flags):
        with pytest.raises(SystemExit) as end:
            run_command(modules[command].main, [f"ncsn {command}", *flags])
        return end.value.code or 0

    return run
