"""The data order is a function of (seed, step); batches have the promised values and shapes."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.backend.devices import mirrored_strategy
from ncsn_tf.data import batches as data
from ncsn_tf.data.decoding import decode_picture
from ncsn_tf.data.encoded import EncodedImages
from ncsn_tf.data.order import shuffled
from ncsn_tf.data.source import Source, from_arrays


def numbered(num_examples, shape=(2, 2, 1)):
    """A source whose image i has the value i in every pixel of its first column, 0 elsewhere."""
    pixels = np.zeros([num_examples, *shape], np.uint8)
    pixels[:, :, 0, :] = np.arange(num_examples, dtype=np.uint8)[:, None, None]
    return from_arrays(pixels, name="numbered")


def encoded(source, undecodable=()):
    """The same images as PNGs; some of them cut short."""
    records = [tf.io.encode_png(image).numpy() for image in source.images.array]
    for index in undecodable:
        records[index] = records[index][:20]
    channels = source.image_shape[-1]

    def decode(record):
        picture = decode_picture(record)
        return np.asarray(picture).reshape(*picture.size[::-1], channels)

    images = EncodedImages(np.array(records, object), decode, source.image_shape, "encoded")
    return Source(images, "encoded", source.labels)


def take(dataset, num_batches):
    return np.stack(list(dataset.take(num_batches).as_numpy_iterator()))


def numbers(batches):
    """The number of each image of a `numbered` source, mirrored or not: int [number of images]."""
    return np.rint(batches.max(axis=(-3, -2, -1)) * 255).astype(int).ravel()


def mirrored(batches):
    return (batches[..., 0, 0] < batches[..., -1, 0])[..., 0].ravel()


def test_batches_are_float_images_in_unit_range_with_static_shapes():
    source = numbered(256, (4, 3, 3))
    dataset = data.training_batches(source, batch_size=8, seed=1, random_flip=True)
    assert dataset.element_spec == tf.TensorSpec([8, 4, 3, 3], tf.float32)
    batches = take(dataset, 32)
    assert batches.min() == 0.0
    assert batches.max() == 1.0
    np.testing.assert_array_equal(np.unique(batches), np.arange(256, dtype=np.float32) / 255)


def test_labels_stay_with_their_images():
    source = dataclasses.replace(numbered(48), labels=np.arange(48) + 100)
    options = {"batch_size": 16, "seed": 5, "random_flip": True}
    plain = data.training_batches(source, **options).take(4)
    labelled = data.training_batches(source, **options, with_labels=True).take(4)
    for expected, (images, labels) in zip(plain, labelled, strict=True):
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(labels, numbers(images.numpy()) + 100)


def test_an_epoch_visits_each_example_once_and_epochs_and_seeds_differ():
    source = numbered(48)
    epochs = numbers(take(data.training_batches(source, batch_size=16, seed=5), 9)).reshape(3, 48)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(48))
    other = numbers(take(data.training_batches(source, batch_size=16, seed=6), 3))
    high = numbers(take(data.training_batches(source, batch_size=16, seed=5 + 2**32), 3))
    orders = [np.arange(48), *epochs, other, high]
    for i, first in enumerate(orders):
        for second in orders[:i]:
            assert np.mean(first == second) < 0.2


def test_epoch_orders_are_uncorrelated():
    """Rounds too few for the cipher behind index_shuffle give correlations of 0.9 here."""
    num_examples = 60_000
    positions = tf.range(3 * num_examples, dtype=tf.int64)
    orders = shuffled(positions, num_examples, 42).numpy().reshape(3, num_examples)
    for order in orders:
        assert len(np.unique(order)) == num_examples
    serial = [np.corrcoef(order[1:], order[:-1])[0, 1] for order in orders]
    between = np.corrcoef(orders)[np.triu_indices(3, 1)]
    assert np.abs([*serial, *between]).max() < 5 / np.sqrt(num_examples)


@pytest.mark.parametrize("num_examples", [1, 2, 3, 7])
def test_a_source_smaller_than_the_batch_wraps_into_the_next_epoch(num_examples):
    batches = take(data.training_batches(numbered(num_examples), batch_size=8, seed=0), 7)
    epochs = numbers(batches)[: 56 // num_examples * num_examples].reshape(-1, num_examples)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(num_examples))


@pytest.mark.parametrize("form", [lambda source: source, encoded])
def test_a_run_started_at_step_k_sees_the_batches_of_an_uninterrupted_run(form):
    source = form(numbered(50))
    options = {"batch_size": 8, "seed": 3, "random_flip": True}
    whole = take(data.training_batches(source, **options), 20)
    resumed = take(data.training_batches(source, start_step=11, **options), 9)
    np.testing.assert_array_equal(resumed, whole[11:])
    assert not np.array_equal(resumed, whole[:9])


def test_a_run_can_start_at_a_late_step():
    source = numbered(200)
    start = 10**12
    options = {"batch_size": 8, "seed": 3, "random_flip": True}
    late = take(data.training_batches(source, start_step=start, **options), 2)
    later = take(data.training_batches(source, start_step=start + 1, **options), 1)
    np.testing.assert_array_equal(late[1:], later)


def test_encoded_and_decoded_records_give_the_same_batches():
    source = numbered(30)
    plain = take(data.training_batches(source, batch_size=8, seed=1, random_flip=True), 6)
    strings = take(
        data.training_batches(encoded(source), batch_size=8, seed=1, random_flip=True), 6
    )
    np.testing.assert_array_equal(plain, strings)


def test_half_of_the_images_are_mirrored_by_position_alone():
    source = numbered(255)
    source.images.array[:] += 1  # image 0 would look the same mirrored
    source.images.array[:, :, 1:] = 0
    flipped = take(data.training_batches(source, batch_size=50, seed=9, random_flip=True), 80)
    plain = take(data.training_batches(source, batch_size=50, seed=9), 80)
    coins = mirrored(flipped)
    assert not mirrored(plain).any()
    np.testing.assert_array_equal(numbers(flipped), numbers(plain))
    expected = np.where(coins[:, None, None, None], np.flip(plain, -2).reshape(-1, 2, 2, 1), 0)
    np.testing.assert_array_equal(flipped.reshape(-1, 2, 2, 1)[coins], expected[coins])
    assert abs(coins.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)
    # one image is mirrored in some epochs and not in others
    first = coins[numbers(flipped) == 1]
    assert 0 < first.sum() < len(first)
    # the coin belongs to the position: other batch sizes draw the same
    other = take(data.training_batches(source, batch_size=100, seed=9, random_flip=True), 40)
    np.testing.assert_array_equal(mirrored(other), coins)
    other_seed = take(data.training_batches(source, batch_size=50, seed=10, random_flip=True), 80)
    assert abs(np.mean(mirrored(other_seed) == coins) - 0.5) < 0.05


def test_evaluation_batches_are_fixed_finite_and_never_mirrored():
    source = numbered(100)
    dataset = data.evaluation_batches(source, batch_size=8, num_batches=5)
    assert dataset.element_spec == tf.TensorSpec([8, 2, 2, 1], tf.float32)
    batches = np.stack(list(dataset.as_numpy_iterator()))
    assert batches.shape == (5, 8, 2, 2, 1)
    assert len(set(numbers(batches))) == 40
    assert not np.array_equal(numbers(batches), np.arange(40))
    assert not batches[..., 1, 0].any()
    np.testing.assert_array_equal(batches, np.stack(list(dataset.as_numpy_iterator())))
    longer = data.evaluation_batches(source, batch_size=8, num_batches=7)
    np.testing.assert_array_equal(batches, take(longer, 5))


def test_evaluation_of_a_small_source_yields_its_whole_batches_and_at_least_one():
    def batches(num_examples, num_batches=9):
        source = numbered(num_examples)
        dataset = data.evaluation_batches(source, batch_size=8, num_batches=num_batches)
        return np.stack(list(dataset.as_numpy_iterator()))

    assert batches(31).shape[:2] == (3, 8)
    one = batches(3)
    assert one.shape[:2] == (1, 8)
    assert set(numbers(one)) == {0, 1, 2}
    assert batches(31, num_batches=1).shape[:2] == (1, 8)


def test_a_strategy_splits_each_global_batch_over_its_replicas():
    strategy = mirrored_strategy(["CPU:0"])
    dataset = data.training_batches(encoded(numbered(40)), batch_size=8, seed=2, start_step=4)
    distributed = iter(strategy.experimental_distribute_dataset(dataset))
    seen = [strategy.experimental_local_results(next(distributed))[0].numpy() for _ in range(3)]
    np.testing.assert_array_equal(np.stack(seen), take(dataset, 3))


@pytest.mark.parametrize("form", [lambda source: source, encoded], ids=["decoded", "encoded"])
@pytest.mark.parametrize("num_examples, count", [(250, 250), (250, 3), (1, 1), (256, 255)])
def test_pixels_are_the_examples_themselves(form, num_examples, count, monkeypatch):
    monkeypatch.setattr(data, "_READ_BATCH", 100)
    source, seen = numbered(num_examples), []
    pixels = data.load_pixels(form(source), count, seen.append)
    assert pixels.dtype == np.uint8 and pixels.shape == (count, 2, 2, 1)
    assert sum(seen) == count and max(seen) <= 100
    found = pixels[:, 0, 0, 0]
    assert len(set(found)) == count  # no example twice
    np.testing.assert_array_equal(pixels, source.images.array[found])
