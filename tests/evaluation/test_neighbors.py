"""Nearest neighbours: the search against brute force, a run's training images, the command."""

import dataclasses
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ncsn_tf.commands.console import run_command
from ncsn_tf.commands.neighbors import main
from ncsn_tf.data.batches import Source, images_at, ordered_batches
from ncsn_tf.data.decoding import PictureError
from ncsn_tf.data.encoded import EncodedImages
from ncsn_tf.data.source import ArrayImages
from ncsn_tf.data.sources import load_source
from ncsn_tf.evaluation import neighbors
from ncsn_tf.evaluation.nearest import Neighbors, nearest
from ncsn_tf.evaluation.neighbors import Search, neighbor_images, network_features, picture
from ncsn_tf.evaluation.samples import draw_samples
from ncsn_tf.training.run_network import build_network

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(0)


def blocks_of(vectors, size):
    return (vectors[start : start + size] for start in range(0, len(vectors), size))


def brute_force(queries, vectors, k):
    """All differences at once, in whole numbers, the lower index first among equals."""
    squared = np.square(queries[:, None].astype(np.int64) - vectors[None]).sum(-1)
    order = np.lexsort((np.broadcast_to(np.arange(len(vectors)), squared.shape), squared))[:, :k]
    return np.sqrt(np.take_along_axis(squared, order, 1)), order


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_search_equals_brute_force_bit_for_bit(size):
    # Of three values in four places there are many equal vectors, and equal distances.
    for shape, top in (((4,), 3), ((300,), 256)):
        vectors = RNG.integers(0, top, (200, *shape), dtype=np.uint8)
        queries = RNG.integers(0, top, (9, *shape), dtype=np.uint8)
        found = nearest(queries, blocks_of(vectors, size), 5)
        distances, indices = brute_force(queries, vectors, 5)
        np.testing.assert_array_equal(found.distances, distances)
        np.testing.assert_array_equal(found.indices, indices)
        assert found.indices.dtype == np.int64 and not found.mirrored.any()


def test_search_of_features_far_from_zero():
    vectors = RNG.normal(1000.0, 1.0, (300, 64)).astype(np.float32)
    queries = vectors[:5] + RNG.normal(0.0, 0.1, (5, 64)).astype(np.float32)
    found = nearest(queries, blocks_of(vectors, 50), 3)
    exact = np.linalg.norm(queries[:, None].astype(np.float64) - vectors[None], axis=-1)
    np.testing.assert_array_equal(found.indices, np.argsort(exact, axis=1)[:, :3])
    np.testing.assert_allclose(found.distances, np.sort(exact, axis=1)[:, :3], rtol=1e-6)


def test_mirror_images_are_those_of_the_data():
    data = RNG.integers(0, 256, (60, 4, 6, 1), dtype=np.uint8)
    samples = np.concatenate([data[3:5], data[7:9, :, ::-1]])
    flat = data.reshape(60, -1)
    mirrored = samples[:, :, ::-1].reshape(4, -1)
    found = nearest(samples.reshape(4, -1), blocks_of(flat, 16), 60, mirrored)
    both = [brute_force(samples.reshape(4, -1), flat, 60)]
    both.append(brute_force(samples.reshape(4, -1), data[:, :, ::-1].reshape(60, -1), 60))
    by_index = [np.take_along_axis(d, np.argsort(i, axis=1), 1) for d, i in both]
    expected = np.minimum(*by_index)
    np.testing.assert_array_equal(found.distances, np.sort(expected, axis=1))
    np.testing.assert_array_equal(found.indices[:, 0], [3, 4, 7, 8])
    np.testing.assert_array_equal(found.mirrored[:, 0], [False, False, True, True])
    is_mirrored = np.take_along_axis(by_index[1] < by_index[0], found.indices, 1)
    np.testing.assert_array_equal(found.mirrored, is_mirrored)


def test_memory_is_that_of_a_block():
    """All vectors are 48 MB; their differences from all queries are a hundred times that."""
    queries = np.zeros([100, 300], np.uint8)

    def blocks():
        for number in range(100):
            yield np.full([200, 300], 100 - number, np.uint8)

    tracemalloc.start()
    found = nearest(queries, blocks(), 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found.indices, np.tile([19800, 19801], (100, 1)))
    assert peak < 6e6


def test_fewer_vectors_than_neighbors_asked_for():
    found = nearest(np.zeros([2, 3]), [np.ones([1, 3]), np.full([1, 3], 0.5)], 9)
    np.testing.assert_array_equal(found.indices, [[1, 0]] * 2)
    np.testing.assert_allclose(found.distances, [[0.75**0.5, 3**0.5]] * 2)


