"""Feature networks: what images are compared by, for figures of quality.

    network       what each one is: images in, features and probabilities out
    networks      the table of them, and how one is opened
    inception     the graph of 2015, of which FID is named
    efficientnet  EfficientNet-Lite0, with ImageNet's weights; tensor_file reads them
    trained       one that is trained on the run's data: encoder is the network, fitting the work
    model_file    a .keras file or a SavedModel
    reference     features of the images to compare with, kept in the cache; entries keeps

A new network is one file here and one line in `networks.NETWORKS`. Imports data, settings, training
and everything below them; the rest of evaluation and commands may import it.
"""

from ncsn_tf.evaluation.features.network import FeatureNetwork, Features
from ncsn_tf.evaluation.features.networks import NETWORKS, is_inception, open_features
from ncsn_tf.evaluation.features.reference import Reference, read_reference, reference_of

__all__ = [
    "NETWORKS",
    "FeatureNetwork",
    "Features",
    "Reference",
    "is_inception",
    "open_features",
    "read_reference",
    "reference_of",
]
