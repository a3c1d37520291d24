"""From images to figures of quality: features of sets, what is said of them, and their history."""

import dataclasses
import itertools
import json
import threading

import numpy as np
import pytest
from PIL import Image

from ncsn_tf.data.batches import load_pixels
from ncsn_tf.data.images import to_uint8
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.evaluation.features import FeatureNetwork
from ncsn_tf.evaluation.metrics import FeatureSums
from ncsn_tf.evaluation.quality import copies, history, online
from ncsn_tf.evaluation.quality.figure import Figure
from ncsn_tf.evaluation.quality.figures import figures_of, remarks
from ncsn_tf.evaluation.quality.image_sets import ArrayImages, FirstImages
from ncsn_tf.evaluation.quality.images import FileImages, PictureImages, open_images
from ncsn_tf.evaluation.quality.online import draw_and_measure
from ncsn_tf.evaluation.quality.reference import reference_of
from ncsn_tf.evaluation.quality.sets import FeatureSet, feature_set
from ncsn_tf.evaluation.report.folder import scalars
from ncsn_tf.generation.block_files import read_blocks
from ncsn_tf.generation.shards import Shard, write_shard
from ncsn_tf.training.run_data import run_source

ALL = ["fid", "kid", "is", "precision", "recall"]


def network(compute=None, dimension=3, **changes):
    """A feature network: by default the means of the rows of images of 3 rows."""
    about = {"name": "Rows", "checksum": "0" * 16, "resize": "none", "channels": 0}
    compute = compute or (lambda pixels: (pixels.mean((2, 3), dtype=np.float32), None))
    return FeatureNetwork(compute, dimension=dimension, **{**about, **changes})


def pixels(count=60, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (count, 3, 2, 1)).astype(np.uint8)


class Blocks(ArrayImages):
    """An array that is read in blocks of some sizes, and ends with an error after some."""

    def __init__(self, array, sizes=(7,), stop=None):
        super().__init__(array)
        self.sizes, self.stop, self.starts = sizes, stop, []

    def blocks(self, start):
        self.starts.append(start)
        for size in itertools.cycle(self.sizes):
            if self.stop is not None and start >= self.stop:
                raise InterruptedError
            if start >= self.count:
                return
            yield self.array[start : start + size]
            start += size


def assert_same(first, second):
    np.testing.assert_allclose(first.sums.mean, second.sums.mean, rtol=1e-12)
    np.testing.assert_allclose(first.sums.covariance, second.sums.covariance, rtol=1e-9)
    np.testing.assert_array_equal(first.vectors, second.vectors)
    if first.probabilities is not None:
        np.testing.assert_array_equal(first.probabilities, second.probabilities)


@pytest.mark.parametrize("sizes", [(1,), (7, 3), (64,)])
def test_sums_do_not_depend_on_the_blocks(sizes):
    whole = feature_set(pixels(), network(), keep=20)
    vectors = pixels().mean((2, 3), dtype=np.float32)
    np.testing.assert_allclose(whole.sums.covariance, np.cov(vectors.astype(np.float64).T))
    np.testing.assert_array_equal(whole.vectors, vectors[:20])
    assert whole.count == 60
    assert_same(feature_set(Blocks(pixels(), sizes), network(), keep=20), whole)


def softmax_network(calls):
    def compute(batch):
        calls.append(len(batch))
        rows = batch.mean((2, 3), dtype=np.float32) + 1
        return rows, rows / rows.sum(1, keepdims=True)

    return network(compute, num_classes=3)


def test_features_are_gone_on_with_and_then_kept(tmp_path):
    """What was saved before the end is not computed again, and the answer is the same."""
    calls, ticks = [], itertools.count(step=100)
    options = {"keep": 30, "cache": tmp_path}
    with pytest.raises(InterruptedError):
        images = Blocks(pixels(), stop=35)
        feature_set(images, softmax_network(calls), clock=lambda: next(ticks), **options)
    again = Blocks(pixels())
    found = feature_set(again, softmax_network([]), **options)
    assert again.starts == [35]
    assert_same(found, feature_set(pixels(), softmax_network([]), keep=30))

    kept = Blocks(pixels())
    calls.clear()
    assert_same(feature_set(kept, softmax_network(calls), **options), found)
    assert not calls and not kept.starts


