"""Objectives for score networks, one value an example.

* `matching`: score matching, of data as they are or at noise levels
* `diffusion`: what networks of stochastic differential equations are trained on

Of the package it imports nothing but one-line helpers of the backend: an equation comes as an
argument. All that trains or measures may import it.
"""

from ncsn_tf.losses.diffusion import (
    diffusion_matching,
    level_matching,
    noise_matching,
    times_of,
)
from ncsn_tf.losses.matching import (
    at_noise_levels,
    denoising_score_matching,
    directional_derivatives,
    fisher_divergence,
    score_matching,
    sliced_score_matching,
    sliced_score_matching_vr,
)

__all__ = [
    "at_noise_levels",
    "denoising_score_matching",
    "diffusion_matching",
    "directional_derivatives",
    "fisher_divergence",
    "level_matching",
    "noise_matching",
    "score_matching",
    "sliced_score_matching",
    "sliced_score_matching_vr",
    "times_of",
]
