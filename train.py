#!/usr/bin/env python3
"""Train a noise-conditional score network; the same command again resumes the run."""

from ncsn_tf.command_line import parse_config, run_command

SUMMARY = """\
Train a noise-conditional score network (Song & Ermon 2019) on a data set:

  python train.py --dataset=mnist

The data set's experiment, flags/<dataset>.flags, gives the defaults below other values. The same
command again resumes the run. Curves: tensorboard --logdir runs"""


def main(argv):
    config = parse_config(argv, SUMMARY)
    from ncsn_tf.runtime import start_for_training

    strategy = start_for_training(config)
    from ncsn_tf.training import train

    state = train(config, strategy)
    if config.export and int(state.step.numpy()) >= config.num_steps:
        from ncsn_tf.export import export_run

        print(f"Exported {export_run(config.run_dir)}")


if __name__ == "__main__":
    run_command(main)
