"""`ncsn train`: trains a network, or resumes its training."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import ncsn_tf
from ncsn_tf.backend import signals
from ncsn_tf.backend.cluster import VARIABLE
from ncsn_tf.commands.start import start_for_training
from ncsn_tf.errors import RestartError, UserError
from ncsn_tf.settings.flags import parse_config

SUMMARY = """\
Train a noise-conditional score network (Song & Ermon 2019) on a data set:

  ncsn train --dataset=mnist

The data set's experiment, flags/<dataset>.flags, gives the defaults below other values. The same
command again resumes the run. Curves: tensorboard --logdir runs"""

_NOTHING_LOST = "{name}: nothing was lost; the same command goes on"
_DONE = "{name}: training is done and saved"
_NO_EXPORT = "{name}: training is done and saved, its export is not made; the same command exports"


def _export_elsewhere(config):
    """Export in a process of its own: in this one, graphs name the worker that is to run them."""
    root = str(Path(ncsn_tf.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"}
    for name in [name for name in environment if name == VARIABLE or name.startswith("SLURM_")]:
        del environment[name]
    command = [sys.executable, "-m", "ncsn_tf", "export", f"--workdir={config.run_dir}"]
    with subprocess.Popen(command, env=environment) as child:
        try:
            code = child.wait()
        except BaseException:
            _end(child)
            raise
    if code:
        raise UserError(f"the export ended with exit code {code}; ncsn export makes it again")


@contextlib.contextmanager
def _missed_by_none(workers):
    """Around the export: when it is not made, the others are met before this worker leaves."""
    try:
        yield
    except (signals.Interrupted, UserError):
        with contextlib.suppress(RestartError), workers.together():
            workers.wait()
        raise


def _end(child):
    """Have a process end; the other workers wait."""
    child.terminate()
    try:
        child.wait(2)
    except subprocess.TimeoutExpired:
        child.kill()


def main(argv: list[str]) -> None:
    config = parse_config(argv, SUMMARY)
    with signals.outcome(_NOTHING_LOST, 0):
        strategy = start_for_training(config)
        from ncsn_tf.serving.export import export_run
        from ncsn_tf.training.loop import train
        from ncsn_tf.training.workers import Workers

        workers = Workers(strategy)
        with workers.together():
            state = train(config, strategy)
    with workers.together():
        is_done = int(state.step.numpy()) >= config.num_steps
        if config.export and is_done and workers.is_chief:
            with signals.outcome(_NO_EXPORT, 0), _missed_by_none(workers):
                signals.check()
                if workers.count > 1:
                    _export_elsewhere(config)
                else:
                    print(f"Exported {export_run(config.run_dir)}")
        with signals.outcome(_DONE, 0) if is_done else contextlib.nullcontext():
            workers.wait()  # whoever leaves first would be missed by the others
