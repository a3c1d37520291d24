"""sample.py's conditional modes, on small networks of any weights."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from ncsn_tf import checkpoints, draw
from ncsn_tf.command_line import parse_options
from ncsn_tf.conditions import open_condition
from ncsn_tf.config import Config
from ncsn_tf.draw import SampleOptions
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.runtime import mirrored_strategy
from ncsn_tf.state import build_network

ROOT = Path(__file__).resolve().parent.parent
COLOUR = Config(
    dataset="digits",
    image_size=8,
    channels=3,
    features=2,
    sigma_begin=0.05,
    num_levels=2,
    step_lr=1e-6,
    num_steps_each=2,
    sampling_tile=2,
)
PIXELS = np.random.RandomState(0).randint(0, 256, (3, 8, 8, 3)).astype(np.uint8)
PIXELS[:, :2, :2], PIXELS[:, :2, 2:4] = 0, 255
ROUNDING = 0.5 + 1e-4  # of the mean of rounded numbers
SMALL = PIXELS.reshape(3, 4, 2, 4, 2, 3).mean((2, 4))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of a network of colours and of one of greys, and pictures."""
    folder = tmp_path_factory.mktemp("conditions")
    for name, channels in (("colour", 3), ("grey", 1)):
        config = dataclasses.replace(COLOUR, channels=channels, workdir=str(folder / name))
        keras.utils.set_random_seed(1)
        checkpoints.save_network(build_network(config), config)
    np.savez(folder / "three.npz", images=PIXELS)
    Image.fromarray(PIXELS[0]).save(folder / "one.png")
    Image.fromarray(PIXELS[0, :, :, 0]).save(folder / "grey.png")
    Image.fromarray(np.round(SMALL[0]).astype(np.uint8)).save(folder / "small.png")
    return folder


@pytest.fixture
def sample(folder, tmp_path):
    """Options -> arrays of the .npz; a run's and a picture's names are those in `folder`."""

    def sample(run="colour", **options):
        options = {
            name: str(folder / value) if name in ("inpaint", "colorize", "super_resolve") else value
            for name, value in options.items()
        }
        options = SampleOptions(
            workdir=str(folder / run), format="npz", out=str(tmp_path / "out.npz"), **options
        )
        options.validate()
        with np.load(draw.draw(options, mirrored_strategy(["CPU:0"]))) as arrays:
            return arrays["images"]

    return sample


def test_known_pixels_are_the_pictures(sample):
    images = sample(inpaint="three.npz", mask="left", num_samples=5, seed=7)
    assert images.shape == (5, 8, 8, 3)
    np.testing.assert_array_equal(images[:, :, 4:], PIXELS[[0, 1, 2, 0, 1], :, 4:])
    filled = images[:, :, :4]
    assert not np.array_equal(filled[0], filled[3])
    # The same image in other batches, and for fewer samples.
    again = sample(inpaint="three.npz", mask="left", num_samples=4, seed=7, batch_size=3)
    np.testing.assert_array_equal(again, images[:4])


def test_colours_have_the_means_of_the_picture(sample, folder):
    images = sample(colorize="one.png", num_samples=2).astype(int)
    means = np.broadcast_to(PIXELS[0].mean(-1), images.shape[:-1])
    np.testing.assert_allclose(images.mean(-1), means, rtol=0, atol=ROUNDING)
    assert np.abs(images - images.mean(-1, keepdims=True)).max() > 100
    grey = sample(colorize="grey.png", num_samples=1)[0]
    np.testing.assert_allclose(grey.mean(-1), PIXELS[0, :, :, 0], rtol=0, atol=ROUNDING)


