"""`ncsn schedule`: from images to the flags of NCSNv2."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ncsn_tf.commands import schedule as schedule_command
from ncsn_tf.commands.console import run_command
from ncsn_tf.data.batches import Source
from ncsn_tf.data.decoding import PictureError
from ncsn_tf.data.encoded import EncodedImages
from ncsn_tf.schedule import choose_num_levels, choose_step_lr
from ncsn_tf.settings.flags import parse_config
from ncsn_tf.training import schedule_choice
from ncsn_tf.training.schedule_choice import (
    experiment,
    flagfile,
    measure,
    with_schedule,
)

ROOT = Path(__file__).resolve().parents[2]
DIGITS_DISTANCE = 4.7996  # of its 1,618 training images


def run(*flags):
    """Exit code of the command in this process."""
    with pytest.raises(SystemExit) as end:
        run_command(schedule_command.main, ["schedule.py", *flags])
    return end.value.code


def flags_of(text, tmp_path):
    path = tmp_path / "printed.flags"
    path.write_text(text)
    return parse_config(["train.py", f"--flagfile={path}"])


def pictures(folder, *values, size=32):
    """Grey pictures of these values, 20 times each, so that the held-out ones change nothing."""
    folder.mkdir()
    for index in range(20 * len(values)):
        value = values[index % len(values)]
        Image.new("RGB", (size, size), (value,) * 3).save(folder / f"{index:04d}.png")
    return str(folder)


def test_what_is_printed_for_digits(capsys, tmp_path):
    assert run("--dataset=digits") == 0
    text = capsys.readouterr().out
    config = flags_of(text, tmp_path)
    assert (config.dataset, config.image_shape) == ("digits", (8, 8, 1))
    assert (config.model, config.depth, config.features) == ("ncsnv2", "base", 16)
    assert f"{DIGITS_DISTANCE:.4f}, between two of 1,618 of 1,618 images" in text
    assert (config.sigma_begin, config.sigma_end) == (4.8, 0.01)
    assert config.num_levels == choose_num_levels(4.8, 0.01, 64)
    step_lr = choose_step_lr(0.01, 480 ** (1 / (config.num_levels - 1)), 5)
    assert config.step_lr == pytest.approx(step_lr, rel=5e-3)
    assert config.num_steps_each == 5
    assert config.denoise and not config.dequantize and config.ema_decay == 0.999
    assert config.learning_rate == 1e-4
    assert config.workdir == "runs/digits_ncsnv2"
    assert "ncsn train --flagfile=FILE" in text


def test_a_folder_of_pictures_becomes_a_flagfile(capsys, tmp_path):
    folder = pictures(tmp_path / "my pictures", 10, 30, 110)
    target = tmp_path / "new" / "mine.flags"
    flags = ["--dataset=image_folder", f"--data_dir={folder}", "--image_size=16"]
    assert run(*flags, f"--write={target}", "--num_steps_each=4", "--sigma_end=0.02") == 0
    out = capsys.readouterr().out
    assert target.read_text() in out
    assert f"ncsn train --flagfile={target}" in out
    config = parse_config(["train.py", f"--flagfile={target}"])
    assert (config.dataset, config.data_dir, config.image_size) == ("image_folder", folder, 16)
    # 100 grey levels apart in every one of 16 x 16 x 3 numbers.
    assert config.sigma_begin == 10.9 and 10.8 < 100 / 255 * 768**0.5 <= 10.9
    assert (config.sigma_end, config.num_steps_each) == (0.02, 4)
    assert config.workdir == "runs/mine"

    before = target.read_text()
    assert run(*flags, f"--write={target}") == 2
    error = capsys.readouterr().err
    assert error == f"error: --write={target} exists: another name, or --overwrite\n"
    assert target.read_text() == before
    assert run(*flags, f"--write={target}", "--overwrite") == 0
    assert target.read_text() != before


def test_the_printed_flags_are_the_settings(tmp_path):
    config = experiment("mnist", image_size=96)
    config, reasons = with_schedule(config, 51.2345, 10, 20)
    assert (config.random_flip, config.features, config.channels) == (False, 64, 1)
    assert config.sigma_begin == 51.3
    text = flagfile(config, reasons, "python train.py")
    assert flags_of(text, tmp_path) == config
    lines = [line for line in text.splitlines() if line]
    assert all(line.startswith(("# ", "--")) for line in lines)


@pytest.mark.parametrize(
    "size, depth, steps, epsilon",
    [(64, "base", 5, 1e-8), (96, "deeper", 3, 1e-8), (128, "deeper", 3, 1e-8)]
    + [(136, "deepest", 3, 1e-3), (256, "deepest", 3, 1e-3)],
)
def test_the_size_of_the_images_decides_the_depth(size, depth, steps, epsilon):
    config = experiment("cifar10", image_size=size)
    assert (config.depth, config.num_steps_each, config.adam_epsilon) == (depth, steps, epsilon)


@pytest.mark.parametrize(
    "distance, rounded",
    [
        (4.7996, 4.8),
        (48.913, 49.0),
        (348.0, 348.0),
        (0.5, 0.5),
        (0.0712345, 0.0713),
        (99.99, 100.0),
    ],
)
def test_the_largest_level_is_rounded_up(distance, rounded):
    config = experiment("cifar10")
    assert with_schedule(config, distance, 1, 1)[0].sigma_begin == rounded


def test_numbers_of_three_digits_stay():
    for exponent in range(-4, 3):
        for digits in range(100, 1000):
            value = float(f"{digits}e{exponent}")
            assert schedule_choice._round_up(value) == value
            assert schedule_choice._round_up(value * (1 + 1e-9)) > value


def test_only_so_many_images_are_measured(monkeypatch):
    config = experiment("digits")
    whole = measure(config)
    assert whole == (pytest.approx(DIGITS_DISTANCE, abs=5e-5), 1618, 1618)
    distance, count, total = measure(config, 50)
    assert (count, total) == (50, 1618)
    assert 2.0 < distance <= whole[0]
    monkeypatch.setattr(schedule_choice, "_MEMORY", 100 * 64)
    assert measure(config)[1:] == (100, 1618)
    assert measure(dataclasses.replace(config, image_size=16))[1:] == (25, 1618)
    assert measure(config, 5000)[1:] == (1618, 1618)


@pytest.mark.parametrize(
    "flags, code, message",
    [
        (["--dataset=image_folder", "--data_dir=."], 2, "needs an explicit --image_size"),
        (["--dataset=image_folder", "--image_size=32"], 2, "--data_dir= must name the folder"),
        (["--dataset=cifar10", "--image_size=130"], 2, "a multiple of 8 with --depth=deepest"),
        (["--dataset=digits", "--num_images=-1"], 2, "--num_images=-1 must be at least 0"),
        (["--dataset=digits", "--sigma_end=0"], 2, "--sigma_end=0.0 must be above 0"),
        (["--dataset=digits", "--sigma_end=9"], 1, "at most 4.79958 apart, not more than --sigma"),
        (["--dataset=digits", "--features=3"], 2, "Unknown command line flag 'features'"),
        (["--dataset=image_folder", "--data_dir=/nowhere", "--image_size=32"], 1, "not a folder"),
    ],
)
def test_mistakes_are_one_line(flags, code, message, capsys):
    assert run(*flags) == code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ") and message in line
    assert captured.out == ""


def test_pictures_that_are_all_the_same(capsys, tmp_path):
    folder = pictures(tmp_path / "same", 7)
    flags = ["--dataset=image_folder", f"--data_dir={folder}", "--image_size=8"]
    assert run(*flags) == 1
    assert "at most 0 apart" in capsys.readouterr().err


def test_distances_of_a_folder_do_not_depend_on_the_order_of_reading(tmp_path):
    """The whole set is measured, whatever order it is shuffled into."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "noise"
    folder.mkdir()
    for index in range(30):
        pixels = rng.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    config = experiment("image_folder", data_dir=str(folder), image_size=8)
    distance, count, total = measure(config)
    assert count == total == 28  # two are held out
    train = [
        np.asarray(Image.open(path)).astype(int).ravel()
        for index, path in enumerate(sorted(folder.iterdir()))
        if index % 20
    ]
    exact = max(np.sqrt(((a - b) ** 2).sum()) for a in train for b in train) / 255
    assert distance == pytest.approx(exact, rel=1e-12)


