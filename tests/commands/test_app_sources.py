"""What the page of `ncsn app` draws from, through the functions of its buttons: servers, runs of
the third generation. What it draws is what the command that it shows draws."""

import shlex
import threading
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from labelled_network import NAMES, LabelledNetwork
from PIL import Image
from serving_server import ServingServer

from ncsn_tf.commands import app_runs
from ncsn_tf.commands import sample as sample_command
from ncsn_tf.commands.app_runs import RunSource
from ncsn_tf.commands.app_sources import ServedSource
from ncsn_tf.commands.app_wishes import Wishes
from ncsn_tf.commands.console import run_command
from ncsn_tf.files import read_arrays
from ncsn_tf.serving.export import save_sampler
from ncsn_tf.settings.config import Config
from ncsn_tf.training import averages

TINY = {"dataset": "digits", "image_size": 8, "channels": 1, "num_levels": 3, "sampling_tile": 2}
pytestmark = pytest.mark.slow
PROTOCOLS = pytest.mark.parametrize("protocol", ["grpc", "rest"])


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server of a network that knows classes."""
    labelled = {"class_conditional": True, "class_names": NAMES}
    config = Config(**TINY, **labelled, sampler="dpm_sde", num_evaluations=3)
    folder = save_sampler(LabelledNetwork(), config, tmp_path_factory.mktemp("export"), {}).parent
    with ServingServer(folder) as server:
        yield server


@pytest.fixture
def page(served, protocol, tmp_path, monkeypatch):
    """The functions of the page of a server."""
    monkeypatch.chdir(tmp_path)
    served.reset()
    addresses = {"grpc": "127.0.0.1:{.grpc_port}", "rest": "http://127.0.0.1:{.rest_port}"}
    address = addresses[protocol].format(served)
    return Wishes(ServedSource([f"--server={address}"], address, "ncsn"), "painted")


def images_of(command):
    """What the command draws, [N, H, W]."""
    with pytest.raises(SystemExit) as end:
        words = shlex.split(command)[1:]
        run_command(sample_command.main, [*words, "--format=npz", "--out=again.npz"])
    assert not end.value.code
    return read_arrays("again.npz")["images"][..., 0]


def row(told):
    """The images of a grid of one image or of a row, as they were drawn."""
    picture = np.asarray(told.picture)
    factor = 448 // 8 if picture.shape[0] == picture.shape[1] else picture.shape[0] // 8
    return picture[::factor, ::factor]


@PROTOCOLS
def test_a_server_draws_a_class_as_its_command_does(page, served):
    *_, last = page.plain("ann", 7, 1, "", 2, "owl", 1.5)
    assert last.said == "Done: seed 7."
    assert last.command.endswith(
        " --num_samples=1 --seed=7 --num_evaluations=2 --label=owl --guidance=1.5"
    )
    assert len(last.each.splitlines()) == 1
    np.testing.assert_array_equal(row(last), images_of(last.command)[0])
    *_, unlabelled = page.plain("ann", 7, 1, "", 2)
    assert not np.array_equal(row(unlabelled), row(last))
    assert len(page) == 0


@PROTOCOLS
def test_what_can_be_asked_of_a_server(page, served):
    source = page._source
    assert source.class_names == list(NAMES) and not source.shows_chain
    assert source.samplers == {"draw": [""], "complete": [], "between": []}
    (_, told) = page.plain("ann", 7, 2, "", 0, "cow")
    assert told.said.startswith("**error: ") and "cow" in told.said
    assert len(page) == 0


@PROTOCOLS
def test_a_server_that_fails_is_told_in_one_line(page, served):
    served.failures = [("predict", "INTERNAL", "the disk is full")] * 9
    *_, told = page.plain("ann", 7, 2, "", 0)
    assert told.said.startswith("**error: ") and "the disk is full" in told.said
    served.reset()
    *_, told = page.plain("ann", 7, 2, "", 0)
    assert told.said.startswith("Done")


@PROTOCOLS
def test_a_wish_of_a_server_is_stopped_while_it_waits_for_the_answer(page, served):
    served.gates[7] = threading.Event()
    told = page.plain("ann", 7, 2, "", 0)
    assert next(told).said == "Begins ..."
    threading.Timer(1.0, page.stop, ["ann"]).start()
    assert [each.said for each in told][-1] == "Stopped at 0 %."
    assert len(page) == 0


class ThirdNetwork:
    """A convolution that is told the noise, in place of a network of the third generation."""

    num_classes = 0

    def __init__(self):
        start = keras.initializers.RandomNormal(stddev=0.1, seed=0)
        self.convolution = keras.layers.Conv2D(
            1, 3, padding="same", activation="tanh", kernel_initializer=start
        )
        self.convolution.build((None, 8, 8, 1))
        self.trainable_variables = self.weights = self.convolution.trainable_variables

    def get_weights(self):
        return self.convolution.get_weights()

    def __call__(self, x, condition):
        told = tf.math.log1p(tf.cast(condition, tf.float32))[:, None, None, None]
        return self.convolution(x) - 0.1 * told * x


@pytest.fixture(params=["ve", "subvp"])
def third(request, tmp_path, monkeypatch):
    """The functions of the page of a run of the third generation."""
    monkeypatch.chdir(tmp_path)
    equation = {
        "ve": {"model": "ncsnpp", "sigma_begin": 0.5, "continuous": True},
        "subvp": {"model": "ddpmpp", "beta_max": 1.0, "continuous": True},
    }[request.param]
    parts = {"multipliers": "1,2", "num_res_blocks": 1, "attention_sizes": "none", "features": 4}
    chain = {"sampler": "pc", "num_steps_each": 1, "corrector": "none", "num_evaluations": 4}
    config = Config(**TINY, **parts, **chain, **equation, sde=request.param)
    run = types.SimpleNamespace(
        config=config, network=ThirdNetwork(), run_dir="run", origin="step 2", step=2
    )
    Path("run").mkdir()
    for module in (app_runs, averages):
        monkeypatch.setattr(module, "open_weights", lambda *_, **__: run)
    strategy = tf.distribute.get_strategy()
    monkeypatch.setattr(sample_command, "start_for_sampling", lambda *_: strategy)
    return Wishes(RunSource(["--workdir=run"], "run", "newest", strategy), "painted")


def test_a_run_of_the_third_generation(third):
    names = third._source.samplers
    assert {"", "dpm", "pc", "ode"} <= {*names["draw"]} and "pc" in names["complete"]
    for sampler in ("", "dpm"):
        *_, last = third.plain("ann", 3, 1, sampler, 0)
        assert last.said == "Done: seed 3.", (sampler, last)
        np.testing.assert_array_equal(row(last), images_of(last.command)[0])
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4)
    layer = np.zeros([8, 8, 4], np.uint8)
    layer[2:5, 2:5, 3] = 255
    editor = {"background": picture, "layers": [Image.fromarray(layer)]}
    *_, last = third.fill("ann", editor, 3, 1, "pc", 0)
    assert last.said == "Done: seed 3."
    drawn, known = row(last), layer[..., 3] == 0
    np.testing.assert_array_equal(drawn, images_of(last.command)[0])
    np.testing.assert_array_equal(drawn[known], np.asarray(picture)[known])
    *_, last = third.between("ann", 3, 4, 2, "dpm", 0)
    assert last.said == "Done: from seed 3 to seed 4."
    np.testing.assert_array_equal(row(last)[:, :8], images_of(last.command)[0])
    assert len(third) == 0
