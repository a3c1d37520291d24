"""The command `sample`: its flags, and what it says before anything is drawn."""

import inspect
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ncsn_tf.commands import sample
from ncsn_tf.commands.sample import SampleOptions
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.files import read_arrays
from ncsn_tf.generation import checkpoint_origin
from ncsn_tf.generation.conditions import open_condition
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.options import show
from ncsn_tf.training import averages


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
            {"classifier": "a", "label": "1", "saved_model": "b"},
            "--classifier=a cannot be used with --saved_model: it needs a checkpoint",
        ),
    ],
)
def test_flags_of_conditions_that_contradict_each_other(flags, message):
    with pytest.raises(ConfigError) as error:
        SampleOptions(**flags).validate()
    assert message in str(error.value)


def test_a_mode_that_is_given_empty_is_no_unconditional_draw():
    options = parse_options(["sample.py", "--inpaint="], SampleOptions)
    with pytest.raises(ConfigError, match="--inpaint= must name a file"):
        options.validate()


def test_extreme_seeds_are_allowed():
    SampleOptions(seed=2**63 - 25).validate()
    SampleOptions(seed=-(2**63)).validate()


@pytest.mark.parametrize(
    "flags, target",
    [
        ({}, "samples.png"),
        ({"format": "png"}, "samples"),
        ({"format": "npz"}, "samples.npz"),
        ({"format": "npz", "out": "~/a"}, os.path.expanduser("~/a")),
    ],
)
def test_where_the_samples_go(flags, target):
    assert str(SampleOptions(**flags).target) == target


@pytest.fixture(autouse=True)
def started(monkeypatch, tmp_path):
    """In an empty folder, with the devices of the tests; what TensorFlow was started for."""
    monkeypatch.chdir(tmp_path)
    started = []

    def start(num_images, num_virtual_devices):
        started.append((num_images, num_virtual_devices))
        return tf.distribute.get_strategy()

    monkeypatch.setattr(sample, "start_for_sampling", start)
    return started


def run(**flags):
    sample.main(["sample.py", *(show(name, value) for name, value in flags.items())])


@pytest.mark.parametrize("origin", [{"workdir": "nowhere"}, {"server": "http://127.0.0.1:1"}])
def test_a_place_that_cannot_be_written_is_said_first(origin, started):
    Path("file").write_text("in the way")
    for format in ("grid", "png", "npz"):
        with pytest.raises(UserError, match="file.* cannot be written: Not a directory"):
            run(**origin, format=format, out="file/deeper")
    if "server" not in origin:
        with pytest.raises(UserError, match="file/a.gif cannot be written: Not a directory"):
            run(**origin, movie="file/a.gif")
    assert (os.listdir(), started) == (["file"], [])


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"out": "x.gif"}, "x.gif must end with .png, .jpg or .jpeg, which decides its format"),
        ({"out": "x"}, "x must end with .png, .jpg or .jpeg, which decides its format"),
        ({"out": "x.png", "format": "npz"}, "x.png must end with .npz, which decides its format"),
        ({"out": "x.png", "format": "png"}, "x.png must name a folder, and not end with .png"),
        ({"movie": "x.mp4"}, "x.mp4 must end with .gif or .webp, which decides its format"),
    ],
)
def test_an_ending_that_promises_another_format_is_refused_first(flags, message, started):
    with pytest.raises(ConfigError) as error:
        run(workdir="nowhere", **flags)
    assert (str(error.value), os.listdir(), started) == (message, [], [])


@pytest.mark.parametrize("name, kind", [("x.jpg", "JPEG"), ("x.png", "PNG")])
def test_the_ending_decides_the_format(name, kind, opened):
    opened(0)
    run(out=name)
    with Image.open(name) as picture:
        assert picture.format == kind


@pytest.mark.parametrize("saved_model", [{}, {"saved_model": "newest"}])
def test_no_run(saved_model):
    with pytest.raises(UserError, match="no run in runs/"):
        run(**saved_model)
    with pytest.raises(UserError, match="nowhere holds no checkpoint"):
        run(**saved_model, workdir="nowhere")
    with pytest.raises(UserError, match="--saved_model=nowhere is not a file or a folder"):
        run(saved_model="nowhere")
    assert os.listdir() == []