def test_pictures_that_are_left_out_are_said_by_the_command(capsys, tmp_path):
    folder = pictures(tmp_path / "pictures [1]", 10, 110)
    for name in ("0000.png", "0005.png"):
        (tmp_path / "pictures [1]" / name).write_text("no picture")
    assert run("--dataset=image_folder", f"--data_dir={folder}", "--image_size=8") == 0
    assert [line for line in capsys.readouterr().err.splitlines() if "picture" in line] == [
        f"warning: picture left out, unreadable: {folder}/0000.png (not a picture)",
        f"warning: picture left out, unreadable: {folder}/0005.png (not a picture)",
        f"{folder}: 40 pictures found, 38 read, 2 unreadable, 36 for training",
    ]
    assert run("--dataset=image_folder", f"--data_dir={tmp_path / 'none'}", "--image_size=8") == 1


@pytest.mark.parametrize("asked, count, total", [(0, 3, 3), (5, 3, 3), (2, 2, 5)])
def test_images_that_cannot_be_decoded_are_not_counted(asked, count, total, monkeypatch):
    """Where all were read: of others nobody knows."""

    def decode(record):
        if record == b"damaged":
            raise PictureError("test", "damaged")
        return np.full([8, 8, 1], record[0], np.uint8)

    records = np.array([b"damaged", b"b", b"x", b"damaged", b"a"], object)
    source = Source(EncodedImages(records, decode, (8, 8, 1), "test"), "test")
    monkeypatch.setattr(schedule_choice, "run_source", lambda config, split: source)
    assert measure(experiment("digits"), asked)[1:] == (count, total)