@pytest.mark.parametrize("damage", ["cut", "foreign", "numbers"])
def test_damaged_features_are_computed_anew(damage, tmp_path, capsys):
    found = feature_set(pixels(), network(), cache=tmp_path)
    (path,) = tmp_path.iterdir()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "foreign":
        np.savez(path, images=pixels())
    else:
        with np.load(path) as arrays:
            np.savez(path, **{**arrays, "total": np.full([3], np.nan)})
    assert_same(feature_set(pixels(), network(), cache=tmp_path), found)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: ") and line.endswith(": computed anew")
    assert feature_set(Blocks(pixels(), stop=0), network(), cache=tmp_path).count == 60


def test_other_images_or_networks_are_others(tmp_path):
    feature_set(pixels(), network(), cache=tmp_path)
    feature_set(pixels(seed=1), network(), cache=tmp_path)
    feature_set(pixels(), network(checksum="1" * 16), cache=tmp_path)
    feature_set(pixels(), network(resize="bilinear"), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_features_that_are_not_finite():
    bad = network(lambda batch: (np.full([len(batch), 3], np.nan, np.float32), None))
    with pytest.raises(UserError, match="samples: Rows gives no finite features"):
        feature_set(pixels(), bad)


def test_the_first_of_images():
    images = FirstImages(Blocks(pixels(), sizes=(7,)), 10)
    assert [len(block) for block in images.blocks(0)] == [7, 3]
    assert [len(block) for block in images.blocks(8)] == [2]
    assert not list(images.blocks(10))


def sets(first, second, probabilities=None):
    return (
        FeatureSet(FeatureSums(first.shape[1]).add(first), first),
        FeatureSet(FeatureSums(second.shape[1]).add(second), second, probabilities),
    )


def test_figures_of_gaussians():
    """The closed form |d|^2 + |s1 - s2|^2, and a kernel distance that is zero in expectation."""
    draw = np.random.RandomState(0).normal
    x, y = draw(size=(20_000, 2)), draw(size=(20_000, 2)) * [2, 1] + [0, 3]
    found = figures_of(*sets(x, y), ["fid"])["fid"]
    assert found.value == pytest.approx(9 + 1, rel=0.03)
    assert found[1:] == (None, 20_000, 20_000)
    same = figures_of(*sets(x[:1000], x[1000:2000]), ["kid", "precision", "recall"])
    assert abs(same["kid"].value) < 4 * same["kid"].spread < 0.2
    assert min(same["precision"].value, same["recall"].value) > 0.9
    assert list(same) == ["kid", "precision", "recall"]


def test_the_inception_score_of_splits():
    sure = np.eye(4, dtype=np.float32)[np.arange(41) % 4]
    _, generated = sets(sure, sure, sure)
    found = figures_of(None, generated, ["is"])["is"]
    assert found.value == pytest.approx(4, rel=0.02) and found.num_samples == 41
    assert found.num_reference is None


@pytest.mark.parametrize(
    "metric, real, message",
    [
        ("is", True, "--metrics=is needs a feature network with probabilities"),
        ("fid", False, "--metrics=fid needs images to compare with"),
        ("recall", True, "--metrics=recall needs at least 4 samples, not 3"),
        ("fids", True, "--metrics=fids must be of fid, kid, is, precision, recall"),
    ],
)
def test_what_is_missing_is_said(metric, real, message):
    first, second = sets(np.eye(3), np.eye(3))
    with pytest.raises(ConfigError, match=message):
        figures_of(first if real else None, second, [metric])


def test_remarks():
    draw = np.random.RandomState(0).normal
    few, many = sets(draw(size=(3, 5)), draw(size=(50, 5)))
    assert "50" not in remarks(many, few, ["fid"])[0]
    assert remarks(many, few, ["fid"])[0].startswith("3 samples are fewer than the 5 features")
    assert remarks(few, many, ["fid"])[0].startswith("3 images to compare with are fewer")
    assert not remarks(many, sets(draw(size=(50, 5)), np.eye(5))[0], ["fid"])
    (line,) = remarks(many, sets(many.vectors[::-1], np.eye(5))[0], ["fid"])
    assert line.endswith("they are the same images")
    one = sets(np.ones([9, 5]), np.eye(5))[0]
    assert "all samples have the same features: are they one image?" in remarks(many, one, ["fid"])
    assert figures_of(many, one, ["fid"])["fid"].value > 0


# Images of any program.


@pytest.mark.parametrize(
    "arrays, name",
    [
        ({"images": pixels()}, "images"),
        ({"samples": pixels(), "labels": np.arange(60)}, "samples"),
        ({"arr_0": pixels(), "arr_1": np.arange(60)}, "arr_0"),
        ({"anything": pixels()[..., 0]}, "anything"),
        ({"images": pixels(), "arr_0": pixels(seed=1)}, "images"),
    ],
)
def test_arrays_of_other_programs(arrays, name, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    images = open_images(tmp_path / "a.npz")
    assert (images.count, images.shape) == (60, (3, 2, 1))
    np.testing.assert_array_equal(np.concatenate([*images.blocks(0)]), pixels())
    np.save(tmp_path / "a.npy", pixels())
    assert open_images(tmp_path / "a.npy").fingerprint() == images.fingerprint()


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"a": pixels(), "b": pixels()}, "must have images as one array of uint8 .* it has a"),
        ({"images": np.zeros([4, 3, 3, 3])}, r"it has images float64 \[4, 3, 3, 3\]"),
        ({}, "it has no arrays"),
        ({"images": np.zeros([4, 3, 8, 8], np.uint8)}, r"save images.transpose\(0, 2, 3, 1\)"),
        ({"images": np.zeros([0, 8, 8, 3], np.uint8)}, r"not uint8 \[0, 8, 8, 3\]"),
    ],
)
def test_arrays_that_are_no_images(arrays, message, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=message) as error:
        open_images(tmp_path / "a.npz")
    assert "a.npz" in str(error.value) and "\n" not in str(error.value)


