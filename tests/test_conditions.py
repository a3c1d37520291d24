"""sample.py's conditional modes, on small networks of any weights."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ncsn_tf import checkpoints, draw
from ncsn_tf.conditions import open_condition
from ncsn_tf.config import Config
from ncsn_tf.draw import SampleOptions
from ncsn_tf.errors import ConfigError, UserError
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
PIXELS = np.random.RandomState(0).randint(96, 160, (3, 8, 8, 3)).astype(np.uint8)
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
        with np.load(draw.draw(options, tf.distribute.MirroredStrategy(["CPU:0"]))) as arrays:
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
    inside = np.all((images > 0) & (images < 255), axis=-1)  # clipping moves a mean
    means = np.broadcast_to(PIXELS[0].mean(-1), inside.shape)
    assert inside.mean() > 0.2
    np.testing.assert_allclose(images.mean(-1)[inside], means[inside], atol=0.51)
    assert np.abs(images - images.mean(-1, keepdims=True))[inside].max() > 20
    grey = sample(colorize="grey.png", num_samples=1)[0]
    inside = np.all((grey > 0) & (grey < 255), axis=-1)
    np.testing.assert_allclose(grey.mean(-1)[inside], PIXELS[0, :, :, 0][inside], atol=0.51)


def test_blocks_have_the_means_of_the_picture(sample):
    def blocks(images):
        return images.reshape(-1, 4, 2, 4, 2, 3)

    for picture in ("one.png", "small.png"):
        images = sample(super_resolve=picture, factor=2, num_samples=8)
        inside = np.all((blocks(images) > 0) & (blocks(images) < 255), axis=(2, 4))
        means = np.broadcast_to(SMALL[0], inside.shape)
        assert inside.any()
        bound = 0.51 if picture == "one.png" else 1.01  # small.png is rounded
        np.testing.assert_allclose(blocks(images).mean((2, 4))[inside], means[inside], atol=bound)
        assert not np.array_equal(images[0], images[1])


def test_interpolation_begins_with_the_image_of_its_seed(sample):
    images = sample(interpolate="5,9", num_samples=4, batch_size=3)
    np.testing.assert_array_equal(images[0], sample(seed=5, num_samples=1)[0])
    distances = [np.abs(images[i].astype(float) - images[0]).mean() for i in range(4)]
    assert 0 < distances[1] < distances[2] < distances[3]


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
        ({"interpolate": "1"}, "--interpolate=1 must be two 64-bit seeds, such as 3,8"),
        ({"interpolate": "1,2,3"}, "--interpolate=1,2,3 must be two"),
        ({"interpolate": "1,x"}, "--interpolate=1,x must be two"),
        ({"interpolate": f"1,{2**63}"}, "must be two 64-bit seeds"),
        ({"interpolate": "1,2", "seed": 3}, "--seed=3 cannot be used with --interpolate, which"),
        ({"inpaint": "a", "server": "a:1"}, "--inpaint=a cannot be used with --server"),
        ({"colorize": "a", "saved_model": "b"}, "--colorize=a cannot be used with --saved_model"),
    ],
)
def test_flags_that_contradict_each_other(flags, message):
    with pytest.raises(ConfigError) as error:
        SampleOptions(**flags).validate()
    assert message in str(error.value)
