"""A folder of pictures as a data set."""

import numpy as np
import pytest
from PIL import Image
from source_checks import images, one_line

from ncsn_tf.data import batches as data
from ncsn_tf.data import folder as folder_source
from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import UserError


def load_folder(folder, split="train", **options):
    options = {"image_size": 4, "channels": 3, **options}
    return load_source("image_folder", split, data_dir=str(folder), **options)


@pytest.fixture
def warnings(monkeypatch):
    lines = []
    monkeypatch.setattr(
        folder_source.logging, "warning", lambda text, *values: lines.append(text % values)
    )
    return lines


def save(path, mode, colour, size=(4, 4), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


def test_folder_reads_every_format_below_it(tmp_path):
    save(tmp_path / "0.png", "RGB", "black")  # the first of the sorted order is for test
    save(tmp_path / "1.png", "RGB", (10, 20, 30))
    save(tmp_path / "2.bmp", "RGB", (1, 2, 3))
    save(tmp_path / "3.webp", "RGB", (9, 8, 7), lossless=True)
    save(tmp_path / "4.JPG", "RGB", (100, 100, 100), quality=100)
    save(tmp_path / "5.jpeg", "L", 50, quality=100)
    save(tmp_path / "sub" / "deep" / "c.PNG", "1", 1)
    (tmp_path / "notes.txt").write_text("no picture")
    pixels = images(load_folder(tmp_path))
    assert np.ptp(pixels.astype(int), axis=(1, 2)).max() <= 1
    first = [[10, 20, 30], [1, 2, 3], [9, 8, 7]]
    np.testing.assert_array_equal(pixels[:3, 0, 0], first)
    jpegs = [[100, 100, 100], [50, 50, 50]]
    np.testing.assert_allclose(pixels[3:5, 0, 0], jpegs, atol=1)
    np.testing.assert_array_equal(pixels[5:, 0, 0], [[255, 255, 255]])


def test_folder_in_grey(tmp_path):
    save(tmp_path / "a.png", "RGB", (0, 100, 0))
    pixels = images(load_folder(tmp_path, channels=1))
    assert pixels.shape == (1, 4, 4, 1)
    np.testing.assert_allclose(pixels[0, 0, 0, 0], 58.7, atol=1)


def test_folder_crops_and_resizes(tmp_path):
    rows, columns = np.meshgrid(np.arange(6), np.arange(10), indexing="ij")
    values = (20 * rows + columns).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    square = images(load_folder(tmp_path, channels=1, image_size=6))[0, ..., 0]
    np.testing.assert_array_equal(square, values[:, 2:8])
    cropped = images(load_folder(tmp_path, channels=1, image_size=4, crop_size=4))[0, ..., 0]
    np.testing.assert_array_equal(cropped, values[1:5, 3:7])
    shrunk = images(load_folder(tmp_path, channels=1, image_size=1))[0, ..., 0]
    np.testing.assert_allclose(shrunk, values[:, 2:8].mean(), atol=2)  # nearest would be 64 or 44


def test_folder_holds_out_every_twentieth_file_for_test(tmp_path):
    for index in range(41):
        save(tmp_path / f"{index:02}.png", "L", index)
    train = images(load_folder(tmp_path, channels=1))[:, 0, 0, 0]
    test = images(load_folder(tmp_path, "test", channels=1))[:, 0, 0, 0]
    np.testing.assert_array_equal(test, [0, 20, 40])
    np.testing.assert_array_equal(train, sorted(set(range(41)) - {0, 20, 40}))


def test_folder_of_one_or_two_pictures(tmp_path):
    save(tmp_path / "a.png", "L", 1)
    assert images(load_folder(tmp_path, "train")).max() == 1
    assert images(load_folder(tmp_path, "test")).max() == 1
    save(tmp_path / "b.png", "L", 2)
    assert images(load_folder(tmp_path, "train")).max() == 2
    assert images(load_folder(tmp_path, "test")).max() == 1


def test_folder_reports_unreadable_files_and_goes_on(tmp_path, warnings):
    save(tmp_path / "a.png", "L", 1)
    save(tmp_path / "b.png", "L", 2)
    noise = np.random.default_rng(0).integers(0, 256, [64, 64, 3], np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    cut = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    (tmp_path / "text.png").write_text("this is no picture")
    save(tmp_path / "z.png", "L", 3)
    pixels = images(load_folder(tmp_path, channels=1))[:, 0, 0, 0]
    np.testing.assert_array_equal(pixels, [2, 3])
    assert len(warnings) == 3
    assert str(tmp_path / "cut.jpg") in warnings[0]
    assert warnings[1].endswith("/text.png (not a picture)")
    assert "2 of 4 pictures" in warnings[2]
    assert not any("\n" in line for line in warnings)


def test_folder_names_the_first_twenty_unreadable_files(tmp_path, warnings):
    for index in range(25):
        (tmp_path / f"{index:02}.png").write_text("broken")
    save(tmp_path / "good.png", "L", 1)
    assert load_folder(tmp_path).num_examples == 1
    assert len([line for line in warnings if str(tmp_path) in line]) == 20
    assert warnings[20] == "and 3 more"  # 25, less 00.png and 20.png, which are for test
    assert "23 of 24" in warnings[21]


def test_folder_without_a_readable_picture_is_a_user_error(tmp_path, warnings):
    (tmp_path / "text.png").write_text("this is no picture")
    with pytest.raises(UserError) as error:
        load_folder(tmp_path)
    assert str(tmp_path) in one_line(error)


@pytest.mark.parametrize("kind", ["empty", "missing", "file", ""])
def test_folder_that_is_none_is_a_user_error(tmp_path, kind):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as error:
        load_folder(tmp_path / kind if kind else "")
    assert (kind or "data_dir") in one_line(error)


def test_folder_end_to_end(tmp_path):
    for index in range(6):
        save(tmp_path / f"{index}.png", "RGB", (index, 0, 255))
    source = load_folder(tmp_path)
    batch = next(iter(data.training_batches(source, batch_size=5, seed=0))).numpy()
    np.testing.assert_array_equal(np.sort(np.rint(batch[:, 0, 0, 0] * 255)), np.arange(1, 6))
    assert np.all(batch[..., 2] == 1.0)