def test_blocks_have_the_means_of_the_picture(sample):
    def blocks(images):
        return images.reshape(-1, 4, 2, 4, 2, 3)

    for picture in ("one.png", "small.png"):
        images = sample(super_resolve=picture, factor=2, num_samples=8)
        given = SMALL[0] if picture == "one.png" else np.round(SMALL[0])
        means = blocks(images).mean((2, 4))
        expected = np.broadcast_to(given, means.shape)
        np.testing.assert_allclose(means, expected, rtol=0, atol=ROUNDING)
        assert not np.array_equal(images[0], images[1])
        assert np.mean((images == 0) | (images == 255)) > 0.1  # the bounds matter


def test_angles_of_an_interpolation():
    """The ends are the seeds' alone, the middle an eighth of a turn, in any batch."""
    condition = open_condition(SampleOptions(interpolate="5,-9", num_samples=5), COLOUR)
    seeds, mixture = condition.rows(np.arange(5))
    np.testing.assert_array_equal(seeds, [5] * 5)
    np.testing.assert_array_equal(mixture.seeds, [-9] * 5)
    own, other = mixture.own_share, mixture.other_share
    np.testing.assert_array_equal([own[0], own[4]], [1, 0])
    np.testing.assert_array_equal([other[0], other[4]], [0, 1])
    np.testing.assert_allclose([own[2], other[2]], [0.5**0.5] * 2, rtol=1e-6)
    eighth = np.pi / 8
    np.testing.assert_allclose([own[1], other[1]], [np.cos(eighth), np.sin(eighth)], rtol=1e-6)
    np.testing.assert_array_equal(condition.rows(np.arange(3, 5))[1].own_share, own[3:])
    alone = open_condition(SampleOptions(interpolate="5,-9", num_samples=1), COLOUR)
    assert alone.rows(np.arange(1))[1].own_share == 1


def test_interpolation_begins_with_the_image_of_its_seed(sample):
    images = sample(interpolate="5,9", num_samples=4, batch_size=3)
    np.testing.assert_array_equal(images[0], sample(seed=5, num_samples=1)[0])
    distances = [np.abs(images[i].astype(float) - images[0]).mean() for i in range(4)]
    assert 0 < distances[1] < distances[2] < distances[3]


def test_as_many_images_as_pictures(sample, folder, capsys):
    """Without --num_samples none is left out; with it, what is left out is said."""
    many = np.random.RandomState(2).randint(0, 256, (27, 8, 8, 3)).astype(np.uint8)
    np.savez(folder / "many.npz", images=many)
    images = sample(inpaint="many.npz", mask="top")
    np.testing.assert_array_equal(images[:, 4:], many[:, 4:])
    assert len(sample(inpaint="three.npz")) == 25
    capsys.readouterr()
    assert len(sample(inpaint="three.npz", num_samples=2)) == 2
    assert "Completing the first 2 of 3 pictures (--num_samples)\n" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=f"--seed={2**63 - 25} and the seeds after it must fit"):
        sample(inpaint="many.npz", seed=2**63 - 25)


