"""sample.py's work: where images come from, how they are batched and written."""

import os

import numpy as np
import pytest
import serving_server
import tensorflow as tf
from PIL import Image

from ncsn_tf import draw, origins
from ncsn_tf.draw import SampleOptions
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.runtime import mirrored_strategy


class FakeOrigin(origins._Local):
    """Images that hold their seed in every pixel; three pieces a batch."""

    pieces_a_batch = 3

    def __init__(self, options, strategy):
        super().__init__(options.batch_size)
        self.batches = []
        self.frames = []
        FakeOrigin.last = self

    def _draw(self, seeds, advance):
        self.batches.append(list(seeds))
        images = np.zeros([len(seeds), 4, 4, 1], np.uint8) + seeds[:, None, None, None]
        for piece in range(self.pieces_a_batch):
            advance()
            if len(self.batches) == 1:
                self.frames.append(images * piece)
        return images.astype(np.uint8)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """options -> what `draw` returns, with images from nowhere, in an empty folder."""
    monkeypatch.setattr(origins, "Checkpoint", FakeOrigin)
    monkeypatch.chdir(tmp_path)

    def run(**options):
        options = SampleOptions(**options)
        options.validate()
        return draw.draw(options)

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
    assert FakeOrigin.last.batches == [[7, 8], [9, 10], [11, 11]]
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
        assert movie.n_frames == FakeOrigin.pieces_a_batch
        movie.seek(2)
        colours = np.unique(np.asarray(movie.convert("L")))
    assert 30 * 2 in colours
    assert not np.any(np.isin(2 * np.arange(31, 41), colours))


def test_frames_are_bytes_of_the_first_images():
    class Chain:
        def draw(self, seeds, on_piece, condition):
            for value in (-1.0, 0.25, 7.0):
                on_piece(lambda value=value: np.full([len(seeds), 4, 4, 1], value, np.float32))
            return np.full([len(seeds), 4, 4, 1], 0.5, np.float32)

    origin = origins.Checkpoint.__new__(origins.Checkpoint)
    origin._sampler, origin.frames = Chain(), []
    steps = []
    images = origin._draw(np.arange(40), lambda: steps.append(1))
    # The states, and at the end what is drawn.
    assert [frame.shape for frame in origin.frames] == 4 * [(25, 4, 4, 1)]
    assert [frame[0, 0, 0, 0] for frame in origin.frames] == [0, 64, 255, 128]
    assert (len(steps), images.dtype, images.min()) == (3, np.uint8, 128)
    origin._draw(np.arange(40), lambda: None)
    assert len(origin.frames) == 4
    origin.frames = None
    origin._draw(np.arange(40), lambda: None)
    assert origin.frames is None


def test_a_place_that_cannot_be_written(fake, tmp_path, monkeypatch):
    """Is said before anything is drawn."""
    monkeypatch.setattr(FakeOrigin, "_draw", None)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    for format in ("grid", "png", "npz"):
        with pytest.raises(UserError, match="file.* cannot be written: Not a directory"):
            fake(num_samples=1, format=format, out="file/deeper")
    with pytest.raises(UserError, match="folder cannot be written: Is a directory"):
        fake(num_samples=1, out="folder")
    with pytest.raises(UserError, match="file/a.gif cannot be written: Not a directory"):
        fake(num_samples=1, movie="file/a.gif")
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path / "folder"))
    with pytest.raises(UserError, match="a.png cannot be written: Permission denied"):
        fake(num_samples=1, out="folder/new/a.png")
    assert sorted(os.listdir()) == ["file", "folder"] and not os.listdir("folder")


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"saved_model": "newest", "movie": "a.gif"}, "--movie=a.gif cannot be used with --sav"),
        (
            {"saved_model": "newest", "denoise": False},
            "--denoise=false cannot be used with --saved",
        ),
        (
            {"saved_model": "newest", "average": False},
            "--average=false cannot be used with --saved",
        ),
        (
            {"saved_model": "newest", "sampler": "cas"},
            "--saved_model: draw from the checkpoint, or export again",
        ),
        (
            {"saved_model": "newest", "movie": "a.gif"},
            "cannot be used with --saved_model: it needs a checkpoint",
        ),
        ({"server": "a:1", "movie": "a.gif"}, "--movie=a.gif cannot be used with --server"),
        ({"server": "a:1", "denoise": True}, "--denoise=true cannot be used with --server"),
        ({"server": "a:1", "average": False}, "--average=false cannot be used with --server"),
        ({"server": "a:1", "workdir": "b"}, "--workdir=b cannot be used with --server"),
        ({"server": "a:1", "saved_model": "b"}, "--saved_model=b cannot be used with --server"),
        (
            {"server": "a:1", "num_virtual_devices": 2},
            "--num_virtual_devices=2 cannot be",
        ),
        ({"server": "a:1", "model": ""}, "--model= must name"),
        ({"server": "a"}, "--server=a must be host:port for gRPC, or http://host:port for REST"),
        ({"model": "x"}, "--model=x needs --server"),
        ({"retries": 0}, "--retries=0 needs --server"),
        ({"saved_model": "newest", "in_flight": 1}, "--in_flight=1 needs --server"),
        ({"seed": 2**63 - 1}, "--seed=9223372036854775807 and the seeds after"),
    ],
)
def test_flags_that_contradict_each_other(flags, message):
    with pytest.raises(ConfigError) as error:
        SampleOptions(**flags).validate()
    assert message in str(error.value)


