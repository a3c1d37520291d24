"""`ncsn train`: trains a network, or resumes its training."""

import shlex
import sys
from pathlib import Path

from ncsn_tf.backend import outcomes, signals
from ncsn_tf.backend.cluster import this_cluster
from ncsn_tf.commands.final_export import export_at_the_end
from ncsn_tf.commands.start import start_for_training
from ncsn_tf.settings.flags import is_given, parse_config
from ncsn_tf.settings.option_paths import check_data_dir, check_inputs

SUMMARY = """\
Train a noise-conditional score network (Song & Ermon 2019) on a data set:

  ncsn train --dataset=mnist

The data set's experiment, flags/<dataset>.flags, gives the defaults below other values. The same
command again resumes the run. Curves: tensorboard --logdir runs"""

_NOTHING_LOST = "{name}: nothing was lost; the same command goes on"


def main(argv: list[str]) -> None:
    config = parse_config(argv, SUMMARY)
    if not (is_given(argv[1:], "dataset") or is_given(argv[1:], "flagfile")):
        print(
            f"Data set {config.dataset}, for none was named; of others say --dataset=mnist, or "
            "--dataset=digits, which needs no download"
        )
    if this_cluster() is None:  # workers tell each other of what one of them misses
        check_inputs(config)
        check_data_dir(config.dataset, config.data_dir)
    with outcomes.told():
        with signals.outcome(_NOTHING_LOST, config.stopped_code):
            strategy = start_for_training(config)
            from ncsn_tf.serving.export import export_run
            from ncsn_tf.training.loop import train
            from ncsn_tf.training.workers import Workers

            workers = Workers(strategy)
            metric = None
            if config.metric_every:
                from ncsn_tf.evaluation.tuning.metric import TrainingMetric

                metric = TrainingMetric()
            with workers.together():
                state = train(config, strategy, metric=metric)
        with workers.together():
            is_done = int(state.step.numpy()) >= config.num_steps
            if is_done:
                export_at_the_end(config, workers, export_run)
                if workers.is_chief:
                    print(f"next: {sampling_command(argv[0], config.run_dir)}")
            else:
                workers.wait()  # whoever leaves first would be missed by the others
    if not is_done and config.stopped_code:
        sys.exit(config.stopped_code)  # a signal ended it, which is said


def sampling_command(program: str, run_dir: Path) -> str:
    """The command line that draws samples of a run, started as its training was.

    Args:
        program: how training was started: the first of its `argv`.
        run_dir: the run's folder.

    Example:
        >>> sampling_command("ncsn train", Path("runs/mnist"))
        'ncsn sample --workdir=runs/mnist'
        >>> sampling_command("a clone/train.py", Path("runs/my digits"))
        "python 'a clone/sample.py' '--workdir=runs/my digits'"
    """
    command, _, name = program.rpartition(" ")
    if name == "train":
        start = f"{command} sample"
    else:
        start = f"python {shlex.quote(str(Path(program).with_name('sample.py')))}"
    return f"{start} {shlex.quote(f'--workdir={run_dir}')}"
