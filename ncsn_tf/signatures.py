"""The functions of an exported sampler: what TensorFlow Serving offers of a trained network."""

import numpy as np
import tensorflow as tf

from ncsn_tf import sampling
from ncsn_tf.compat import raw_variables, read_weights
from ncsn_tf.samplers import make_chain, step_sizes
from ncsn_tf.sampling import Rows


def sampler_module(network, config, max_steps_each):
    """A `tf.Module` with a network's sampler, a `tf.function` for each signature.

    All inputs and outputs are batches [B]:

    * `serving_default`: seed -> image_bytes
    * `sample_uint8`: seed -> image
    * `sample`: seed, steps_per_level, step_lr -> image_bytes, image, samples, steps_per_level
    * `score`: x, label -> score

    `seed` is int64, `steps_per_level` and `label` int32, `step_lr` and `x` float32. `image_bytes`
    is a PNG, a string; `image` its pixels, uint8 [B, H, W, C]; `samples` the end of the chain in
    [0, 1] before it is rounded; `samples`, `x` and `score` are float32 [B, H, W, C]. The output
    `steps_per_level` is what became of the input of that name.

    A server merges the requests of strangers into one batch, in which one failure would fail them
    all. So no value fails: a number of steps or a step size that is not above 0, or not finite, or
    that consistent annealing cannot take with the row's number of steps, stands for the default;
    more steps than `max_steps_each` are cut to it; a label outside [0, L) is moved to the nearest
    inside. Settings that the chain does not have are ignored: the step size by all but annealed
    Langevin and consistent annealing, both by the probability flow. Whatever it is merged with, a
    row has the same answer, bit for bit (see `sampling.in_tiles`).

    Args:
        network: the score network, `(x, labels) -> score`.
        config: the run's `Config`; its sampling settings are the chain's defaults.
        max_steps_each: the most Langevin steps a noise level that a request may have.
    """
    sampler = make_chain(config)
    tile = config.sampling_tile
    # For each number of steps; looked up, since computed values could differ in their last bits.
    own_lr, lowest_lr, highest_lr = (
        values.astype(np.float32) for values in step_sizes(config, np.arange(1, max_steps_each + 1))
    )

    @tf.function(
        input_signature=[_batch("seed", tf.int64), _batch("steps", tf.int32), _batch("lr")],
        autograph=False,
    )
    def chain(seed, steps_per_level, step_lr):
        rows = Rows(seed, step_lr, steps_per_level)
        score_fn = read_weights(network)
        return sampling.draw(sampler, score_fn, rows, config.image_shape, tile=tile)

    def default_images(seed):
        steps = tf.fill(tf.shape(seed), config.num_steps_each)
        step_lr = tf.fill(tf.shape(seed), own_lr[config.num_steps_each - 1])
        return sampling.to_uint8(chain(seed, steps, step_lr))

    def serving_default(seed):
        return {"image_bytes": tf.io.encode_png(default_images(seed))}

    def sample_uint8(seed):
        return {"image": default_images(seed)}

    def sample(seed, steps_per_level, step_lr):
        steps = tf.where(
            steps_per_level > 0,
            tf.minimum(steps_per_level, max_steps_each),
            config.num_steps_each,
        )
        own, lowest, highest = (
            tf.gather(values, steps - 1) for values in (own_lr, lowest_lr, highest_lr)
        )
        is_possible = (lowest < step_lr) & (step_lr < highest)
        samples = chain(seed, steps, tf.where(is_possible, step_lr, own))
        image = sampling.to_uint8(samples)
        return {
            "image_bytes": tf.io.encode_png(image),
            "image": image,
            "samples": samples,
            "steps_per_level": steps,
        }

    def score(x, label):
        label = tf.clip_by_value(label, 0, config.num_levels - 1)
        return {"score": sampling.in_tiles(network, tile, x, label)}

    module = tf.Module()
    # As raw variables: a Keras 3 model on a module is saved in a form that only Python can restore.
    module.weights = raw_variables(network)
    seed = _batch("seed", tf.int64)
    inputs = {
        serving_default: [seed],
        sample_uint8: [seed],
        sample: [seed, _batch("steps_per_level", tf.int32), _batch("step_lr")],
        score: [_batch("x", shape=config.image_shape), _batch("label", tf.int32)],
    }
    for function, signature in inputs.items():
        compiled = tf.function(function, input_signature=signature, autograph=False)
        setattr(module, function.__name__, compiled)
    return module


SIGNATURES = ("serving_default", "sample_uint8", "sample", "score")


def _batch(name, dtype=tf.float32, shape=()):
    return tf.TensorSpec([None, *shape], dtype, name=name)
