"""`ncsn app` without its page: flags, what can be asked, the command that draws an image again."""

import importlib.util
import shlex
import threading

import numpy as np
import pytest
import tensorflow as tf
from commands_in_process import tiny_commands
from PIL import Image

from ncsn_tf.commands import app
from ncsn_tf.commands.app_runs import RunSource
from ncsn_tf.commands.app_sources import Wish, command_of, commands_of_each
from ncsn_tf.commands.console import run_command
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.files import read_arrays
from ncsn_tf.generation.playing import Drawing, save_painted

TRAIN = ["--dataset=digits", "--workdir=run", "--features=2", "--num_levels=3", "--batch_size=4"]
TRAIN += ["--num_steps=1", "--sample_every=0", "--eval_every=0", "--noexport", "--model=ncsnv2"]
TRAIN += ["--sampling_tile=2", "--sampler=dpm_sde", "--num_evaluations=4", "--num_steps_each=2"]


@pytest.mark.parametrize(
    "flags, line",
    [
        ([], "error: one of --workdir, --pretrained and --server must be given, not none"),
        (
            ["--workdir=a", "--server=b:1"],
            "error: one of --workdir, --pretrained and --server must",
        ),
        (["--pretrained=minst"], "error: --pretrained=minst is not there"),
        (
            ["--server=b:1", "--checkpoint=best"],
            "error: --checkpoint=best cannot be used with --se",
        ),
        (["--workdir=a", "--model=b"], "error: --model=b needs --server"),
        (["--workdir=a", "--port=70000"], "error: --port=70000 must be below 65536"),
    ],
)
def test_what_is_wrong_is_one_line(flags, line, capsys):
    with pytest.raises(SystemExit) as end:
        run_command(app.main, ["ncsn app", *flags])
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.startswith(line) and said.count("\n") == 1


def test_without_gradio_it_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as end:
        run_command(app.main, ["ncsn app", "--workdir=a", "--host=0.0.0.0"])
    warning, error = capsys.readouterr().err.splitlines()
    assert end.value.code == 1 and warning.startswith("warning: --host=0.0.0.0 lets anyone")
    assert error.startswith(
        "error: ncsn app needs Gradio, in an environment of its own: in a clone"
    )
    assert "make .venv-app/installed, then .venv-app/bin/ncsn app;" in error
    assert error.endswith("pip install 'ncsn_tf[app]' in a new environment")


@pytest.fixture(scope="module")
def ncsn(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        run = tiny_commands(patch, ("train", "sample", "app"))
        patch.chdir(tmp_path_factory.mktemp("app"))
        assert run("train", *TRAIN) == 0
        yield run


@pytest.fixture(scope="module")
def source(ncsn):
    return RunSource(["--workdir=run"], "run", "newest", tf.distribute.get_strategy())


def last(drawing):
    *_, shown = drawing.shown()
    return shown


def test_what_can_be_asked_of_a_run(source):
    assert source.samplers["draw"][:2] == ["", "dpm"] and "ald" in source.samplers["draw"]
    assert source.samplers["complete"] == ["ald", "pc"]
    assert source.samplers["between"] == ["dpm", "ald", "pc", "ode", "euler", "heun"]
    flags = [source.steps_flag(name) for name in ("", "heun", "ald", "pc", "ode")]
    assert flags == ["num_evaluations"] * 2 + ["num_steps_each"] * 2 + [None]
    assert source.class_names == [] and source.image_shape == (8, 8, 1)


@pytest.mark.parametrize("kind", ["plain", "between", "painted"])
def test_the_command_draws_the_same(kind, source, ncsn):
    wish = Wish(seed=5, count=3, steps=3)
    if kind == "between":
        wish = Wish(seed=5, count=3, sampler="heun", other_seed=9)
    if kind == "painted":
        picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4)
        paths = save_painted("painted", picture, np.eye(8) > 0, source.image_shape)
        picture, mask = map(str, paths)
        wish = Wish(seed=5, count=3, sampler="ald", picture=picture, mask=mask)
    flags = wish.flags(source)
    shown = last(source.drawing(flags))
    assert (shown.state, shown.done) == ("done", shown.total)
    program, command, *words = shlex.split(command_of(flags))
    assert (program, command) == ("ncsn", "sample")
    assert ncsn("sample", *words, "--format=npz", "--out=again.npz") == 0
    np.testing.assert_array_equal(shown.pictures, read_arrays("again.npz")["images"])
    each = commands_of_each(wish, source)
    assert len(each) == (0 if kind == "between" else 3)
    if each:
        assert ncsn("sample", *shlex.split(each[2])[2:], "--format=npz", "--out=third.npz") == 0
        np.testing.assert_array_equal(shown.pictures[2:], read_arrays("third.npz")["images"])