def test_files_and_folders_that_are_no_images(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\3\4 damaged")
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "a.png").write_bytes(b"\x89PNG")
    for name, message in (
        ("a.npz", "cannot be read"),
        ("none", "is not a file or a folder"),
        ("empty", "no pictures"),
        ("damaged", "a.png"),
    ):
        with pytest.raises(UserError, match=message):
            open_images(tmp_path / name)


def test_a_folder_of_pictures(tmp_path):
    colours = np.random.RandomState(0).randint(0, 256, (3, 4, 6, 3)).astype(np.uint8)
    for number, picture in enumerate(colours):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    images = open_images(tmp_path)
    assert (images.count, images.shape) == (3, (4, 6, 3))
    np.testing.assert_array_equal(np.concatenate([*images.blocks(1)]), colours[1:])
    assert PictureImages(tmp_path, channels=1).shape == (4, 6, 1)
    Image.new("RGB", (5, 5)).save(tmp_path / "3.png")
    with pytest.raises(UserError, match="3.png has 5x5 pixels, the first .* 4x6"):
        list(open_images(tmp_path).blocks(0))


class Grey:
    """An `Origin` of images in the grey of their seeds."""

    unit, inputs, labels, drawn = "image", None, None, 0

    def amount(self, num_images):
        return num_images

    def images(self, seeds, bar):
        for seed in seeds:
            self.drawn += 1
            yield np.array([seed]), np.full([1, 3, 2, 1], seed, np.uint8)

    def about(self):
        return {"weights": "some"}


