"""What differs between the package sets, where it can be seen from outside."""

import gc
import weakref

import numpy as np
import tensorflow as tf

from ncsn_tf.backend.compat import (
    TILES_AT_ONCE,
    custom_gradient,
    raw_variables,
    read_weights,
)
from ncsn_tf.models.networks import NCSN
from ncsn_tf.models.noisy_classifier import NoisyClassifier
from ncsn_tf.sampling.guidance import GuidedScore

X = tf.random.stateless_uniform([2, 8, 8, 1], (1, 2))
LEVELS = tf.constant([0, 2])


def loop_reads(score_fn, *inputs):
    """(a function that makes three steps of a loop, how many variables the loop's body reads)."""

    @tf.function(autograph=False)
    def run(x):
        score = read_weights(score_fn)
        return tf.while_loop(
            lambda i, _: i < 3, lambda i, x: (i + 1, x + 1e-3 * score(x, LEVELS, *inputs)), (0, x)
        )[1]

    library = run.get_concrete_function(X).graph.as_graph_def().library.function
    return run, sum(n.op == "ReadVariableOp" for f in library for n in f.node_def)


def test_a_loop_reads_no_weights():
    network = NCSN((8, 8, 1), 4, 3)
    run, reads = loop_reads(network)
    assert reads == (0 if TILES_AT_ONCE else len(raw_variables(network)))
    x = X
    for _ in range(3):
        x = x + 1e-3 * network(x, LEVELS)
    np.testing.assert_allclose(run(X), x, rtol=1e-5, atol=1e-6)
    # The weights are those of the call, not of the trace.
    network.end_conv.conv.kernel.assign(tf.zeros_like(network.end_conv.conv.kernel))
    network.end_conv.conv.bias.assign([0.5])
    np.testing.assert_allclose(run(X), X + 1.5e-3, rtol=1e-6)


def test_of_a_guided_score_both_networks_are_read():
    network, classifier = NCSN((8, 8, 1), 4, 3), NoisyClassifier((8, 8, 1), 4, [1.0, 0.1, 0.01], 10)
    _, reads = loop_reads(GuidedScore(network, classifier), 1)
    count = len(raw_variables(network)) + len(raw_variables(classifier))
    assert reads == (0 if TILES_AT_ONCE else count)


def test_a_function_is_itself():
    def score(x, levels):
        return -x

    assert read_weights(score) is score


def test_a_graph_with_a_gradient_of_its_own_is_freed():
    halved = custom_gradient(lambda x: (x * 1.0, lambda upstream: upstream / 2))
    graphs = weakref.WeakSet()

    def slope(x):
        graphs.add(tf.compat.v1.get_default_graph())
        return tf.gradients(halved(halved(x)), x)[0]

    function = tf.function(slope, autograph=False)
    assert float(function(tf.constant(3.0))) == 0.25
    assert len(graphs) == 1
    del function
    gc.collect()
    assert len(graphs) == 0