class Completed:
    """An origin that completes pictures, with black."""

    unit = "piece"

    def __init__(self, num_pictures):
        self.inputs = np.zeros([num_pictures, 4, 4, 1], np.uint8) if num_pictures else None
        self.labels = None

    def amount(self, num_images):
        return num_images

    def images(self, seeds, bar):
        yield seeds, np.zeros([len(seeds), 4, 4, 1], np.uint8)


@pytest.fixture
def opened(monkeypatch):
    """(number of pictures) -> the list of what is asked of runs and their `Opened` from then on."""

    def pretend(num_pictures):
        asked = []

        class Opened:
            def __init__(self, weights):
                self.weights = weights

            def origin(self, **arguments):
                asked.append(self.weights | arguments)
                return Completed(num_pictures)

        monkeypatch.setattr(
            averages, "open_weights", lambda run, **given: {"workdir": run, **given}
        )
        monkeypatch.setattr(checkpoint_origin, "Opened", Opened)
        return asked

    return pretend


def seeds_of(**flags):
    run(format="npz", **flags)
    return read_arrays("samples.npz")["seeds"]


@pytest.mark.parametrize(
    "num_pictures, flags, count",
    [
        (0, {}, 25),
        (0, {"num_samples": 3}, 3),
        (3, {}, 25),
        (27, {}, 27),
        (3, {"num_samples": 5}, 5),
        (3, {"num_samples": 2}, 2),
    ],
)
def test_as_many_images_as_pictures(num_pictures, flags, count, opened, capsys):
    """Without --num_samples none is left out; with it, what is left out is said."""
    opened(num_pictures)
    np.testing.assert_array_equal(seeds_of(seed=7, **flags), 7 + np.arange(count))
    said = "Completing the first 2 of 3 pictures (--num_samples)\n" if count == 2 else ""
    assert capsys.readouterr().out == f"{said}Wrote samples.npz\n"


def test_seeds_must_fit_for_all_pictures(opened):
    opened(27)
    Path("many.npz").touch()
    with pytest.raises(ConfigError, match=f"--seed={2**63 - 25} and the seeds after it must fit"):
        seeds_of(inpaint="many.npz", seed=2**63 - 25)


def test_flags_reach_the_checkpoint(opened, started):
    asked = opened(0)
    for name in ("a.png", "a.npz"):
        Path(name).touch()
    Path("a").mkdir()
    run()
    run(workdir="a", average=False, batch_size=3, sampler="cas", num_steps_each=2, movie="")
    run(inpaint="a.png", mask="left", resize=True, seed=4, denoise=True)
    run(interpolate="3,-8", num_samples=5, num_virtual_devices=2)
    run(classifier="a.npz", label="3", classifier_scale=2.0)
    plain, changed, inpainting, interpolation, one_class = asked
    settings = ("workdir", "average", "batch_size", "keep_frames")
    assert [plain[name] for name in settings] == ["", True, 64, False]
    assert [changed[name] for name in settings] == ["a", False, 3, False]
    assert set(plain["chain"].values()) == {None}
    chosen = {name: value for name, value in changed["chain"].items() if value is not None}
    assert chosen == {"sampler": "cas", "num_steps_each": 2}
    for given, condition in [
        (plain, {"first_seed": 0, "count": 25, "denoise": None, "interpolate": None}),
        (inpainting, {"inpaint": "a.png", "mask": "left", "resize": True, "colorize": None}),
        (inpainting, {"first_seed": 4, "denoise": True}),
        (interpolation, {"interpolate": (3, -8), "count": 5}),
        (one_class, {"classifier": "a.npz", "label": 3, "classifier_scale": 2.0}),
    ]:
        assert given["condition"].items() >= condition.items()
        inspect.signature(open_condition).bind(None, **given["condition"])
    assert started == [(64, 0), (3, 0), (64, 0), (5, 2), (64, 0)]