def test_blocks_that_are_added_to(tmp_path):
    """More seeds go into the same folder; the blocks that are there stay, and merge reads all."""
    origin, place = Grey(), {"folder": tmp_path, "block": 4, "is_open": True}
    first = write_shard(origin, Shard(0, 1), 0, 8, **place)
    assert origin.drawn == 8
    more = write_shard(origin, Shard(0, 1), 0, 16, **place)
    assert origin.drawn == 16 and more[:2] == first
    images = open_images(tmp_path)
    assert isinstance(images, FileImages) and (images.count, images.shape) == (16, (3, 2, 1))
    for start in (0, 3, 4, 15, 16):
        found = [block[:, 0, 0, 0] for block in images.blocks(start)]
        assert [*itertools.chain(*found)] == [*range(start, 16)]
    seeds, pictures = read_blocks(tmp_path)
    assert seeds.tolist() == pictures[:, 0, 0, 0].tolist() == [*range(16)]
    with pytest.raises(UserError, match="was drawn with seeds"):
        write_shard(origin, Shard(0, 1), 0, 8, folder=tmp_path, block=4)
    more[1].unlink()
    with pytest.raises(UserError, match="lacks the images of seeds 4 to 7"):
        read_blocks(tmp_path)


# Copies.


def test_copies_of_distances():
    rng = np.random.RandomState(0)
    test = rng.gamma(4, size=1000)
    alike = copies.compare(rng.gamma(4, size=1000), test, 5000)
    assert not copies.is_suspicious(alike) and alike.expected == pytest.approx(0.01, rel=0.01)
    assert copies.sentence(alike).endswith("no more than chance")
    half = np.concatenate([np.zeros(100), rng.gamma(8, size=900)])
    learnt = copies.compare(half, test, 5000)
    assert learnt.closer == pytest.approx(0.1, abs=0.01) and copies.is_suspicious(learnt)
    assert "samples do not lie nearer" in copies.sentence(learnt)  # their median; and yet
    assert "more than chance. They may be copies" in copies.sentence(learnt)
    assert copies.of_figure(copies.as_figure(learnt, step=3)) == learnt
    assert copies.of_figure(Figure("Copies-5", "copies", 0.1)) is None


def test_copies_are_found(config):
    """Training images as samples; and test images, which are as near as test images are."""
    train, test = run_source(config, "train"), run_source(config, "test")
    learnt = copies.find_copies(config, train, test, load_pixels(train, 20))
    assert learnt.samples == 0 and learnt.closer == 1 and copies.is_suspicious(learnt)
    honest = copies.find_copies(config, train, test, load_pixels(test, 40))
    assert not copies.is_suspicious(honest) and honest.num_train == 1618
    assert copies.work(config, train, 20, 179) == (20 + 179) * 1618 * 64


# In memory.


def test_drawn_and_measured_in_memory(config, tmp_path, monkeypatch):
    """The figures of what the sampler draws, whatever the batch."""

    class Sampler:
        pieces = [(0, 1), (1, 2)]

        def __init__(self, network, config):
            assert network == "network" and config.num_levels == 3

        def draw(self, seeds, on_piece):
            for _ in self.pieces:
                on_piece(None)
            images = [np.random.RandomState(seed).uniform(size=[8, 8, 1]) for seed in seeds]
            return np.float32(images) * (np.nan if max(seeds) > 99 else 1)

    monkeypatch.setattr(online, "sampler_of", Sampler)
    config = dataclasses.replace(config, cache_dir=str(tmp_path))
    reference = reference_of(config, features(), split="test")
    assert reference.against == "test" and reference.count == 179
    asked = (features(), reference, ["fid", "kid"])
    found = draw_and_measure("network", config, *asked, 6, 3, batch_size=4)
    drawn = to_uint8(Sampler("network", config).draw(range(3, 9), lambda state: None))
    expected = figures_of(reference, feature_set(drawn, features()), ["fid", "kid"])
    assert {name: figure.value for name, figure in found.items()} == {
        name: result.value for name, result in expected.items()
    }
    figure = found["fid"]
    assert figure.name == "FD-Halves-6-test" and figure.seeds == (3, 6)
    assert figure.sampler["evaluations"] == 6 and figure.checksum == "0" * 16
    assert figure.step is None and figure.num_reference == 179
    with pytest.raises(UserError, match="the chains diverged"):
        draw_and_measure("network", config, *asked, 6, 95)


