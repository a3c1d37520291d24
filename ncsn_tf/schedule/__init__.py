"""Noise levels.

* `ladders`: falling standard deviations
* `techniques`: how to choose them, and the step size, for given images
* `sde`: the stochastic differential equations behind them, public as `ncsn_tf.sde`

Imports nothing of this package; everything that computes may import it.

    ncsn schedule --dataset=image_folder --data_dir=DIR --image_size=64

prints the choice for a data set as flags.
"""

from ncsn_tf.schedule.ladders import geometric_sigmas, static_sigmas, uniform_sigmas
from ncsn_tf.schedule.techniques import (
    choose_num_levels,
    choose_step_lr,
    level_ratio,
    max_pairwise_distance,
    variance_ratio,
)

__all__ = [
    "choose_num_levels",
    "choose_step_lr",
    "geometric_sigmas",
    "level_ratio",
    "max_pairwise_distance",
    "static_sigmas",
    "uniform_sigmas",
    "variance_ratio",
]
