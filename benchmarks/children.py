"""Measurements in processes of their own: how one is started, and how it answers."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ncsn_tf.commands.console import run_command
from ncsn_tf.errors import UserError
from ncsn_tf.settings.config import Config

_ROOT = Path(__file__).resolve().parent.parent
_OUT_OF_MEMORY = 3


class DoesNotFit(Exception):  # noqa: N818 (an answer, not a mistake)
    """The measurement needs more memory than there is."""


def measure(module: str, config: Config, onednn: bool = True, **parameters: object) -> dict:
    """Run `python -m benchmarks.<module>` and wait for its answer.

    Args:
        module: one of the package's modules that end in `answer`.
        config: the `Config` measured.
        onednn: whether TensorFlow uses oneDNN.
        parameters: what else the module reads; anything that JSON holds.

    Returns:
        the dict that the module's function returned.

    Raises:
        DoesNotFit: the process ran out of memory.
        UserError: it failed; the last line it said.
    """
    environment = {
        **os.environ,
        "TF_ENABLE_ONEDNN_OPTS": str(int(onednn)),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
    }
    request = {"config": dataclasses.asdict(config), "started": time.time(), **parameters}
    command = [sys.executable, "-m", f"benchmarks.{module}", json.dumps(request)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode in (_OUT_OF_MEMORY, -signal.SIGKILL):
        raise DoesNotFit
    if done.returncode:
        raise UserError(_reason(done.stderr) or f"benchmarks.{module}: exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def _reason(stderr):
    """The last line that says something: TensorFlow names the node, in [[ ]], after its message."""
    lines = [line.strip() for line in stderr.splitlines()]
    said = [line for line in lines if line and not line.startswith("[[")]
    return said[-1].removeprefix("error: ") if said else ""


@dataclasses.dataclass
class Request:
    """What a process was asked to measure.

    Attributes:
        config: the run's `Config`.
        started: `time.time()` just before the process was started.
        parameters: the rest, a dict.
    """

    config: Config
    started: float
    parameters: dict

    def age(self) -> float:
        """Seconds since the process was started."""
        return time.time() - self.started


def answer(function: Callable[[Request], dict]) -> None:
    """Be the process: call `function(Request)` and print the dict it returns as one JSON line."""

    def main(argv):
        request = json.loads(argv[1])
        request = Request(Config(**request.pop("config")), request.pop("started"), request)
        try:
            result = function(request)
        except MemoryError:
            sys.exit(_OUT_OF_MEMORY)
        except Exception as error:
            # TensorFlow may not be imported here: its class is known by its name.
            if type(error).__name__ == "ResourceExhaustedError":
                sys.exit(_OUT_OF_MEMORY)
            raise
        print(json.dumps(result))

    run_command(main)
