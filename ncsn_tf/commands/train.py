"""`ncsn train`: trains a network, or resumes its training."""

from ncsn_tf.backend import signals
from ncsn_tf.commands.start import start_for_training
from ncsn_tf.settings.flags import parse_config

SUMMARY = """\
Train a noise-conditional score network (Song & Ermon 2019) on a data set:

  ncsn train --dataset=mnist

The data set's experiment, flags/<dataset>.flags, gives the defaults below other values. The same
command again resumes the run. Curves: tensorboard --logdir runs"""

_NOTHING_LOST = "{name}: nothing was lost, for this command made no step yet; give it again"
_NO_EXPORT = "{name}: training is done and saved, its export is not made; the same command exports"


def main(argv: list[str]) -> None:
    config = parse_config(argv, SUMMARY)
    with signals.outcome(_NOTHING_LOST, 0):
        strategy = start_for_training(config)
        from ncsn_tf.serving.export import export_run
        from ncsn_tf.training.loop import train

        state = train(config, strategy)
    if config.export and int(state.step.numpy()) >= config.num_steps:
        with signals.outcome(_NO_EXPORT, 0):
            signals.check()
            print(f"Exported {export_run(config.run_dir)}")
