"""`ncsn train`: trains a network, or resumes its training."""

from ncsn_tf.commands.start import start_for_training
from ncsn_tf.settings.flags import parse_config

SUMMARY = """\
Train a noise-conditional score network (Song & Ermon 2019) on a data set:

  ncsn train --dataset=mnist

The data set's experiment, flags/<dataset>.flags, gives the defaults below other values. The same
command again resumes the run. Curves: tensorboard --logdir runs"""


def main(argv: list[str]) -> None:
    config = parse_config(argv, SUMMARY)
    strategy = start_for_training(config)
    from ncsn_tf.serving.export import export_run
    from ncsn_tf.training.loop import train

    state = train(config, strategy)
    if config.export and int(state.step.numpy()) >= config.num_steps:
        print(f"Exported {export_run(config.run_dir)}")
