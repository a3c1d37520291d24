"""Figures of the same features as torch-fidelity computes, to 1e-4."""

import numpy as np
import pytest
from scipy.special import softmax

from ncsn_tf.evaluation.metrics import FeatureSums
from ncsn_tf.evaluation.quality.figures import figures_of
from ncsn_tf.evaluation.quality.sets import FeatureSet

NUM_SAMPLES = 200
METRICS = ["fid", "kid", "is", "precision", "recall"]
# What torch-fidelity 0.4.0 makes of `made_up(dimension)`.
KNOWN = {
    16: {
        "fid": 0.23117298761558835,
        "kid": -0.0008484216767286057,
        "is": 2.405173117765478,
        "precision": 0.8849999904632568,
        "recall": 0.875,
        "spread": 0.1573304035943614,
    },
    250: {
        "fid": 43.74289087927312,
        "kid": 0.012973235024108298,
        "is": 2.4255812031781,
        "precision": 0.5600000023841858,
        "recall": 0.5699999928474426,
        "spread": 0.14942186699849141,
    },
}


def made_up(dimension):
    """(real [N, D], generated [N, D], logits [N, 10]) with D above and below N."""
    random = np.random.RandomState(dimension)
    mixing = random.normal(size=(dimension, dimension)) / np.sqrt(dimension)
    real, generated = (
        np.maximum(random.normal(shift, 1, (NUM_SAMPLES, dimension)) @ mixing, 0)
        for shift in (0.0, 0.1)
    )
    return real, generated, random.normal(0, 2, (NUM_SAMPLES, 10))


def ours(real, generated, logits):
    sets = [
        FeatureSet(FeatureSums(vectors.shape[1]).add(vectors), vectors, softmax(logits, axis=1))
        for vectors in (real, generated)
    ]
    found = figures_of(*sets, METRICS)
    return {**{name: result.value for name, result in found.items()}, "spread": found["is"].spread}


@pytest.mark.parametrize("dimension", KNOWN)
def test_figures_are_those_that_torch_fidelity_gave(dimension):
    """Also of fewer samples than dimensions, whose covariance is singular."""
    found = ours(*made_up(dimension))
    assert found == pytest.approx(KNOWN[dimension], rel=1e-4)


@pytest.fixture
def fidelity():
    """(torch, the four modules of torch-fidelity's metrics).

    It is in no requirements: its torchvision must be of the build of PyTorch that is there.
    """
    reason = "needs pip install torch-fidelity, beside requirements-pytorch.txt"
    torch = pytest.importorskip("torch", reason=reason)
    names = ("fid", "kid", "isc", "prc")
    parts = [pytest.importorskip(f"torch_fidelity.metric_{name}", reason=reason) for name in names]
    return torch, *parts


@pytest.mark.slow  # PyTorch takes seconds to be imported
@pytest.mark.parametrize("dimension", KNOWN)
def test_figures_are_those_of_torch_fidelity(fidelity, dimension):
    torch, fid, kid, isc, prc = fidelity
    real, generated, logits = made_up(dimension)
    tensors = [torch.from_numpy(vectors) for vectors in (generated, real)]
    statistics = [fid.fid_features_to_statistics(tensor) for tensor in tensors]
    theirs = fid.fid_statistics_to_metric(*statistics, verbose=False)
    # One subset of all, where theirs takes a hundred of a thousand.
    whole = {"kid_subsets": 1, "kid_subset_size": NUM_SAMPLES}
    theirs |= kid.kid_features_to_metric(*tensors, **whole, verbose=False)
    theirs |= isc.isc_features_to_metric(torch.from_numpy(logits), splits=10, shuffle=False)
    theirs |= prc.prc_features_to_metric(*tensors, prc_neighborhood=3, verbose=False)
    expected = {
        "fid": theirs["frechet_inception_distance"],
        "kid": theirs["kernel_inception_distance_mean"],
        "is": theirs["inception_score_mean"],
        "precision": theirs["precision"],
        "recall": theirs["recall"],
        "spread": theirs["inception_score_std"],
    }
    assert ours(real, generated, logits) == pytest.approx(expected, rel=1e-4)
    assert expected == pytest.approx(KNOWN[dimension], rel=1e-5)
