"""sample.py's work: where images come from, how they are batched and written."""

import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ncsn_tf import draw
from ncsn_tf.draw import SampleOptions
from ncsn_tf.errors import ConfigError, UserError


class FakeSource:
    """Images that hold their seed in every pixel; three pieces a batch."""

    pieces_a_batch = 3

    def __init__(self, options, strategy):
        self.batches = []
        FakeSource.last = self

    def draw(self, seeds, advance, frames):
        self.batches.append(list(seeds))
        images = np.zeros([len(seeds), 4, 4, 1], np.uint8) + seeds[:, None, None, None]
        for piece in range(self.pieces_a_batch):
            advance()
            if frames is not None:
                frames.append(images * piece)
        return images.astype(np.uint8)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """options -> what `draw` returns, with images from nowhere, in an empty folder."""
    monkeypatch.setattr(draw, "_Checkpoint", FakeSource)
    monkeypatch.chdir(tmp_path)

    def run(**options):
        options = SampleOptions(**options)
        options.validate()
        return draw.draw(options, None)

    return run


def test_arrays_hold_every_seed_in_order(fake):
    assert str(fake(num_samples=5, batch_size=2, seed=7, format="npz")) == "samples.npz"
    with np.load("samples.npz") as arrays:
        assert sorted(arrays.files) == ["images", "seeds"]
        np.testing.assert_array_equal(arrays["seeds"], [7, 8, 9, 10, 11])
        assert arrays["seeds"].dtype == np.int64
        np.testing.assert_array_equal(arrays["images"][:, 0, 0, 0], [7, 8, 9, 10, 11])
        assert arrays["images"].shape == (5, 4, 4, 1)
        assert arrays["images"].dtype == np.uint8
    assert FakeSource.last.batches == [[7, 8], [9, 10], [11, 11]]
    assert os.listdir() == ["samples.npz"]


def test_singles_are_named_by_their_seeds(fake):
    assert str(fake(num_samples=3, batch_size=2, seed=9, format="png")) == "samples"
    assert sorted(os.listdir("samples")) == ["000009.png", "000010.png", "000011.png"]
    with Image.open("samples/000010.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.full((4, 4), 10))


def test_grid_and_place(fake):
    assert str(fake(num_samples=4, batch_size=3)) == "samples.png"
    assert str(fake(num_samples=4, out="new/folder/grid.png")) == "new/folder/grid.png"
    with Image.open("samples.png") as first, Image.open("new/folder/grid.png") as second:
        assert min(first.size) >= 200
        np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_movie_shows_the_chain_of_the_first_batch(fake):
    fake(num_samples=40, batch_size=30, seed=1, movie="chain.gif")
    with Image.open("chain.gif") as movie:
        assert movie.n_frames == FakeSource.pieces_a_batch
        movie.seek(2)
        colours = np.unique(np.asarray(movie.convert("L")))
    assert 30 * 2 in colours
    assert not np.any(np.isin(2 * np.arange(31, 41), colours))


def test_frames_are_bytes_of_the_first_images():
    class Chain:
        def draw(self, seeds, on_piece):
            for value in (-1.0, 0.25, 7.0):
                on_piece(lambda value=value: np.full([len(seeds), 4, 4, 1], value, np.float32))
            return np.full([len(seeds), 4, 4, 1], 1.0, np.float32)

    source = draw._Checkpoint.__new__(draw._Checkpoint)
    source.sampler = Chain()
    frames, steps = [], []
    images = source.draw(np.arange(40), lambda: steps.append(1), frames)
    assert [frame.shape for frame in frames] == 3 * [(25, 4, 4, 1)]
    assert [frame[0, 0, 0, 0] for frame in frames] == [0, 64, 255]
    assert (len(steps), images.dtype, images.min()) == (3, np.uint8, 255)
    source.draw(np.arange(40), lambda: None, None)


def test_a_place_that_cannot_be_written(fake, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for format in ("grid", "png", "npz"):
        with pytest.raises(UserError, match="file.* cannot be written: "):
            fake(num_samples=1, format=format, out="file/deeper")


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"movie": "a.gif"}, "--movie=a.gif cannot be used with --saved_model"),
        ({"step_lr": 0.1}, "--step_lr=0.1 cannot be used with --saved_model"),
        ({"denoise": False}, "--denoise=false cannot be used with --saved_model"),
        ({"average": False}, "--average=false cannot be used with --saved_model"),
        ({"saved_model": "", "seed": 2**63 - 1}, "--seed=9223372036854775807 and the seeds after"),
    ],
)
def test_flags_that_contradict_each_other(flags, message):
    options = SampleOptions(**{"saved_model": "newest", **flags})
    with pytest.raises(ConfigError) as error:
        options.validate()
    assert message in str(error.value)


def test_extreme_seeds_are_allowed():
    SampleOptions(seed=2**63 - 25).validate()
    SampleOptions(seed=-(2**63)).validate()


class Exported(tf.Module):
    """A sampler that needs no network: every pixel is seed modulo 256."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="seed")])
    def sample(self, seed):
        images = tf.reshape(tf.cast(seed % 256, tf.uint8), [-1, 1, 1, 1])
        return {"images": tf.broadcast_to(images, [tf.size(seed), 4, 4, 1])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def other(self, x):
        return {"y": x + 1}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A folder of folders: two versions of a sampler, and models of other kinds."""
    folder = tmp_path_factory.mktemp("exports")
    module = Exported()
    for name, signatures in [
        ("sampler/9", {"serving_default": module.sample}),
        ("sampler/10", {"serving_default": module.sample}),
        ("other signature", {"predict": module.sample}),
        ("other inputs", {"serving_default": module.other}),
    ]:
        tf.saved_model.save(module, str(folder / name), signatures=signatures)
    (folder / "damaged").mkdir()
    (folder / "damaged" / "saved_model.pb").write_bytes(b"not a model")
    (folder / "empty").mkdir()
    return folder


@pytest.mark.parametrize("name, version", [("sampler", "10"), ("sampler/9", "9")])
def test_an_export_is_drawn_from_by_version_or_the_newest(name, version, exports, fake, capsys):
    fake(saved_model=str(exports / name), num_samples=3, batch_size=2, seed=-2, format="npz")
    with np.load("samples.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"][:, 1, 2, 0], [254, 255, 0])
    assert capsys.readouterr().out == f"Sampling from {exports / 'sampler' / version}\n"


@pytest.mark.parametrize(
    "name",
    ["empty", "damaged", "other signature", "other inputs", "absent", "damaged/saved_model.pb"],
)
def test_not_an_export(name, exports, fake):
    with pytest.raises(UserError) as error:
        fake(saved_model=str(exports / name))
    assert str(exports / name) in str(error.value)
    assert "\n" not in str(error.value)
    assert os.listdir() == []


@pytest.mark.parametrize("saved_model", ["", "newest"])
def test_no_run(saved_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with pytest.raises(UserError, match="no run in runs/"):
        draw.draw(SampleOptions(saved_model=saved_model), strategy)
    with pytest.raises(UserError, match="nowhere holds no checkpoint"):
        draw.draw(SampleOptions(saved_model=saved_model, workdir="nowhere"), strategy)
    assert os.listdir() == []
