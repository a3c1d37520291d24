"""Samples become files: their order, names and places, whatever draws them."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ncsn_tf.errors import UserError
from ncsn_tf.generation import check_places, write_samples
from ncsn_tf.sampling.sampler import in_batches

PIECES = 3


class Origin:
    """Images that hold their seed in every pixel; three pieces a batch."""

    unit = "piece"

    def __init__(self, batch_size=64, inputs=None):
        self.batch_size = batch_size
        self.inputs = inputs
        self.labels = None
        self.batches = []
        self.frames = []

    def amount(self, num_images):
        return -(-num_images // self.batch_size) * PIECES

    def images(self, seeds, bar):
        yield from in_batches(self.draw_batch, seeds, self.batch_size, bar)
        assert bar.disable or bar.n == bar.total

    def draw_batch(self, seeds, advance):
        self.batches.append(list(seeds))
        images = np.zeros([len(seeds), 4, 4, 1], np.uint8) + seeds[:, None, None, None]
        for piece in range(PIECES):
            advance()
            if len(self.batches) == 1:
                self.frames.append((images * piece).astype(np.uint8))
        return images.astype(np.uint8)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_arrays_hold_every_seed_in_order():
    origin = Origin(batch_size=2)
    place = write_samples(origin, 7 + np.arange(5), output="samples.npz", format="npz")
    assert place == Path("samples.npz")
    with np.load(place) as arrays:
        assert sorted(arrays.files) == ["images", "seeds"]
        np.testing.assert_array_equal(arrays["seeds"], [7, 8, 9, 10, 11])
        assert arrays["seeds"].dtype == np.int64
        np.testing.assert_array_equal(arrays["images"][:, 0, 0, 0], [7, 8, 9, 10, 11])
        assert arrays["images"].shape == (5, 4, 4, 1)
        assert arrays["images"].dtype == np.uint8
    assert origin.batches == [[7, 8], [9, 10], [11, 11]]
    assert os.listdir() == ["samples.npz"]


def test_singles_are_named_by_their_seeds():
    write_samples(Origin(batch_size=2), 9 + np.arange(3), output="samples", format="png")
    assert sorted(os.listdir("samples")) == ["000009.png", "000010.png", "000011.png"]
    with Image.open("samples/000010.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.full((4, 4), 10))


def test_grid_and_place():
    places = [
        write_samples(Origin(batch_size=size), np.arange(4), output=output)
        for size, output in [(3, "samples.png"), (4, "new/folder/grid.png")]
    ]
    with Image.open(places[0]) as first, Image.open(places[1]) as second:
        assert min(first.size) >= 200
        np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


@pytest.mark.parametrize("count, rows", [(5, [[96, 1, 4], [97, 2, 5], [98, 3, 0]]), (1, [[96, 1]])])
def test_the_grid_has_a_row_for_each_picture(count, rows):
    """What is known of it, then its completions; pictures without one are left out."""
    inputs = (96 + np.arange(3, dtype=np.uint8))[:, None, None, None].repeat(4, 1).repeat(4, 2)
    write_samples(Origin(inputs=inputs), 1 + np.arange(count), output="grid.png")
    with Image.open("grid.png") as picture:
        factor = picture.height // (5 * len(rows) - 1)
        grid = np.asarray(picture)[::factor, ::factor]
    expected = np.array(rows)
    expected[expected == 0] = 96  # an empty place
    np.testing.assert_array_equal(grid[::5, ::5], expected)


def test_a_movie_shows_the_frames_of_its_origin():
    origin = Origin(batch_size=30)
    write_samples(origin, 1 + np.arange(40), output="a.npz", format="npz", movie="chain.gif")
    with Image.open("chain.gif") as movie:
        assert movie.n_frames == PIECES
        movie.seek(2)
        colours = np.unique(np.asarray(movie.convert("L")))
    assert 30 * 2 in colours
    assert not np.any(np.isin(2 * np.arange(31, 41), colours))


def test_a_place_that_cannot_be_written(monkeypatch):
    Path("file").write_text("in the way")
    os.mkdir("folder")
    for format in ("grid", "png", "npz"):
        with pytest.raises(UserError, match="file.* cannot be written: Not a directory"):
            check_places(0, format=format, output="file/deeper")
    with pytest.raises(UserError, match="folder cannot be written: Is a directory"):
        check_places(0, output="folder")
    check_places(0, output="folder", format="png")
    with pytest.raises(UserError, match="file/a.gif cannot be written: Not a directory"):
        check_places(0, output="a.png", movie="file/a.gif")
    os.makedirs("taken/000007.png")
    with pytest.raises(UserError, match="taken/000007.png cannot be written: Is a directory"):
        check_places(7, output="taken", format="png")
    check_places(8, output="taken", format="png")
    folder = os.path.abspath("folder")
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != folder)
    with pytest.raises(UserError, match="a.png cannot be written: Permission denied"):
        check_places(0, output="folder/new/a.png")
    assert sorted(os.listdir()) == ["file", "folder", "taken"] and not os.listdir("folder")


class OneByOne(Origin):
    """Images of seeds 0 to 3 in another order."""

    def images(self, seeds, bar):
        for index in (2, 0, 3, 1):
            yield seeds[index : index + 1], np.full([1, 4, 4, 1], index, np.uint8)


def test_files_do_not_depend_on_the_order_of_arrival():
    for name, origin in (("in_order", Origin()), ("in_another", OneByOne())):
        for format, output in (("npz", "a.npz"), ("grid", "a.png"), ("png", "png")):
            write_samples(origin, np.arange(4), output=f"{name}/{output}", format=format)
    for file in ("a.npz", "a.png", *[f"png/00000{seed}.png" for seed in range(4)]):
        found = [Path(name, file).read_bytes() for name in ("in_order", "in_another")]
        assert found[0] == found[1]


def test_single_pngs_stay_when_drawing_fails():
    closed = []

    class Failing(Origin):
        def images(self, seeds, bar):
            try:
                yield seeds[1:2], np.zeros([1, 4, 4, 1], np.uint8)
                raise UserError("the server is gone")
            finally:
                closed.append(1)

    with pytest.raises(UserError, match="gone"):
        write_samples(Failing(), np.arange(4), output="samples", format="png")
    assert os.listdir("samples") == ["000001.png"]
    os.makedirs("other/000001.png")
    with pytest.raises(UserError, match="000001.png cannot be written") as error:
        write_samples(Failing(), np.arange(4), output="other", format="png")
    # `error` keeps the frames alive: no garbage collector has closed the generator.
    assert error.value.__traceback__ is not None
    assert len(closed) == 2


def test_a_format_that_there_is_not():
    with pytest.raises(ValueError, match="format must be grid or png or npz, not 'gif'"):
        write_samples(Origin(), np.arange(4), output="a.gif", format="gif")
