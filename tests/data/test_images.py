"""Pictures on disk: layout, sizes, places that cannot be written."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from ncsn_tf.data import images
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.sampling import to_uint8

GREY = 96  # between images


def numbered(count, height=2, width=3, channels=1):
    """Images whose every pixel holds the image's number, from 1 on."""
    numbers = np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(numbers, (count, height, width, channels)).copy()


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_bytes_are_those_of_the_exported_sampler():
    bytes_and_halves = np.arange(-4, 516, dtype=np.float32) / 2 / 255
    values = np.concatenate([bytes_and_halves, np.nextafter(bytes_and_halves, np.float32(2))])
    np.testing.assert_array_equal(images.to_uint8(values), to_uint8(values))
    assert images.to_uint8(values).dtype == np.uint8
    np.testing.assert_array_equal(
        images.to_uint8(np.float32([-3, 0, 0.25, 1, 7])), [0, 0, 64, 255, 255]
    )


@pytest.mark.parametrize(
    "count, rows",
    [
        (1, [[1]]),
        (2, [[1, 2]]),
        (3, [[1, 2], [3, GREY]]),
        (5, [[1, 2, 3], [4, 5, GREY]]),
        (7, [[1, 2, 3], [4, 5, 6], [7, GREY, GREY]]),
    ],
)
def test_grid_is_near_square_and_read_row_by_row(count, rows):
    canvas = images.grid(numbered(count))
    assert canvas.shape == (3 * len(rows) - 1, 4 * len(rows[0]) - 1, 1)
    np.testing.assert_array_equal(canvas[::3, ::4, 0], rows)
    np.testing.assert_array_equal(canvas[1::3, 2::4, 0], rows)
    np.testing.assert_array_equal(canvas[2::3], GREY)
    np.testing.assert_array_equal(canvas[:, 3::4], GREY)


def test_grid_keeps_the_orientation_of_the_images(pictures):
    canvas = images.grid(pictures)
    np.testing.assert_array_equal(canvas[5:9, 7:13], pictures[4])


def test_grid_file_is_enlarged_by_whole_pixels(pictures, tmp_path):
    path = tmp_path / "new" / "grid.png"
    images.save_grid(path, pictures)
    canvas = images.grid(pictures)
    assert canvas.shape == (9, 20, 3)
    np.testing.assert_array_equal(pixels(path), canvas.repeat(25, 0).repeat(25, 1))
    assert os.listdir(path.parent) == ["grid.png"]


def test_large_and_grey_grids(tmp_path):
    images.save_grid(tmp_path / "large.png", numbered(4, 200, 300, 3))
    assert pixels(tmp_path / "large.png").shape == (401, 601, 3)
    images.save_grid(tmp_path / "grey.png", numbered(1, 128, 128, 1))
    assert pixels(tmp_path / "grey.png").shape == (512, 512)


def test_singles_keep_their_size_and_names(pictures, tmp_path):
    folder = tmp_path / "singles"
    images.save_singles(folder, pictures[:2], ["000007", "b"])
    images.save_singles(folder, pictures[2:3, :, :, :1], ["grey"])
    assert sorted(os.listdir(folder)) == ["000007.png", "b.png", "grey.png"]
    np.testing.assert_array_equal(pixels(folder / "000007.png"), pictures[0])
    np.testing.assert_array_equal(pixels(folder / "b.png"), pictures[1])
    np.testing.assert_array_equal(pixels(folder / "grey.png"), pictures[2, :, :, 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_movie_has_every_frame_and_rests_on_the_last(channels, tmp_path):
    frames = [np.full((4, 8, channels), 40 * i, np.uint8) for i in range(5)]
    images.save_movie(tmp_path / "chain.gif", frames, seconds=1.0)
    with Image.open(tmp_path / "chain.gif") as movie:
        assert (movie.format, movie.size, movie.n_frames) == ("GIF", (512, 256), 5)
        durations = []
        for index in range(movie.n_frames):
            movie.seek(index)
            durations.append(movie.info["duration"])
            np.testing.assert_array_equal(np.asarray(movie.convert("L")), 40 * index)
    assert durations == [200, 200, 200, 200, 2000]
    assert os.listdir(tmp_path) == ["chain.gif"]


def test_a_place_that_cannot_be_written(pictures, tmp_path):
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / "folder.png"
    folder.mkdir()
    for save, path in [
        (images.save_grid, tmp_path / "file" / "grid.png"),
        (images.save_grid, folder),
        (images.save_movie, tmp_path / "file" / "chain.gif"),
        (lambda path, pictures: images.save_singles(path, pictures, "abcde"), tmp_path / "file"),
    ]:
        with pytest.raises(UserError, match="cannot be written: ") as error:
            save(path, pictures)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


def test_grid_of_given_columns(pictures):
    shown = images.grid(pictures, columns=1)
    assert shown.shape == (5 * 5 - 1, 6, 3)
    np.testing.assert_array_equal(shown[10:14], pictures[2])


def test_bytes_of_pictures_in_their_own_size(pictures):
    with Image.open(io.BytesIO(images.png(pictures[0]))) as picture:
        assert picture.format == "PNG"
        np.testing.assert_array_equal(np.asarray(picture), pictures[0])
    frames = [np.full([4, 6, 1], value, np.uint8) for value in (0, 128, 255)]
    with Image.open(io.BytesIO(images.gif(frames))) as movie:
        assert (movie.format, movie.n_frames, movie.size) == ("GIF", 3, (6, 4))
        movie.seek(1)
        assert np.all(np.asarray(movie.convert("L")) == 128)


@pytest.mark.parametrize("name, kind", [("a.JPG", "JPEG"), ("a.jpeg", "JPEG"), ("a.Png", "PNG")])
def test_the_ending_decides_the_format(name, kind, tmp_path):
    image = np.full([600, 600, 3], 100, np.uint8)
    images.save_picture(tmp_path / name, image)
    with Image.open(tmp_path / name) as picture:
        assert picture.format == kind
        np.testing.assert_allclose(np.asarray(picture), image, atol=1)


def test_a_movie_of_another_format(tmp_path):
    frames = [np.full([512, 512, 3], value, np.uint8) for value in (0, 100, 200)]
    images.save_movie(tmp_path / "chain.webp", frames)
    with Image.open(tmp_path / "chain.webp") as movie:
        assert (movie.format, movie.n_frames) == ("WEBP", 3)
    for save, name, picture in [
        (images.save_movie, "chain.mp4", frames),
        (images.save_movie, "chain", frames),
        (images.save_picture, "a.bmp", frames[0]),
        (images.save_picture, "a", frames[0]),
    ]:
        with pytest.raises(ConfigError, match=f"{name} must end with .* or .*, which decides its"):
            save(tmp_path / name, picture)
    assert os.listdir(tmp_path) == ["chain.webp"]
