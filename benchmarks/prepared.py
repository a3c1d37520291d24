"""A folder of pictures that is decoded once, and what is read of it; started by `benchmarks.run`.

The pictures are made on the spot. What needs a process of its own has one: a start that finds the
images prepared, and a training whose memory is looked at.
"""

import dataclasses
import io
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import children
from benchmarks.children import Request, answer
from benchmarks.data import batches_alone
from benchmarks.machine import peak_memory
from benchmarks.timing import repeat

DIFFERENT = 2000  # encodings; more pictures are copies of them
A_FOLDER = 5000
STEPS = 5  # of the training whose memory is looked at
MOST_BATCHES = 2000  # that it takes in all
CHUNK = 128


def measure(request: Request) -> dict:
    """One part of the work, which `parameters["part"]` names; "all" asks others for the rest.

    Returns:
        of "all": number, listed: seconds to list the pictures. alone: pictures a second that the
        decoder alone does on all cores, before and after. prepared: that the preparation does.
        first_batch: seconds to the first batch of a start that finds them prepared, beyond
        importing and devices. from_file, from_memory: of random rows and of whole batches, seconds.
        peak: MiB of a training.
    """
    part = {"all": _all, "start": _start, "train": _train}[request.parameters.get("part", "all")]
    return part(request)


def _all(request):
    number, shape = request.parameters["number"], request.config.image_shape
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
        pictures, cache = Path(folder, "pictures"), Path(folder, "cache")
        make_pictures(pictures, number, shape)
        os.sync()  # what was written before is not to be written meanwhile
        config = dataclasses.replace(
            request.config,
            dataset="image_folder",
            data_dir=str(pictures),
            cache_dir=str(cache),
            random_flip=False,
        )
        result = _prepare(config, number)
        seconds = request.parameters["seconds"]
        for part in ("start", "train"):
            result |= children.measure("prepared", config, part=part, seconds=seconds)
    return result


def make_pictures(folder: Path, number: int, shape: tuple[int, int, int]) -> None:
    """Write pictures, half of them PNG and half JPEG: soft shapes with some grain."""
    rng, encodings = np.random.default_rng(0), []
    for place in range(min(number, DIFFERENT)):
        soft = Image.fromarray(rng.integers(0, 256, [6, 6, 3], np.uint8))
        soft = np.asarray(soft.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
        grain = rng.normal(0, 4, soft.shape)
        picture = Image.fromarray(np.uint8(np.clip(soft + grain, 0, 255)))
        file, kind = io.BytesIO(), ("png", "jpeg")[place % 2]
        picture.save(file, kind)
        encodings.append((file.getvalue(), kind))
    for place in range(number):
        content, kind = encodings[place % len(encodings)]
        path = folder / f"{place // A_FOLDER:03}" / f"{place:07}.{kind}"
        if place % A_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(content)


def _prepare(config, number):
    from ncsn_tf.data import prepared
    from ncsn_tf.data.collection import open_folder

    prepared._FEW = 0  # also of few: what is kept of them is measured
    started = time.perf_counter()
    collection = open_folder(config.data_dir)
    collection.fingerprint()
    listed = time.perf_counter() - started
    shape = config.image_shape
    before = _decoder_alone(collection, shape)
    started = time.perf_counter()
    prepared.prepare_collection(collection, shape, 0, config.cache_dir)
    took = time.perf_counter() - started
    after = _decoder_alone(collection, shape)
    return {
        "number": number,
        "listed": listed,
        "alone": [before, after],
        "prepared": number / took,
    }


def _decoder_alone(collection, shape):
    """Pictures a second: a process for each core reads and decodes them, and drops the pixels."""
    import joblib

    number = len(collection.names)
    starts = range(0, number, CHUNK)
    with joblib.Parallel(joblib.cpu_count(), batch_size=1) as parallel:
        parallel(joblib.delayed(time.sleep)(0.2) for _ in range(joblib.cpu_count()))  # they start
        parts = [
            dataclasses.replace(collection, names=collection.names[start : start + CHUNK])
            for start in starts
        ]
        started = time.perf_counter()
        parallel(joblib.delayed(_decode)(part, shape) for part in parts)
        return number / (time.perf_counter() - started)


def _decode(collection, shape):
    from ncsn_tf.data.rows import decode_rows

    decode_rows(collection.read, range(len(collection.names)), shape, 0)


def _start(request):
    """A start that finds the images prepared; then rows and batches, of the file and of memory."""
    from ncsn_tf.commands.start import start_for_training

    strategy = start_for_training(request.config)
    import tensorflow as tf

    from ncsn_tf.data import prepared
    from ncsn_tf.data.batches import training_batches
    from ncsn_tf.data.source import from_arrays
    from ncsn_tf.training.run_data import run_source

    prepared._FEW = 0
    config, budget = request.config, request.parameters["seconds"] / 4

    def batches(source):
        dataset = training_batches(source, batch_size=config.batch_size, seed=config.seed)
        return iter(strategy.experimental_distribute_dataset(dataset))

    started = time.perf_counter()
    source = run_source(config, "train")
    opened = time.perf_counter() - started
    next(batches(source))
    result = {"opened": opened, "first_batch": time.perf_counter() - started}

    in_memory = from_arrays(source.images.pixels(np.arange(source.num_examples)))
    with tf.device("CPU:0"):
        tensor = tf.constant(in_memory.images.array)
    rng = np.random.default_rng(0)

    def places():
        return rng.integers(0, source.num_examples, config.batch_size)

    loads = {
        "file": lambda: source.images.pixels(places()),
        "memory": lambda: tf.gather(tensor, places()).numpy(),
    }
    streams = {"file": batches(source), "memory": batches(in_memory)}
    for name in (*loads, *loads):  # in turns
        rows, whole = result.setdefault(f"from_{name}", [[], []])
        rows += repeat(loads[name], budget / 4)
        whole += batches_alone(streams[name], budget)
    return result


def _train(request):
    """Memory of a training; after some steps it only takes batches, until all have been seen."""
    from ncsn_tf.commands.start import start_for_training

    strategy = start_for_training(request.config)
    from benchmarks.training import SyntheticTraining
    from ncsn_tf.data import prepared
    from ncsn_tf.data.batches import training_batches
    from ncsn_tf.training.run_data import run_source

    prepared._FEW = 0
    config = request.config
    source = run_source(config, "train")
    dataset = training_batches(source, batch_size=config.batch_size, seed=config.seed)
    stream = iter(strategy.experimental_distribute_dataset(dataset))
    training = SyntheticTraining(config, strategy)
    for _ in range(STEPS):
        training.step(next(stream))
    for _ in range(min(MOST_BATCHES, source.num_examples // config.batch_size)):
        next(stream)
    training.step(next(stream))
    training.check()
    return {"peak": peak_memory()}


if __name__ == "__main__":
    answer(measure)
