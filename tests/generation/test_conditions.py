"""Conditional sampling from checkpoints of small networks of any weights."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
import runs
from PIL import Image
from tqdm import tqdm
from training_helpers import TinyNetwork

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.generation.checkpoint_origin import Checkpoint
from ncsn_tf.generation.conditions import open_condition
from ncsn_tf.settings.chain import change_chain
from ncsn_tf.settings.config import Config
from ncsn_tf.training import checkpoints
from ncsn_tf.training.run_sampler import sampler_of

ROOT = Path(__file__).resolve().parents[2]
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
    """A folder of pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    np.savez(folder / "three.npz", images=PIXELS)
    Image.fromarray(PIXELS[0]).save(folder / "one.png")
    Image.fromarray(PIXELS[0, :, :, 0]).save(folder / "grey.png")
    Image.new("L", (8, 8)).save(folder / "black.png")
    Image.new("L", (8, 8), "white").save(folder / "white.png")
    Image.new("RGBA", (8, 8), (255, 255, 255, 0)).save(folder / "clear.png")
    Image.fromarray(np.round(SMALL[0]).astype(np.uint8)).save(folder / "small.png")
    return folder


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(1)
    return TinyNetwork(COLOUR)


@pytest.fixture(scope="module")
def draw(folder, network):
    """(seeds, arguments of `open_condition`) -> uint8 images; pictures are named as in `folder`.

    Conditions of one kind share a sampler, so that each kind is traced once for a size of batch.
    """
    samplers = {}

    def draw(seeds, batch_size=2, **arguments):
        condition = open_condition(COLOUR, **in_folder(folder, arguments))
        kind = None
        if condition is not None:
            measurement = getattr(condition.chain, "measurement", None)
            kind = (type(condition.chain), *(vars(measurement).values() if measurement else ()))
        if kind not in samplers:
            samplers[kind] = sampler_of(network, COLOUR, condition and condition.chain)
        origin = Checkpoint(samplers[kind], condition, batch_size=batch_size)
        parts = origin.images(np.asarray(seeds), tqdm(disable=True))
        return np.concatenate([images for _, images in parts])

    return draw


def in_folder(folder, arguments):
    return {
        name: str(folder / value) if str(value).endswith((".png", ".npz")) else value
        for name, value in arguments.items()
    }


def test_known_pixels_are_the_pictures(draw):
    images = draw(7 + np.arange(5), inpaint="three.npz", mask="left", first_seed=7)
    assert images.shape == (5, 8, 8, 3)
    np.testing.assert_array_equal(images[:, :, 4:], PIXELS[[0, 1, 2, 0, 1], :, 4:])
    filled = images[:, :, :4]
    assert not np.array_equal(filled[0], filled[3])
    # The same image in other batches, and for fewer samples.
    again = draw(7 + np.arange(4), 3, inpaint="three.npz", mask="left", first_seed=7)
    np.testing.assert_array_equal(again, images[:4])


def test_colours_have_the_means_of_the_picture(draw):
    images = draw([0, 1], colorize="one.png").astype(int)
    means = np.broadcast_to(PIXELS[0].mean(-1), images.shape[:-1])
    np.testing.assert_allclose(images.mean(-1), means, rtol=0, atol=ROUNDING)
    assert np.abs(images - images.mean(-1, keepdims=True)).max() > 100
    grey = draw([0, 1], colorize="grey.png")[0]
    np.testing.assert_allclose(grey.mean(-1), PIXELS[0, :, :, 0], rtol=0, atol=ROUNDING)


def test_blocks_have_the_means_of_the_picture(draw):
    def blocks(images):
        return images.reshape(-1, 4, 2, 4, 2, 3)

    for picture in ("one.png", "small.png"):
        images = draw(np.arange(8), super_resolve=picture, factor=2)
        given = SMALL[0] if picture == "one.png" else np.round(SMALL[0])
        means = blocks(images).mean((2, 4))
        expected = np.broadcast_to(given, means.shape)
        np.testing.assert_allclose(means, expected, rtol=0, atol=ROUNDING)
        assert not np.array_equal(images[0], images[1])
        assert np.mean((images == 0) | (images == 255)) > 0.1  # the bounds matter


def test_angles_of_an_interpolation():
    """The ends are the seeds' alone, the middle an eighth of a turn, in any batch."""
    condition = open_condition(COLOUR, interpolate=(5, -9), count=5)
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
    alone = open_condition(COLOUR, interpolate=(5, -9), count=1)
    assert alone.rows(np.arange(1))[1].own_share == 1


