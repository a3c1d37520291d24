"""`ncsn evaluate`: figures of quality, bits per dimension and test loss of a trained network."""

from pathlib import Path

from ncsn_tf.commands.evaluate_options import EvaluateOptions
from ncsn_tf.commands.start import start_for_sampling
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.option_paths import check_inputs, check_run
from ncsn_tf.settings.pretrained import pretrained_run

SUMMARY = """\
Measure a trained network, on images of its data set or by its samples:

  ncsn evaluate --metrics=fid,kid,is,precision,recall --num_samples=50000
                                  how near its samples are to the training images
  ncsn evaluate --metrics --samples=FOLDER     the same of images that are there
  ncsn evaluate --every_checkpoint             ranks the run's checkpoints
  ncsn evaluate --sweep=step_lr=1e-6:1e-4:7    finds a setting of its chain
  ncsn evaluate --ema=0.05,0.1,0.15 --metrics  compares averages of these lengths
  ncsn evaluate --bits_per_dim    likelihood along the probability-flow ODE, in bits/dim
  ncsn evaluate --test_loss       the loss that it was trained with
  ncsn evaluate --pretrained=mnist --metrics   of a trained network that is here

The same command again continues where it was interrupted. What is measured of a trained network is
kept in runs/<its name>."""


def main(argv: list[str]) -> None:
    """Measure what the flags ask for."""
    options = parse_options(argv, EvaluateOptions, SUMMARY)
    options.validate()
    check_inputs(options)
    # What is measured of a network that came with the package, whose folder is only read, is kept
    # beside the runs.
    workdir, place = options.workdir, None
    if options.pretrained:
        workdir = pretrained_run(options.pretrained)
        place = Path("runs", workdir.name)
    if options.reads_run:
        check_run(workdir, options.data_dir)
    strategy = start_for_sampling(options.batch_size)
    from ncsn_tf.commands import measurements

    if options.is_tuning:
        measurements.tune_chain(options, workdir, place, strategy)
    elif options.is_quality:
        measurements.measure_quality(options, workdir, place, strategy)
    else:
        measurements.measure_likelihood(options, workdir, place)
