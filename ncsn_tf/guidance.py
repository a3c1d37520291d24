"""Class-conditional scores from an unconditional network and a classifier of noisy images."""

import tensorflow as tf


class GuidedScore:
    """The score of the images of one class, a score function by Bayes' rule:

        s(x, i | y) = s(x, i) + scale * grad_x log p(y | x, i)

    With scale 1, the true score and the true classifier it is the score of the class perturbed by
    noise of level i. A larger scale prefers images of which the classifier is sure.

    Args:
        score_fn: (x [B, ...], labels int32 [B]) -> score of x's shape.
        classifier: (x [B, ...], labels int32 [B]) -> logits [B, K]. Row b of the answer may depend
            on row b of x only.
        target: the class y, in [0, K): a number, or int32 [B].
        scale: a number.

    Source: Song et al. 2021 (arXiv:2011.13456), section 5; the scale as in Dhariwal & Nichol 2021
    (arXiv:2105.05233).
    """

    def __init__(self, score_fn, classifier, target, scale=1.0):
        self.score_fn = score_fn
        self.classifier = classifier
        self.target = target
        self.scale = scale
        self.models = [score_fn, classifier]

    def __call__(self, x, labels):
        with tf.GradientTape() as tape:
            tape.watch(x)
            posterior = tf.nn.log_softmax(self.classifier(x, labels))
            target = tf.broadcast_to(self.target, tf.shape(x)[:1])
            log_posterior = tf.gather(posterior, target, batch_dims=1)
        gradient = tape.gradient(log_posterior, x)
        # Subtracted with the sign turned, as in `langevin.AnnealedLangevin.step`.
        return self.score_fn(x, labels) - (-self.scale) * gradient


class GuidedChain:
    """A `sampling.Chain` of which each row draws the class in its `rows.condition`, int32 [B].

    Args:
        chain: the chain that moves the images.
        classifier, scale: see `GuidedScore`.
    """

    def __init__(self, chain, classifier, scale=1.0):
        self.chain = chain
        self.classifier = classifier
        self.scale = scale
        self.start = chain.start
        self.num_steps = chain.num_steps

    def advance(self, score_fn, state, rows, start, stop):
        return self.chain.advance(self._guided(score_fn, rows), state, rows, start, stop)

    def finish(self, score_fn, state, rows):
        return self.chain.finish(self._guided(score_fn, rows), state, rows)

    def _guided(self, score_fn, rows):
        return GuidedScore(score_fn, self.classifier, rows.condition, self.scale)
