"""Figures of quality: how near samples are to the images that they should be like.

    figure      a figure with all that it depends on
    names       what figures are called
    image_sets  what a set of images is; of arrays
    sets        features of many images: sums, vectors, probabilities
    asked       the classes that samples were asked to be of
    figures     from features to figures, a pure step
    online      figures of a network, drawn and measured in memory
    images      sets of images: of shards, of any program
    possible    which metrics can be had, and why others cannot
    reference   what is compared with: a split, a file of mean and covariance, images
    copies      whether samples lie closer to training images than test images do
    history     metrics.jsonl and TensorBoard's curves
    sides       the two sides of a comparison: what with, and samples, drawn or there
    measure     the work of `ncsn evaluate --metrics`

Imports features, metrics, neighbors and training; the report and commands may import it. Drawing
lies beside it, in generation: the command hands it in.
"""

from ncsn_tf.evaluation.quality.figure import Figure
from ncsn_tf.evaluation.quality.figures import figures_of
from ncsn_tf.evaluation.quality.measure import evaluate_quality
from ncsn_tf.evaluation.quality.online import draw_and_measure
from ncsn_tf.evaluation.quality.reference import reference_of
from ncsn_tf.evaluation.quality.sets import FeatureSet

__all__ = [
    "FeatureSet",
    "Figure",
    "draw_and_measure",
    "evaluate_quality",
    "figures_of",
    "reference_of",
]
