"""Commands of `ncsn` in turn in one process, so that TensorFlow starts once for all of them.

    tests/faults/in_turn.py '[["sample", "--num_samples=1"], ["report"]]' [real]

The network is that of `tiny_network`, or the real one. Prints how each command ended, as JSON: see
`runs.in_turn`.
"""

import contextlib
import io
import json
import sys
import traceback

import tiny_network

from ncsn_tf.commands.console import run_command, run_named


def end_of(argv):
    """{"returncode", "stdout", "stderr"} of a command, as if it had been a process."""
    said, complained = io.StringIO(), io.StringIO()
    code = None
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        try:
            run_command(run_named, ["ncsn", *argv])
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
    return {"returncode": code, "stdout": said.getvalue(), "stderr": complained.getvalue()}


if __name__ == "__main__":
    if sys.argv[2:] != ["real"]:
        tiny_network.use()
    print(json.dumps([end_of(argv) for argv in json.loads(sys.argv[1])]))
