"""Stochastic differential equations that turn images into noise, and their reverse.

* `equation`: `SDE`, what all of them are, and `Reverse`, the way back by a score function
* `exploding`: `VE`, whose variance grows; the ladders of noise levels are a case of it
* `preserving`: `VP` and `SubVP`, whose variance stays bounded
* `scores`: the score at any time, from a network of either kind
* `ladder_score`: the same as samplers of noise levels ask for it

Of the package it imports backend, errors and the ladders; losses know it by its methods, and all
that samples or measures likelihoods may import it.

Source: Song et al. 2021 (arXiv:2011.13456).
"""

from ncsn_tf.schedule.sde.equation import SDE, Reverse
from ncsn_tf.schedule.sde.exploding import VE
from ncsn_tf.schedule.sde.ladder_score import LadderScore
from ncsn_tf.schedule.sde.preserving import VP, SubVP
from ncsn_tf.schedule.sde.scores import score_fn_of

__all__ = ["SDE", "VE", "VP", "LadderScore", "Reverse", "SubVP", "score_fn_of"]
