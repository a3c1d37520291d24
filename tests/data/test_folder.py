"""A folder of pictures as a data set."""

import os

import numpy as np
import pytest
from PIL import Image
from source_checks import images, one_line

from ncsn_tf.data import batches as data
from ncsn_tf.data.listing import find_pictures
from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import UserError


def load_folder(folder, split="train", **options):
    options = {"image_size": 4, "channels": 3, **options}
    return load_source("image_folder", split, data_dir=str(folder), **options)


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


def test_folder_reports_unreadable_files_and_goes_on(tmp_path, capsys):
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
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"warning: picture left out, unreadable: {tmp_path}/cut.jpg (")
    assert lines[1:] == [
        f"warning: picture left out, unreadable: {tmp_path}/text.png (not a picture)",
        f"{tmp_path}: 5 pictures found, 3 read, 2 unreadable, 2 for training",
    ]
    assert images(load_folder(tmp_path, "test", channels=1)).max() == 1
    found = f"{tmp_path}: 5 pictures found, 3 read, 2 unreadable, 1 for test\n"
    assert capsys.readouterr().err == found  # what was left out was said before


def test_folder_names_the_first_twenty_unreadable_files(tmp_path, capsys):
    for index in range(25):
        (tmp_path / f"{index:02}.png").write_text("broken")
    save(tmp_path / "good.png", "L", 1)
    assert load_folder(tmp_path).num_examples == 1
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "picture left out, unreadable: " in line]) == 20
    assert lines[20:] == [
        "warning: and 5 more",
        f"warning: {tmp_path} has one picture that can be read: it is for training and for test",
        f"{tmp_path}: 26 pictures found, 1 read, 25 unreadable, 1 for training",
    ]


def test_folder_without_a_readable_picture_is_a_user_error(tmp_path, capsys):
    for name in ("text.png", "also.png"):
        (tmp_path / name).write_text("this is no picture")
    for split in ("train", "test"):
        with pytest.raises(UserError) as error:
            load_folder(tmp_path, split)
        assert one_line(error).startswith(f"none of the 2 pictures in '{tmp_path}' can be read: ")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "bad, test, train",
    [
        ([], [0, 20, 40], [*range(1, 20), *range(21, 40)]),
        ([0], [1, 20, 40], [*range(2, 20), *range(21, 40)]),
        ([0, 1, 20, 30], [2, 21, 40], [*range(3, 20), *range(22, 30), *range(31, 40)]),
        ([40], [0, 20], [*range(1, 20), *range(21, 40)]),
        ([*range(20)], [20, 40], [*range(21, 40)]),
        ([*range(1, 40)], [0], [40]),  # each alone in its block
        ([*range(40)], [40], [40]),
    ],
)
def test_the_split_is_made_of_the_readable_pictures(tmp_path, bad, test, train):
    for index in range(41):
        save(tmp_path / f"{index:02}.png", "L", index)
    for index in bad:
        (tmp_path / f"{index:02}.png").write_bytes(b"")
    for split, expected in (("test", test), ("train", train)):
        found = images(load_folder(tmp_path, split, channels=1))[:, 0, 0, 0]
        np.testing.assert_array_equal(found, expected)


def test_linked_folders_are_read_once_and_circles_end(tmp_path, capsys):
    data, other = tmp_path / "data", tmp_path / "other"
    save(data / "b" / "1.png", "L", 1)
    save(other / "2.png", "L", 2)
    save(other / "deep" / "3.png", "L", 3)
    (data / "a").symlink_to(data / "b")
    (data / "c").symlink_to(other)
    (other / "up").symlink_to(data)
    (data / "self").symlink_to(data / "self")
    (data / "gone.png").symlink_to(data / "nowhere")
    pixels = images(load_folder(data, channels=1))[:, 0, 0, 0]
    np.testing.assert_array_equal(pixels, [2, 3])  # 1 is for test
    lines = capsys.readouterr().err.splitlines()
    read_already = "a link to a folder that is read already"
    assert lines == [
        f"warning: left out of {data}: {data}/a: {read_already}",
        f"warning: left out of {data}: {data}/c/up: {read_already}",
        f"warning: picture left out, unreadable: {data}/gone.png (No such file or directory)",
        f"{data}: 4 pictures found, 3 read, 1 unreadable, 2 for training",
    ]


def test_hidden_files_runs_and_other_formats_are_left_out_and_said(tmp_path, capsys):
    for index in range(3):
        save(tmp_path / f"{index}.png", "L", index)
    for name in ("._1.png", ".thumbnails/1.png", "@eaDir/1.png", "__MACOSX/1.png"):
        save(tmp_path / name, "L", 99)
    save(tmp_path / "runs" / "exp[1]" / "samples" / "step-0000001.png", "L", 99)
    (tmp_path / "runs" / "exp[1]" / "checkpoints").mkdir()
    (tmp_path / "runs" / "exp[1]" / "config.json").write_text("{}")
    for name in ("a.HEIC", "b.svg", "c.svg", "notes.txt"):
        (tmp_path / name).touch()
    pixels = images(load_folder(tmp_path, channels=1))[:, 0, 0, 0]
    np.testing.assert_array_equal(pixels, [1, 2])
    assert capsys.readouterr().err.splitlines() == [
        f"warning: left out of {tmp_path}: {line}"
        for line in (
            f"{tmp_path}/runs/exp[1]: it holds a run, whose pictures are samples",
            "3 hidden folders",
            "1 hidden picture",
            "3 pictures in a format that is not read (1 .heic, 2 .svg)",
        )
    ] + [f"{tmp_path}: 3 pictures found, 3 read, 2 for training"]
    with pytest.raises(UserError) as error:
        load_folder(tmp_path / "runs")
    assert one_line(error).endswith("exp[1]: it holds a run, whose pictures are samples")


def test_folder_reads_the_first_frame_of_animations_and_pages(tmp_path):
    save(tmp_path / "0.png", "L", 0)
    more = [Image.new("RGB", (4, 4), "white")]
    for name in ("1.gif", "2.tif", "3.tiff", "4.webp", "5.png"):
        kind = {"lossless": True} if name.endswith("webp") else {}
        first = Image.new("RGB", (4, 4), (30, 60, 90))
        first.save(tmp_path / name, save_all=True, append_images=more, **kind)
    Image.new("CMYK", (4, 4), (255, 0, 0, 0)).save(tmp_path / "6.jpg", quality=100)
    pixels = images(load_folder(tmp_path))
    np.testing.assert_array_equal(pixels[:5], np.broadcast_to([30, 60, 90], [5, 4, 4, 3]))
    np.testing.assert_allclose(pixels[5], np.broadcast_to([0, 255, 255], [4, 4, 3]), atol=2)


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


def test_the_system_is_asked_of_links_only(tmp_path, monkeypatch):
    (tmp_path / "top" / "b").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name in ("top/1.png", "top/b/2.png", "elsewhere/3.png"):
        (tmp_path / name).touch()
    (tmp_path / "top" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "top" / "d.png").symlink_to(tmp_path / "nothing")
    asked, isdir = [], os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: asked.append(path) or isdir(path))
    top = os.path.join(tmp_path, "top")
    found = find_pictures(top).paths
    assert [os.path.relpath(path, top) for path in found] == [
        "1.png",
        "b/2.png",
        "c/3.png",
        "d.png",
    ]
    assert sorted(asked) == [os.path.join(top, name) for name in ("c", "d.png")]