def test_the_grid_has_a_row_for_each_picture(folder, tmp_path):
    out = tmp_path / "grid.png"
    flags = [f"--workdir={folder / 'colour'}", f"--inpaint={folder / 'three.npz'}", f"--out={out}"]
    flags += ["--num_samples=5", "--mask=bottom"]
    command = [sys.executable, str(ROOT / "sample.py"), *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with Image.open(out) as picture:
        factor = picture.width // 26  # three images of 8 pixels, two gaps
        assert picture.size == (26 * factor, 26 * factor)
        grid = np.asarray(picture)[::factor, ::factor]
    for row in range(3):
        for column in range(2 if row == 2 else 3):
            cell = grid[9 * row : 9 * row + 8, 9 * column : 9 * column + 8]
            np.testing.assert_array_equal(cell[:4], PIXELS[row, :4])
            assert np.all(cell[4:] == 96) == (column == 0)
    assert np.all(grid[18:, 18:] == 96)


def test_rules_and_denoising_follow_the_generation_of_the_network(folder):
    def chain(config, **options):
        options = SampleOptions(inpaint=str(folder / "one.png"), **options)
        return open_condition(options, options.chain(config)).chain

    second = dataclasses.replace(COLOUR, model="ncsnv2", denoise=True)
    first = dataclasses.replace(COLOUR, denoise=True)
    assert (chain(first).redraw, chain(first).denoise) == (False, True)
    assert (chain(second).redraw, chain(second).denoise) == (True, False)
    assert chain(second, denoise=True).denoise
    assert not chain(first, denoise=False).denoise
    assert open_condition(SampleOptions(), COLOUR) is None


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"inpaint": "grey.png"}, UserError, "grey.png is grey, and the network draws colour"),
        ({"inpaint": "small.png"}, UserError, "small.png has 4 x 4 pixels, not 8 x 8: "),
        ({"inpaint": "absent.png"}, UserError, "absent.png cannot be read: No such file"),
        ({"run": "grey", "inpaint": "one.png"}, UserError, "one.png has colours, and"),
        ({"run": "grey", "colorize": "grey.png"}, ConfigError, "needs a network that draws colour"),
        ({"super_resolve": "one.png", "factor": 3}, ConfigError, "--factor=3 must divide the 8"),
        ({"super_resolve": "small.png"}, UserError, "4 x 4 pixels, not 8 x 8 or 2 x 2: "),
        ({"inpaint": "one.png", "mask": "x"}, UserError, "--mask=x is neither a file nor one of"),
        (
            {"inpaint": "one.png", "sampler": "pc"},
            ConfigError,
            "a condition needs --sampler=ald, not",
        ),
        (
            {"interpolate": "1,2", "sampler": "ode"},
            ConfigError,
            "a condition needs --sampler=ald",
        ),
    ],
)
def test_what_cannot_be_done(options, error, message, sample):
    with pytest.raises(error) as raised:
        sample(**options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert type(raised.value) is error


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"inpaint": "a", "colorize": "b"}, "--colorize=b cannot be used with --inpaint=a"),
        ({"mask": "left"}, "--mask=left needs --inpaint"),
        ({"inpaint": "a", "factor": 2}, "--factor=2 needs --super_resolve"),
        ({"interpolate": "1,2", "resize": True}, "--resize=true needs --inpaint or --colorize or"),
        ({"inpaint": ""}, "--inpaint= must name a file"),
        ({"colorize": ""}, "--colorize= must name a file"),
        ({"super_resolve": ""}, "--super_resolve= must name a file"),
        ({"classifier": ""}, "--classifier= must name a file"),
        ({"interpolate": ""}, "--interpolate= must be two 64-bit seeds"),
        ({"interpolate": "1"}, "--interpolate=1 must be two 64-bit seeds, such as 3,8"),
        ({"interpolate": "1,2,3"}, "--interpolate=1,2,3 must be two"),
        ({"interpolate": "1,x"}, "--interpolate=1,x must be two"),
        ({"interpolate": f"1,{2**63}"}, "must be two 64-bit seeds"),
        ({"interpolate": "1,2", "seed": 3}, "--seed=3 cannot be used with --interpolate, which"),
        ({"inpaint": "a", "server": "a:1"}, "--inpaint=a cannot be used with --server"),
        (
            {"colorize": "a", "saved_model": "b"},
            "--colorize=a cannot be used with --saved_model: it needs a checkpoint",
        ),
        (
            {"classifier": "a", "label": 1, "saved_model": "b"},
            "--classifier=a cannot be used with --saved_model: it needs a checkpoint",
        ),
    ],
)
def test_flags_that_contradict_each_other(flags, message):
    with pytest.raises(ConfigError) as error:
        SampleOptions(**flags).validate()
    assert message in str(error.value)


def test_a_mode_that_is_given_empty_is_no_unconditional_draw():
    options = parse_options(["sample.py", "--inpaint="], SampleOptions)
    with pytest.raises(ConfigError, match="--inpaint= must name a file"):
        options.validate()