@pytest.mark.parametrize("origin", [{"saved_model": "newest"}, {"server": "a:1"}, {}])
def test_exports_take_settings_too(origin):
    SampleOptions(**origin, step_lr=0.1, num_steps_each=3).validate()


def test_files_do_not_depend_on_the_order_of_arrival(fake, tmp_path, monkeypatch):
    def images(self, seeds, bar):
        for index in (2, 0, 3, 1):
            yield seeds[index : index + 1], np.full([1, 4, 4, 1], index, np.uint8)

    for name in ("in_order", "in_another"):
        for format in ("npz", "grid", "png"):
            fake(num_samples=4, format=format, out=f"{name}/{format}")
        monkeypatch.setattr(FakeOrigin, "images", images)
    for format in ("npz", "grid", *[f"png/00000{seed}.png" for seed in range(4)]):
        found = [(tmp_path / name / format).read_bytes() for name in ("in_order", "in_another")]
        assert found[0] == found[1]


def test_single_pngs_stay_when_drawing_fails(fake, monkeypatch):
    closed = []

    def images(self, seeds, bar):
        try:
            yield seeds[1:2], np.zeros([1, 4, 4, 1], np.uint8)
            raise UserError("the server is gone")
        finally:
            closed.append(1)

    monkeypatch.setattr(FakeOrigin, "images", images)
    with pytest.raises(UserError, match="gone"):
        fake(num_samples=4, format="png")
    assert os.listdir("samples") == ["000001.png"]
    os.makedirs("other/000001.png")
    with pytest.raises(UserError, match="000001.png cannot be written") as error:
        fake(num_samples=4, format="png", out="other")
    # `error` keeps the frames alive: no garbage collector has closed the generator.
    assert error.value.__traceback__ is not None
    assert len(closed) == 2


def test_extreme_seeds_are_allowed():
    SampleOptions(seed=2**63 - 25).validate()
    SampleOptions(seed=-(2**63)).validate()


class OtherModel(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": x + 1}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A folder of folders: two versions of a sampler, and models of other kinds."""
    folder = tmp_path_factory.mktemp("exports")
    module, other = serving_server.StandIn(), OtherModel()
    serving_server.save_stand_in(folder / "sampler/10")
    (folder / "sampler/10/metadata.json").write_text('{"max_steps_each": 9}')
    serving_server.save_stand_in(folder / "sampler/9")
    for name, signatures in [
        ("other signature", {"predict": module.sample_uint8}),
        ("other inputs", {"sample_uint8": other.__call__}),
    ]:
        tf.saved_model.save(other if "inputs" in name else module, str(folder / name), signatures)
    (folder / "damaged").mkdir()
    (folder / "damaged" / "saved_model.pb").write_bytes(b"not a model")
    (folder / "empty").mkdir()
    return folder


@pytest.mark.parametrize("name, version", [("sampler", "10"), ("sampler/9", "9")])
def test_an_export_is_drawn_from_by_version_or_the_newest(name, version, exports, fake, capsys):
    fake(saved_model=str(exports / name), num_samples=3, batch_size=2, seed=-2, format="npz")
    with np.load("samples.npz") as arrays:
        expected = serving_server.stand_in_images([-2, -1, 0])
        np.testing.assert_array_equal(arrays["images"], expected)
    assert capsys.readouterr().out == f"Sampling from {exports / 'sampler' / version}\n"


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"num_steps_each": 4}, {"steps": 4}),
        ({"step_lr": 0.25}, {"step_lr": 0.25}),
        ({"num_steps_each": 9, "step_lr": 0.75}, {"steps": 9, "step_lr": 0.75}),
    ],
)
def test_an_export_takes_settings(settings, expected, exports, fake):
    fake(saved_model=str(exports / "sampler"), num_samples=3, format="npz", **settings)
    with np.load("samples.npz") as arrays:
        images = serving_server.stand_in_images([0, 1, 2], **expected)
        np.testing.assert_array_equal(arrays["images"], images)


def test_more_steps_than_an_export_takes(exports, fake):
    folder = exports / "sampler"
    with pytest.raises(ConfigError) as error:
        fake(saved_model=str(folder), num_steps_each=10)
    assert str(error.value) == f"--num_steps_each=10 is more than the 9 that {folder / '10'} takes"
    fake(saved_model=str(folder / "9"), num_steps_each=10, num_samples=1)  # which names no cap


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
    strategy = mirrored_strategy(["CPU:0"])
    with pytest.raises(UserError, match="no run in runs/"):
        draw.draw(SampleOptions(saved_model=saved_model), strategy)
    with pytest.raises(UserError, match="nowhere holds no checkpoint"):
        draw.draw(SampleOptions(saved_model=saved_model, workdir="nowhere"), strategy)
    assert os.listdir() == []
