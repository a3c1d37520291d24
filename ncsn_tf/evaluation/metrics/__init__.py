"""Figures of sample quality, as functions of arrays of features.

* `frechet`: Frechet distance of two Gaussians, and the sums that their moments are made of
* `kernel`: kernel distance (KID), unbiased, with its standard error
* `inception`: Inception Score
* `manifolds`: improved precision and recall
* `accuracy`: how many images a classifier takes for their class

Knows no networks, files or TensorFlow; it imports NumPy, SciPy and scikit-learn, and everything may
import it. Which network the features
are of decides what a figure may be called: "FID" is that of one network and 50,000 samples.
"""

from ncsn_tf.evaluation.metrics.accuracy import classification_accuracy
from ncsn_tf.evaluation.metrics.frechet import FeatureSums, frechet_distance
from ncsn_tf.evaluation.metrics.inception import inception_score
from ncsn_tf.evaluation.metrics.kernel import kernel_distance
from ncsn_tf.evaluation.metrics.manifolds import precision_recall

__all__ = [
    "FeatureSums",
    "classification_accuracy",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "precision_recall",
]
