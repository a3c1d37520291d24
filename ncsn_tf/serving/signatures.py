"""The functions of an exported sampler: what TensorFlow Serving offers of a trained network."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ncsn_tf import sampling
from ncsn_tf.backend.compat import read_weights
from ncsn_tf.sampling import Rows
from ncsn_tf.serving.contract import (
    FEW,
    FEW_OF_CLASSES,
    LABELLED,
    LABELLED_FEW_STEPS,
    OF_FEW_STEPS,
    SAMPLING,
)
from ncsn_tf.serving.specs import compiled, finite_rows, image_outputs, only_finite
from ncsn_tf.serving.stored import Pairs, all_weights, reading
from ncsn_tf.settings.config import Config
from ncsn_tf.training.run_equation import score_on_ladder
from ncsn_tf.training.run_sampler import chain_of, chain_score, step_sizes_of

# Evaluations that a request may choose from, and the most of an export that lets it: the numbers of
# every chain are in the graph.
_CHOICE, _MOST_EVALUATIONS = 100, 400


def most_evaluations(config: Config) -> int:
    """The most evaluations that a request to an export may choose; 0 where it has no choice.

    Only solvers of few steps have one, and only with fewer than 400.

    Example:
        >>> most_evaluations(Config()), most_evaluations(Config(sampler="dpm_sde"))
        (0, 100)
    """
    is_few = "num_evaluations" in sampling.SAMPLERS[config.sampler].settings
    most = max(_CHOICE, config.num_evaluations)
    return most if is_few and most <= _MOST_EVALUATIONS else 0


def sampling_signatures(config: Config) -> list[str]:
    """The names of the signatures of an export that draw, or tell of the network.

    Example:
        >>> sampling_signatures(Config())
        ['serving_default', 'sample_uint8', 'sample', 'score']
    """
    has_choice, has_classes = most_evaluations(config) > 0, bool(config.class_names)
    return [
        *SAMPLING,
        *(LABELLED if has_classes else ()),
        *(OF_FEW_STEPS if has_choice else ()),
        *(LABELLED_FEW_STEPS if has_choice and has_classes else ()),
    ]


def sampler_module(
    network: Callable, config: Config, max_steps_each: int, stored: Pairs = ()
) -> tf.Module:
    """A network's sampler: a `tf.function` for each signature in `contract.SAMPLING`.

    `seed` is an image's own. `image_bytes` is a PNG, `image` its pixels, `samples` the end of the
    chain in [0, 1] before it is rounded. The output `steps_per_level` is what became of the input
    of that name. A network that knows classes also has `sample_of_classes`, which is `sample` of an
    image's class and guidance, and `class_names` (`contract.LABELLED`); its other signatures draw
    without a class, but for `sample_evaluations_of_classes`. `score` is the network's answer at
    noise level `label` of the run's ladder, of images from 0 to 1
    (`run_equation.score_on_ladder`).

    Shapes, and equal numbers of rows, are checked (`specs.compiled`): a request that has others is
    refused. A server merges the requests of strangers into one batch, in which one failure would
    fail them all. So no value fails: a number of steps or a step size that is not above 0, or not
    finite, or that consistent annealing cannot take with the row's number of steps, stands for the
    default; more steps than `max_steps_each` are cut to it; a level outside [0, L) is moved to the
    nearest inside. Settings that the chain does not have are ignored: the step size by all but
    annealed Langevin and consistent annealing, both by the probability flow and by the solvers of
    few steps. Of these `sample_evaluations` takes the number of evaluations: one that is not above
    0 is the export's, others are moved to the nearest that is possible. Whatever it is merged with,
    a row has the same answer, bit for bit (see `sampling.in_tiles`). Nothing that is not finite
    leaves: an image whose chain diverged, as with a step size of 1e38, is black, and
    `sample` says 0 steps of it; a score that is not finite, as of such an x, is 0 all over.

    Args:
        network: the run's network.
        config: the run's `Config`; its sampling settings are the chain's defaults.
        max_steps_each: the most Langevin steps a noise level that a request may have.
        stored: weights that are stored in another type, of `stored_weights`.
    """
    sampler = chain_of(config)
    tile = config.sampling_tile
    # For each number of steps; looked up, since computed values could differ in their last bits.
    own_lr, lowest_lr, highest_lr = (
        values.astype(np.float32)
        for values in step_sizes_of(config, np.arange(1, max_steps_each + 1))
    )

    def drawn(sampler, rows):
        score_fn = read_weights(chain_score(network, config), stored)
        return sampling.draw(sampler, score_fn, rows, config.image_shape, clip=False, tile=tile)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, "seed"),
            tf.TensorSpec([None], tf.int32, "steps"),
            tf.TensorSpec([None], tf.float32, "lr"),
        ],
        autograph=False,
    )
    def chain(seed, steps_per_level, step_lr):
        return drawn(sampler, Rows(seed, step_lr, steps_per_level))

    def default_samples(seed):
        steps = tf.fill(tf.shape(seed), config.num_steps_each)
        step_lr = tf.fill(tf.shape(seed), own_lr[config.num_steps_each - 1])
        return chain(seed, steps, step_lr)

    def serving_default(seed):
        return image_outputs("serving_default", default_samples(seed))

    def sample_uint8(seed):
        return image_outputs("sample_uint8", default_samples(seed))

    def settings(steps_per_level, step_lr):
        """(steps, step size) that stand for those of a request."""
        steps = tf.where(
            steps_per_level > 0,
            tf.minimum(steps_per_level, max_steps_each),
            config.num_steps_each,
        )
        own, lowest, highest = (
            tf.gather(values, steps - 1) for values in (own_lr, lowest_lr, highest_lr)
        )
        is_possible = (lowest < step_lr) & (step_lr < highest)
        return steps, tf.where(is_possible, step_lr, own)

    def sample(seed, steps_per_level, step_lr):
        steps, step_lr = settings(steps_per_level, step_lr)
        samples = chain(seed, steps, step_lr)
        taken = tf.where(finite_rows(samples), steps, 0)
        return image_outputs("sample", samples, steps_per_level=taken)

    def sample_of_classes(seed, steps_per_level, step_lr, class_label, guidance):
        steps, step_lr = settings(steps_per_level, step_lr)
        label, guidance = of_requests(class_label, guidance, config.num_classes)
        samples = drawn(sampler, Rows(seed, step_lr, steps, (), label, guidance))
        taken = tf.where(finite_rows(samples), steps, 0)
        return image_outputs("sample_of_classes", samples, steps_per_level=taken, class_label=label)

    def class_names(class_label):
        known = tf.constant([*config.class_names, ""])
        place, _ = of_requests(
            class_label, tf.ones_like(class_label, tf.float32), config.num_classes
        )
        number = tf.fill(tf.shape(class_label), config.num_classes)
        return {"name_bytes": tf.gather(known, place), "num_classes": number}

    # Once in the graph, also of a network that knows classes: no class is one of its labels.
    @tf.function(autograph=False)
    def chosen(seed, num_evaluations, *labels):
        return drawn(choice, Rows.fill(seed, 0.0, num_evaluations, (), *labels))

    def possible(num_evaluations):
        own = tf.where(num_evaluations > 0, num_evaluations, config.num_evaluations)
        return tf.clip_by_value(own, choice.least, choice.most)

    def sample_evaluations(seed, num_evaluations):
        own, labels = possible(num_evaluations), ()
        if config.class_names:
            no_class = tf.fill(tf.shape(own), config.num_classes)
            labels = of_requests(no_class, tf.ones_like(seed, tf.float32), config.num_classes)
        samples = chosen(seed, own, *labels)
        taken = tf.where(finite_rows(samples), own, 0)
        return image_outputs(FEW, samples, num_evaluations=taken)

    def sample_evaluations_of_classes(seed, num_evaluations, class_label, guidance):
        own = possible(num_evaluations)
        label, guidance = of_requests(class_label, guidance, config.num_classes)
        samples = chosen(seed, own, label, guidance)
        taken = tf.where(finite_rows(samples), own, 0)
        return image_outputs(FEW_OF_CLASSES, samples, num_evaluations=taken, class_label=label)

    score_of_level = score_on_ladder(reading(network, stored), config)

    def score(x, label):
        levels = tf.clip_by_value(label, 0, config.num_levels - 1)
        return {"score": only_finite(sampling.in_tiles(score_of_level, tile, x, levels))}

    functions = [serving_default, sample_uint8, sample, score, sample_of_classes, class_names]
    functions += [sample_evaluations, sample_evaluations_of_classes]
    most = most_evaluations(config)
    choice = chain_of(config, most) if most else None
    offered = sampling_signatures(config)
    named = {function.__name__: function for function in functions if function.__name__ in offered}
    module = tf.Module()
    # As raw variables: a Keras 3 model on a module is saved in a form that only Python can restore.
    # All of them: the frequencies of a Fourier embedding are not trained.
    module.weights = all_weights(network, stored)
    for name, function in compiled(named, config.image_shape).items():
        setattr(module, name, function)
    return module


def of_requests(
    labels: tf.Tensor, guidance: tf.Tensor, num_classes: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """(labels, guidance) that stand for those of requests: no value fails.

    A label outside [0, K) is no class, which has the number K; a guidance that is not finite, or
    below 0, is 1, as is that of no class.

    Example:
        >>> labels, guidance = of_requests(tf.constant([1, 7, -1]), tf.constant([2.0, 2.0, 0.0]), 3)
        >>> labels.numpy().tolist(), guidance.numpy().tolist()
        ([1, 3, 3], [2.0, 1.0, 1.0])
    """
    is_class = (labels >= 0) & (labels < num_classes)
    is_weight = is_class & tf.math.is_finite(guidance) & (guidance >= 0.0)
    return tf.where(is_class, labels, num_classes), tf.where(is_weight, guidance, 1.0)