def test_interpolation_begins_with_the_image_of_its_seed(draw):
    images = draw(np.arange(4), interpolate=(5, 9), count=4)
    np.testing.assert_array_equal(images[0], draw([5, 6])[0])
    distances = [np.abs(images[i].astype(float) - images[0]).mean() for i in range(4)]
    assert 0 < distances[1] < distances[2] < distances[3]


def test_the_command_writes_a_row_for_each_picture(folder, network, command_server, tmp_path):
    run, out = tmp_path / "run", tmp_path / "grid.png"
    checkpoints.save_network(network, dataclasses.replace(COLOUR, workdir=str(run)))
    flags = [f"--workdir={run}", f"--inpaint={folder / 'three.npz'}", f"--out={out}"]
    flags += ["--num_samples=5", "--mask=bottom"]
    done = command_server.run([runs.NCSN, "sample", *flags], cwd=tmp_path)
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
    def chain(config, denoise=None):
        config = change_chain(config, denoise=denoise)
        return open_condition(config, inpaint=folder / "one.png", denoise=denoise).chain

    second = dataclasses.replace(COLOUR, model="ncsnv2", denoise=True)
    first = dataclasses.replace(COLOUR, denoise=True)
    assert (chain(first).redraw, chain(first).denoise) == (False, True)
    assert (chain(second).redraw, chain(second).denoise) == (True, False)
    assert chain(second, denoise=True).denoise
    assert not chain(first, denoise=False).denoise
    assert open_condition(COLOUR) is None


def test_what_is_known_of_rectangles(folder):
    """A picture of 8 x 8, cropped to the shape of 4 x 8, by every kind of condition."""
    config = dataclasses.replace(COLOUR, image_size="4x8")
    middle = PIXELS[0, 2:6].astype(float)
    places = {
        "inpaint": middle / 255,
        "colorize": middle.mean(-1, keepdims=True).repeat(3, -1) / 255,
        "super_resolve": middle.reshape(2, 2, 4, 2, 3).mean((1, 3)).repeat(2, 0).repeat(2, 1) / 255,
    }
    for kind, expected in places.items():
        arguments = {kind: folder / "one.png", "resize": True}
        condition = open_condition(config, **arguments, factor=2)
        _, known = condition.rows(np.array([0]))
        np.testing.assert_allclose(known.values[0], expected, atol=1e-6)
        given = np.ones((4, 8, 1))
        given[:, 4:] = kind != "inpaint"
        np.testing.assert_array_equal(known.places[0], given)
        assert condition.inputs.shape == (1, 4, 8, 3)
    with pytest.raises(ConfigError, match="--factor=4 must divide the 6x8 pixels") as error:
        wide = dataclasses.replace(COLOUR, image_size="6x8")
        open_condition(wide, super_resolve=folder / "one.png", factor=4)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (
            {"inpaint": "small.png"},
            UserError,
            "small.png has 4x4 pixels (height x width), not 8x8: give one of that size, or --res",
        ),
        ({"inpaint": "absent.png"}, UserError, "absent.png cannot be read: No such file"),
        ({"channels": 1, "colorize": "grey.png"}, ConfigError, "needs a network that draws colour"),
        ({"super_resolve": "one.png", "factor": 3}, ConfigError, "--factor=3 must divide the 8"),
        ({"super_resolve": "small.png"}, UserError, "width), not 8x8 or 2x2: "),
        ({"inpaint": "one.png", "mask": "x"}, UserError, "--mask=x is neither a file nor one of"),
        ({"inpaint": "one.png", "mask": "black.png"}, ConfigError, "black.png leaves nothing to"),
        ({"inpaint": "one.png", "mask": "white.png"}, ConfigError, "white.png leaves nothing kno"),
        ({"inpaint": "one.png", "mask": "clear.png"}, ConfigError, "clear.png leaves nothing to"),
        ({"inpaint": "one.png", "mask": "small.png"}, UserError, "not 8x8: give one of that size"),
        ({"inpaint": "one.png", "sampler": "cas"}, ConfigError, "a condition needs --sampler=ald "),
        (
            {"interpolate": (1, 2), "sampler": "cas"},
            ConfigError,
            "--interpolate needs --sampler=ald",
        ),
        ({"classifier": "absent.npz"}, UserError, "absent.npz cannot be read: No such file"),
    ],
)
def test_what_cannot_be_done(arguments, error, message, folder):
    settings = {name: arguments[name] for name in ("channels", "sampler") if name in arguments}
    config = dataclasses.replace(COLOUR, **settings)
    arguments = {name: value for name, value in arguments.items() if name not in settings}
    with pytest.raises(error) as raised:
        open_condition(config, **in_folder(folder, arguments))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, ConfigError) == (error is ConfigError)