@pytest.mark.parametrize(
    "queries, blocks, k, mirror_images, line",
    [
        (np.zeros([0, 3]), [np.zeros([1, 3])], 1, None, "queries must be"),
        (np.zeros([1, 3]), [np.zeros([1, 3])], 0, None, "num_neighbors at least 1"),
        (np.zeros([1, 3]), [], 1, None, "no vectors"),
        (np.zeros([1, 3]), [np.zeros([2, 4])], 1, None, r"shape \(2, 4\), not \[c, 3\]"),
        (np.zeros([1, 3]), [np.zeros([2, 3])], 1, np.zeros([2, 3]), r"must be \(1, 3\)"),
    ],
)
def test_what_cannot_be_searched(queries, blocks, k, mirror_images, line):
    with pytest.raises(ValueError, match=line):
        nearest(queries, blocks, k, mirror_images)


def in_memory(pixels):
    return Source(ArrayImages(pixels), "test")


def test_batches_and_places_in_a_sources_own_order():
    pixels = RNG.integers(0, 256, (7, 4, 4, 1), dtype=np.uint8)
    batches = list(ordered_batches(in_memory(pixels), 3).as_numpy_iterator())
    assert [len(batch) for _, batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([batch for _, batch in batches]), pixels)
    np.testing.assert_array_equal(np.concatenate([place for place, _ in batches]), np.arange(7))
    np.testing.assert_array_equal(images_at(in_memory(pixels), [5, 0, 5]), pixels[[5, 0, 5]])


pytestmark = pytest.mark.usefixtures("loads_once")


@pytest.mark.parametrize("space", ["pixels", "features"])
@pytest.mark.parametrize("flips", [False, True])
def test_copies_of_training_images_are_found(config, network, space, flips):
    config = dataclasses.replace(config, random_flip=flips)
    source = load_source("digits", "train", image_size=8, channels=1)
    samples = images_at(source, [900, 17, 1600])
    samples[1] = samples[1, :, ::-1]
    found = Search(source, config, network, space)(samples, 4)
    assert found.indices.shape == (3, 4)
    assert found.indices[0, 0] == 900 and found.indices[2, 0] == 1600
    typical = found.distances[0, 3]
    assert np.all(found.distances[[0, 2], 0] <= 1e-5 * typical)
    if flips:
        assert found.indices[1, 0] == 17
        np.testing.assert_array_equal(found.mirrored[:, 0], [False, True, False])
        assert found.distances[1, 0] <= 1e-5 * typical
    else:
        assert not found.mirrored.any() and found.distances[1, 0] > 0.01 * typical


def test_distances_of_pixels_are_in_units_of_the_networks(config):
    source = load_source("digits", "train", image_size=8, channels=1)
    found = Search(source, config)(np.full([1, 8, 8, 1], 255, np.uint8), 1)
    data = source.images.array.astype(np.float64) / 255
    expected = np.linalg.norm((1 - data).reshape(len(data), -1), axis=1)
    assert found.indices[0, 0] == expected.argmin()
    assert found.distances[0, 0] == pytest.approx(expected.min(), rel=1e-12)


def test_features_are_the_deepest_stages_means_at_the_smallest_level(config, network):
    pixels = RNG.integers(0, 256, (70, 8, 8, 1), dtype=np.uint8)  # more than one batch
    features = network_features(network, config)(pixels)
    x = pixels[-2:].astype(np.float32) / 255
    layers = network.stages(x, np.int32([2, 2]))
    assert [layer.shape[1:] for layer in layers] == [(8, 8, 8), (4, 4, 16), (4, 4, 16), (4, 4, 16)]
    assert features.shape == (70, 16)
    np.testing.assert_allclose(features[-2:], np.mean(layers[-1], (1, 2)), rtol=1e-4, atol=1e-4)
    other_level = np.mean(network.stages(x, np.int32([0, 0]))[-1], (1, 2))
    assert np.abs(features[-2:] - other_level).max() > 0.01


def test_features_of_the_second_generation_in_bfloat16(tiny_config):
    """Means are taken in float32: in bfloat16 they would have three digits."""
    config = tiny_config(features=8, model="ncsnv2", precision="mixed_bfloat16")
    network = build_network(config)
    pixels = RNG.integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    features = network_features(network, config)(pixels)
    assert features.shape == (3, 16) and features.dtype == np.float32
    layer = network.stages(pixels.astype(np.float32) / 255, np.int32([2] * 3))[-1]
    assert layer.dtype == "bfloat16"
    means = layer.numpy().astype(np.float64).mean((1, 2))
    np.testing.assert_allclose(features, means, rtol=0.05, atol=0.02)
    assert np.any(features != features.astype(layer.numpy().dtype))


def test_picture_shows_samples_and_what_was_compared():
    data = RNG.integers(0, 256, (5, 2, 3, 1), dtype=np.uint8)
    samples = RNG.integers(0, 256, (2, 2, 3, 1), dtype=np.uint8)
    mirrored = np.array([[False, True], [False, False]])
    found = Neighbors(np.zeros([2, 2]), np.array([[3, 1], [0, 4]]), mirrored)
    shown = picture(samples, in_memory(data), found)
    assert shown.shape == (5, 3 + 3 + 3 + 1 + 3, 1)
    np.testing.assert_array_equal(shown[:2, :3], samples[0])
    np.testing.assert_array_equal(shown[3:, :3], samples[1])
    assert np.all(shown[:, 3:6] == 255)
    np.testing.assert_array_equal(shown[:2, 6:9], data[3])
    np.testing.assert_array_equal(shown[:2, 10:], data[1, :, ::-1])
    np.testing.assert_array_equal(shown[3:, 6:9], data[0])
    np.testing.assert_array_equal(shown[3:, 10:], data[4])
    expected = [[data[3], data[1, :, ::-1]], [data[0], data[4]]]
    np.testing.assert_array_equal(neighbor_images(in_memory(data), found), expected)