def test_a_wish_is_refused_as_the_command_refuses_it(source):
    with pytest.raises(ConfigError, match="^images must be 1 to 64, not 65$"):
        Wish(count=65).flags(source)
    with pytest.raises(ConfigError, match="^--num_evaluations=1 must be at least 2"):
        source.drawing(Wish(sampler="heun", steps=1).flags(source))
    with pytest.raises(ConfigError, match="this run knows no classes"):
        source.drawing(Wish(label="3").flags(source))


class SlowOrigin:
    """Draws until it is stopped; fails where it shall."""

    inputs = labels = None

    def __init__(self, error=None):
        self.frames, self.error, self.is_closed = [], error, threading.Event()

    def amount(self, num_images):
        return 100

    def images(self, seeds, bar):
        for piece in range(100):
            bar.update()
            self.frames.append(np.full([1, 2, 2, 1], piece, np.uint8))
            if self.error:
                raise self.error
            self.is_closed.wait(0.3)
        yield seeds, self.frames[-1]

    def close(self):
        self.is_closed.set()


def test_a_drawing_is_seen_and_stopped():
    drawing = Drawing(SlowOrigin(), [0])
    shown = drawing.shown()
    states = [next(shown), next(shown)]
    assert [each.state for each in states] == ["drawing"] * 2
    assert states[0].done < states[1].done < 100 and states[1].pictures.shape == (1, 2, 2, 1)
    drawing.stop()
    (*_, end) = shown
    assert end.state == "stopped" and end.done < 100


def test_a_closed_page_stops_what_it_drew():
    origin = SlowOrigin()
    shown = Drawing(origin, [0]).shown()
    next(shown)
    shown.close()
    assert origin.is_closed.is_set() and len(origin.frames) < 100


def test_errors_of_the_origin_are_raised():
    with pytest.raises(UserError, match="^the chains diverged$"):
        last(Drawing(SlowOrigin(UserError("the chains diverged")), [0]))


def test_what_is_painted(tmp_path):
    small = np.arange(64, dtype=np.uint8).reshape(8, 8)
    large = Image.fromarray(small.repeat(7, 0).repeat(7, 1)).convert("RGBA")
    painted = np.zeros([56, 56], bool)
    painted[:28] = True
    paths = save_painted(tmp_path, large, painted, (8, 8, 1))
    assert paths == save_painted(tmp_path, large, painted, (8, 8, 1))
    picture, mask = (np.asarray(Image.open(path)) for path in paths)
    np.testing.assert_array_equal(picture, small)
    np.testing.assert_array_equal(mask, np.repeat([255, 0], 32).reshape(8, 8))


@pytest.mark.parametrize(
    "picture, painted, line",
    [
        (None, None, "there is no picture"),
        ((8, 8), np.zeros([8, 8], bool), "nothing is painted"),
        ((8, 8), np.ones([8, 8], bool), "all is painted over"),
        ((5000, 5000), np.eye(8) > 0, "the picture has 25,000,000 pixels, more than 16,777,216"),
    ],
)
def test_what_cannot_be_filled(picture, painted, line, tmp_path):
    with pytest.raises(UserError, match=f"^{line}"):
        save_painted(tmp_path, picture and Image.new("L", picture), painted, (8, 8, 1))
