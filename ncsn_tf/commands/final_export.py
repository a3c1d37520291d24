"""The export at the end of a training, of which a signal to any worker is an end for all."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import ncsn_tf
from ncsn_tf.backend import signals
from ncsn_tf.backend.cluster import VARIABLE
from ncsn_tf.backend.outcomes import ASKED, NOTE, leave_note
from ncsn_tf.errors import UserError
from ncsn_tf.settings.config import Config

if TYPE_CHECKING:
    from ncsn_tf.training.workers import Workers

_DONE = "{name}: training is done and saved"
_NO_EXPORT = f"{_DONE}, its export is not made; the same command exports"
_POLL = 0.25  # seconds between two looks at whether another worker was asked to end


def export_at_the_end(
    config: Config, workers: "Workers", export_run: Callable[[Path], Path]
) -> None:
    """Have the chief export the run that is done, if that is wanted; the others wait for it.

    Args:
        config: the run's `Config`.
        workers: of the run.
        export_run: exports a run's folder in this process, if it is the only one.

    Raises:
        signals.Interrupted: for all workers, when any of them was asked to end before it was made.
        UserError: for all, when it could not be made.
    """
    if workers.count == 1:
        if config.export:
            with signals.outcome(_NO_EXPORT, config.stopped_code):
                signals.check()
                print(f"Exported {export_run(config.run_dir)}")
        return

    note = config.run_dir / NOTE

    def tell(_name):
        if not workers.is_chief:
            leave_note(note)

    with signals.outcome(_DONE, 0):
        with signals.deferred(tell):
            if workers.is_chief:
                note.unlink(missing_ok=True)
            is_ended = workers.any(signals.asked()) and config.export
            if config.export and not is_ended:
                is_made = workers.by_chief(lambda: _export_elsewhere(config, note))
                is_ended = not workers.from_chief(bool(is_made))
            workers.wait()  # whoever leaves first would be missed by the others
            if workers.is_chief:
                note.unlink(missing_ok=True)
        if is_ended:
            line = _NO_EXPORT.replace("{name}", signals.asked() or ASKED)
            raise signals.Interrupted(line, config.stopped_code)
        signals.check()  # one that came too late to stop anything


def _export_elsewhere(config, note):
    """Export in a process of its own: in this one, graphs name the worker that is to run them.

    Returns:
        whether it is made, and not ended by a signal to this worker or another one.
    """
    root = str(Path(ncsn_tf.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"}
    for name in [name for name in environment if name == VARIABLE or name.startswith("SLURM_")]:
        del environment[name]
    command = [sys.executable, "-m", "ncsn_tf", "export", f"--workdir={config.run_dir}"]
    with subprocess.Popen(command, env=environment) as child:
        try:
            while (code := _code(child, _POLL)) is None and not signals.asked():
                if note.exists():
                    note.unlink(missing_ok=True)
                    break
        finally:
            if child.poll() is None:
                _end(child)
    if code:
        raise UserError(f"the export ended with exit code {code}; ncsn export makes it again")
    return code == 0


def _code(child, seconds):
    """The exit code of a process; None if it still runs after so many seconds."""
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _end(child):
    """Have a process end; the other workers wait."""
    child.terminate()
    if _code(child, 2) is None:
        child.kill()