def test_spaces_that_cannot_be_searched(config):
    source = in_memory(np.zeros([1, 8, 8, 1], np.uint8))
    for space in ("colour", "features"):
        with pytest.raises(ValueError, match=f"pixels, or features of a network, not '{space}'"):
            Search(source, config, space=space)


def command(*flags):
    """Exit code of the command in this process."""
    with pytest.raises(SystemExit) as end:
        run_command(main, ["ncsn neighbors", *flags])
    return end.value.code


def test_command_draws_samples_of_a_run(tiny_run, config, network, tmp_path, capsys, monkeypatch):
    drawn = []

    def watched(loaded, settings, seeds, labels):
        assert labels is None
        for weight, expected in zip(loaded.get_weights(), network.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, expected)
        drawn.append((list(seeds), draw_samples(loaded, settings, seeds)))
        return drawn[-1][1]

    monkeypatch.setattr(neighbors, "draw_samples", watched)
    out = tmp_path / "found.png"
    flags = (f"--workdir={tiny_run}", "--num_samples=2", "--num_neighbors=3", "--seed=5")
    assert command(*flags, f"--out={out}") == 0
    with np.load(tmp_path / "found.npz") as arrays:
        found = dict(arrays)
    assert sorted(found) == ["distances", "indices", "mirrored", "samples"]
    ((seeds, samples),) = drawn
    assert seeds == [5, 6]
    np.testing.assert_array_equal(found["samples"], samples)
    source = load_source("digits", "train", image_size=8, channels=1)
    expected = Search(source, config)(samples, 3)
    np.testing.assert_array_equal(found["indices"], expected.indices)
    np.testing.assert_array_equal(found["distances"], expected.distances)
    text = capsys.readouterr().out
    assert "weights of step 40" in text
    assert f"{expected.indices[1, 0]:>10}{expected.distances[1, 0]:>11.4g}" in text
    with Image.open(out) as shown:
        assert shown.width > shown.height > 200


def test_command_takes_samples_from_a_file(tiny_run, tmp_path):
    source = load_source("digits", "train", image_size=8, channels=1)
    np.savez(tmp_path / "samples.npz", images=images_at(source, [40, 50, 60]), seeds=[0, 1, 2])
    out = tmp_path / "new" / "neighbors.png"
    flags = (f"--workdir={tiny_run}", f"--samples={tmp_path / 'samples.npz'}", "--num_samples=2")
    assert command(*flags, "--space=features", f"--out={out}") == 0
    with np.load(out.with_suffix(".npz")) as found:
        np.testing.assert_array_equal(found["indices"][:, 0], [40, 50])


def test_command_says_what_is_wrong(tiny_run, tmp_path, capsys):
    good, text, none = (str(tmp_path / name) for name in ("good.npz", "text.npz", "none"))
    np.savez(good, images=np.zeros([1, 8, 8, 1], np.uint8))
    Path(text).write_text("no arrays")
    run = f"--workdir={tiny_run}"
    for code, line, *flags in (
        (1, "holds no checkpoint", f"--workdir={none}"),
        (1, f"{none} is not a file", run, f"--samples={none}"),
        (1, "deeper/a.png cannot be written: Not a directory", run, f"--out={text}/deeper/a.png"),
        (2, "--out=x.bmp must end with .png, .jpg or .jpeg", run, "--out=x.bmp"),
        (2, "would replace", f"--samples={good}", f"--out={good[:-4]}.png"),
        (2, "--space=colour must be pixels or features", "--space=colour"),
    ):
        assert command(*flags) == code
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and line in error


def test_help_does_not_wait_for_tensorflow():
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ncsn_tf", "neighbors", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "--num_neighbors" in done.stdout
    assert "tensorflow" not in done.stderr, time.perf_counter() - started


def test_how_many_images_were_searched(config):
    """Those that can be decoded; the places are still those of the source."""

    def decode(record):
        if record == b"damaged":
            raise PictureError("test", "damaged")
        return np.full([8, 8, 1], record[0], np.uint8)

    records = np.array([b"damaged", b"b", b"c", b"damaged", b"e"], object)
    search = Search(Source(EncodedImages(records, decode, (8, 8, 1), "test"), "test"), config)
    found = search(np.full([1, 8, 8, 1], ord("d"), np.uint8), 9)
    assert search.searched == 3
    assert sorted(found.indices[0].tolist()) == [1, 2, 4]