def features():
    """Means of the upper and the lower half."""

    def compute(batch):
        halves = [half.mean((1, 2, 3)) for half in np.array_split(batch, 2, axis=1)]
        return np.stack(halves, 1).astype(np.float32), None

    return network_of(compute)


def network_of(compute):
    return network(compute, dimension=2, name="Halves")


def test_a_part_of_a_split_is_named(config, tmp_path):
    config = dataclasses.replace(config, cache_dir=str(tmp_path))
    whole = reference_of(config, features(), keep=50)
    part = reference_of(config, features(), num_images=100)
    assert (whole.label, whole.against, whole.count) == ("train", "", 1618)
    assert (part.label, part.against, part.count) == ("train-100", "train-100", 100)
    assert len(whole.vectors) == 50 and len(part.vectors) == 100


# The history.

FIGURE = Figure(
    *("FID-5k", "fid", 12.5, None, 5000, 60_000, "train", "Inception2015", "ab", "bilinear"),
    sampler={"sampler": "ald"},
    weights="average",
    step=100,
    seeds=(0, 5000),
    ranges=(12.0, 13.0),
)


def test_a_history_is_read_as_it_was_written(tmp_path):
    others = [dataclasses.replace(FIGURE, step=step, value=step / 7) for step in (200, 300)]
    history.append(tmp_path, [FIGURE])
    history.append(tmp_path, others)
    assert history.read(tmp_path) == [FIGURE, *others]
    assert len((tmp_path / history.NAME).read_text().splitlines()) == 3
    assert [path.name for path in tmp_path.iterdir()] == [history.NAME]
    assert history.read(tmp_path / "none") == []


def test_damaged_lines_are_passed_over_and_said(tmp_path, capsys):
    history.append(tmp_path, [FIGURE])
    lines = [
        b"{",
        b"7",
        b"\xff\xfe",
        b'{"name": "a"}',
        b'{"name": 1, "metric": "fid"}',
        b"[" * 9999,
    ]
    infinite = {**FIGURE.to_dict(), "value": float("inf")}
    lines.append(json.dumps(infinite).encode())
    with open(tmp_path / history.NAME, "ab") as file:
        file.write(b"\n".join(lines))  # the last one is cut: no end of line
    history.append(tmp_path, [FIGURE])
    assert history.read(tmp_path) == [FIGURE, FIGURE]
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith("metrics.jsonl: lines 2, 3, 4, 5, 6, ... damaged, left out")


def test_several_write_at_once_and_one_reads(tmp_path):
    """Each line is whole at any moment."""

    def write(step):
        for value in range(5):
            history.append(tmp_path, [dataclasses.replace(FIGURE, step=step, value=float(value))])

    threads = [threading.Thread(target=write, args=(step,)) for step in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        history.read(tmp_path)
    for thread in threads:
        thread.join()
    found = {(figure.step, figure.value) for figure in history.read(tmp_path)}
    assert found == {(step, value) for step in range(4) for value in range(5)}


def test_a_history_that_cannot_be_written(tmp_path):
    (tmp_path / history.NAME).mkdir()
    with pytest.raises(UserError, match="metrics.jsonl cannot be written: Is a directory"):
        history.append(tmp_path, [FIGURE])


def test_curves_of_figures_with_a_step(tmp_path):
    history.publish(tmp_path, [FIGURE, dataclasses.replace(FIGURE, name="other", step=None)])
    assert scalars(tmp_path) == {"quality/FID-5k": ([100], [12.5])}
    assert len(history.read(tmp_path)) == 2


def test_a_figure_in_words():
    assert str(dataclasses.replace(FIGURE, ranges=())) == "FID-5k 12.5"
    assert str(dataclasses.replace(FIGURE, ranges=(), spread=0.25)) == "FID-5k 12.5 +- 0.25"
    text = "FID-5k 12.5 (minimum 12, mean 12.5, deviation 0.71, of 2 seed ranges)"
    assert str(dataclasses.replace(FIGURE, spread=0.70711)) == text
