"""Bits per dimension of images by a run's network, added to a record batch by batch."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ncsn_tf import likelihood
from ncsn_tf.backend import signals
from ncsn_tf.backend.compat import read_weights
from ncsn_tf.backend.tiles import in_tiles
from ncsn_tf.data.batches import Source, load_pixels, readable_places
from ncsn_tf.errors import UserError
from ncsn_tf.evaluation.record import Record
from ncsn_tf.sampling.routes import route_of
from ncsn_tf.settings.config import Config
from ncsn_tf.training.run_equation import flow_route, is_third
from ncsn_tf.training.run_labels import labelled, labelling
from ncsn_tf.training.run_sampler import score_jumps

_FIRST_TIME = 1e-5  # of the flow of an equation; the published likelihoods begin there


def measure_bits_per_dim(
    network: Callable,
    config: Config,
    source: Source,
    record: Record,
    *,
    num_images: int,
    batch_size: int = 64,
    divergence: str = "rademacher",
    num_probes: int = 1,
    num_dequantizations: int = 1,
    ode_tolerance: float = 1e-4,
    seed: int = 0,
) -> int:
    """Add to a record what it lacks of the first images' likelihoods, batch by batch.

    Args:
        network: score network.
        config: the run's `Config`: noise levels and tile.
        source: of at least `num_images` images.
        record: its settings are those given here, or others are continued than are in it.
        num_images: the first of a fixed shuffled order.
        batch_size: images between two savings; changes no result.
        divergence, num_probes: see `likelihood.Probes`.
        num_dequantizations: times each image is dequantised and measured.
        ode_tolerance: relative and absolute tolerance of the ODE.
        seed: image i has seed + i, for its probes and its dequantisation.

    Returns:
        how many images were measured: fewer than `num_images` where some cannot be decoded.

    Raises:
        ConfigError: the record holds likelihoods of other images.
        UserError: a likelihood is not finite, or the record cannot be written.
    """
    source = labelled(source, config)
    labels = None  # of the images in their order
    if source.labels is not None:
        labels = source.labels[readable_places(source, num_images)].astype(np.int32)
    has_labels = labels is not None
    compute = _bits_fn(network, config, divergence, num_probes, ode_tolerance, has_labels)
    first = min(len(record.bits), num_images)
    with tqdm(total=num_images, initial=first, disable=None, unit="image") as bar:
        pixels = load_pixels(source, num_images)
        num_images = bar.total = len(pixels)
        record.check_images(pixels)
        for start in range(first, num_images, batch_size):
            stop = min(start + batch_size, num_images)
            seeds = tf.constant(seed + np.arange(start, stop), tf.int64)
            with signals.at_once():  # what is finished is in the record
                repeats = [
                    compute(
                        *(tf.constant(pixels[start:stop]), seeds, tf.constant(repeat)),
                        *([] if labels is None else [tf.constant(labels[start:stop])]),
                    )
                    for repeat in range(num_dequantizations)
                ]
                bits, evaluations = (
                    np.stack([part.numpy() for part in parts], 1)
                    for parts in zip(*repeats, strict=True)
                )
            spoilt = start + np.flatnonzero(~np.isfinite(bits).all((1, 2)))
            if len(spoilt):
                raise UserError(
                    f"the likelihood of image {spoilt[0]} is not finite: the scores overflow along "
                    "its flow; try a smaller --ode_tolerance, with another --out: results of "
                    "different tolerances do not share a file"
                )
            record.add(bits, evaluations, pixels[start:stop])
            bar.update(stop - start)
            bar.set_postfix_str(f"{record.summary(stop)['bits_per_dim']:.4f} bits/dim")
    record.write_summary(num_images)
    return num_images


def _bits_fn(network, config, divergence, num_probes, tolerance, has_labels):
    """(pixels uint8 [B, H, W, C], seeds int64 [B], repeat) -> bits/dim [B, M], evaluations [B].

    With `has_labels` labels int32 [B] come last.
    """
    route = route_of(flow_route(config, _FIRST_TIME))
    centered = is_third(config) and config.centered
    size = math.prod(config.image_shape)

    def compute(pixels, seeds, repeat, labels=None):
        counters = (repeat, 0)
        score_fn = read_weights(network)

        def of_tile(x, seeds, labels):
            # The tile is made here, so that the labels are those of its images.
            return log_likelihood(labelling(score_fn, labels), x, seeds)

        def log_likelihood(score_fn, x, seeds, tile=None):
            probes = likelihood.Probes(divergence, num_probes, counters)
            jumps = score_jumps(config)
            return likelihood.log_likelihood(
                score_fn, x, seeds, route, probes, tolerance, jumps, tile=tile
            )

        x = route.states(likelihood.dequantize(pixels, seeds, counters))
        if labels is None:
            found = log_likelihood(score_fn, x, seeds, config.sampling_tile)
        else:
            dtypes = likelihood.Likelihood(tf.float32, tf.int32)
            found = in_tiles(of_tile, config.sampling_tile, x, seeds, labels, dtypes=dtypes)
        log_probs, evaluations = found
        return likelihood.bits_per_dim(log_probs, size, centered), evaluations

    specs = [
        tf.TensorSpec([None, *config.image_shape], tf.uint8),
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([], tf.int32),
    ]
    if has_labels:
        specs.append(tf.TensorSpec([None], tf.int32))
    return tf.function(compute, input_signature=specs, autograph=False)
