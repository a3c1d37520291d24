"""The score at any time, from a network."""

from collections.abc import Callable

import tensorflow as tf

from ncsn_tf.backend.compat import models_of
from ncsn_tf.schedule.sde.equation import SDE


def score_fn_of(network: Callable, sde: SDE, continuous: bool) -> Callable:
    """The score function (x, t float32 [B]) -> score of x's shape that a network stands for.

        VE            continuous  network(x, sigma(t))
                      discrete    network(x, k),  k = round((1 - t) (N - 1)), half to even
        VP            continuous  -network(x, 999 t) / std(t)
                      discrete    -network(x, l) / std_i,  l = t (N - 1), not rounded, i = trunc(l)
        sub-VP        always      -network(x, 999 t) / std(t)

    std_i is `sqrt_1m_alphas_cumprod`. Networks of VP say what noise is in x, those of VE the score.

    What it is called with besides, the labels of classes, goes on to the network.

    Args:
        network: (x [B, ...], condition [B]) -> output of x's shape. The condition is sigma, the
            label or the time, as above; int32 where it is a label k, else float32.
        sde: the equation.
        continuous: whether the network was trained on all times, or on the discrete steps.

    Source: Song et al. 2021 (arXiv:2011.13456), and its released code.

    Example:
        >>> from ncsn_tf import sde
        >>> def network(x, condition):
        ...     print(condition.dtype.name, condition.numpy().tolist())
        ...     return x
        >>> x, t = tf.ones([1, 2]), [0.5]
        >>> score = score_fn_of(network, sde.VE(num_scales=4), continuous=False)(x, t)
        int32 [2]
        >>> score = score_fn_of(network, sde.VP(num_scales=40), continuous=False)(x, t)
        float32 [19.5]
    """

    def score(x, t, *labels):
        def of_labels(x, condition):
            return network(x, condition, *labels)

        return sde.network_score(of_labels, tf.convert_to_tensor(x), t, continuous)

    score.models = models_of(network)  # for `backend.compat.read_weights`
    return score
