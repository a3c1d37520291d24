"""Images of 8 x 12 pixels, by every command: from a folder of pictures to a served sampler."""

import base64
import importlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soak
import tensorflow as tf
from PIL import Image
from serving_server import ServingServer
from training_helpers import assert_same_run, cut_back, numbers

from ncsn_tf.commands.console import COMMANDS, run_command
from ncsn_tf.data.decoding import fitted_pixels
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.config import Config
from ncsn_tf.training import arrays, checkpoints, run_network, state

SIZE = (8, 12)
SHAPE = (8, 12, 1)
PICTURES = ["--dataset=image_folder", "--data_dir=pictures", "--channels=1"]
TINY = [
    *(*PICTURES, "--workdir=run", "--features=2", "--num_levels=2", "--num_steps_each=1"),
    *("--step_lr=1e-4", "--batch_size=4", "--sampling_tile=2", "--random_flip=false"),
]


@pytest.fixture(scope="module")
def ncsn():
    """(command, its flags) -> exit code of `ncsn`, in this process, by a network of few weights."""
    with pytest.MonkeyPatch.context() as patch:
        soak.use_tiny_network(patch.setattr)
        yield _run_with(patch)


def _run_with(patch):
    def start(*args, **kwargs):
        return tf.distribute.OneDeviceStrategy("/cpu:0")

    modules = {
        name: importlib.import_module(f"ncsn_tf.commands.{module}")
        for name, (module, *_) in COMMANDS.items()
    }
    for module in modules.values():
        for name in ("start_tensorflow", "start_for_training", "start_for_sampling"):
            if hasattr(module, name):
                patch.setattr(module, name, start)

    def run(command, *flags):
        with pytest.raises(SystemExit) as end:
            run_command(modules[command].main, [f"ncsn {command}", *flags])
        return end.value.code or 0

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with 24 pictures of several shapes in `pictures`."""
    folder = tmp_path_factory.mktemp("rectangles")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for index in range(24):
        shape = [(8, 12), (20, 20), (30, 14), (16, 40)][index % 4]
        pixels = rng.integers(0, 256, shape).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{index:02d}.png")
    return folder


@pytest.fixture(scope="module")
def finished(ncsn, folder):
    """The folder with a run of four steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        flags = [*TINY, "--image_size=8x12", "--sample_every=4", "--num_sample_images=5"]
        flags += ["--eval_every=4", "--checkpoint_every=2", "--num_steps=4", "--noexport"]
        assert ncsn("train", *flags) == 0
    return folder


@pytest.fixture(scope="module")
def exported(ncsn, finished):
    """With the sampler's export, for conditional sampling too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished)
        assert ncsn("export", "--workdir=run", "--conditional", "--factor=2") == 0


@pytest.fixture
def run(ncsn, finished, monkeypatch):
    """`ncsn`, in the folder of the run."""
    monkeypatch.chdir(finished)
    return ncsn


def drawn(path):
    with np.load(path) as content:
        return content["images"]


def test_the_run_is_one_of_rectangles(run):
    config = Config.load("run/config.json")
    assert (config.image_size, config.image_shape) == ("8x12", SHAPE)
    with Image.open("run/samples/step-0000004.png") as grid:  # two rows of three
        assert grid.width / grid.height == (3 * 13 - 1) / (2 * 9 - 1)


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one(run, capsys):
    cut_back("run", 2, "parts")
    flags = [*TINY, "--workdir=parts", "--image_size=8x12", "--num_steps=4", "--noexport"]
    assert run("train", *flags, "--sample_every=0", "--eval_every=0") == 0
    assert capsys.readouterr().out.startswith("Resuming parts at step 2 of 4")
    assert_same_run(numbers(Path("run")), numbers(Path("parts")))


def test_another_size_does_not_resume(run, capsys):
    for size, shown in (("12x8", "12x8"), ("8", "8"), ("12x12", "12")):
        assert run("train", *TINY, f"--image_size={size}", "--num_steps=9", "--noexport") == 2
        said = capsys.readouterr().err
        assert f"--image_size: the run has 8x12, the command says {shown}" in said


def test_samples_and_their_movie(run):
    flags = ["--num_samples=3", "--out=drawn.png", "--movie=chain.gif"]
    assert run("sample", "--workdir=run", *flags) == 0
    for name in ("drawn.png", "chain.gif"):  # two rows of two
        with Image.open(name) as picture:
            assert picture.width / picture.height == (2 * 13 - 1) / (2 * 9 - 1)


@pytest.mark.slow
def test_samples_of_checkpoint_export_and_server_are_the_same(run, exported):
    flags = ["--num_samples=3", "--format=npz"]
    assert run("sample", "--workdir=run", *flags, "--out=a.npz") == 0
    assert run("sample", "--saved_model=run/export", *flags, "--out=b.npz") == 0
    images = drawn("a.npz")
    assert images.shape == (3, *SHAPE) and len(np.unique(images)) > 20
    np.testing.assert_array_equal(drawn("b.npz"), images)
    with ServingServer(Path("run/export")) as server:
        for address in (f"127.0.0.1:{server.grpc_port}", f"http://127.0.0.1:{server.rest_port}"):
            assert run("sample", f"--server={address}", *flags, "--out=c.npz") == 0
            np.testing.assert_array_equal(drawn("c.npz"), images)


@pytest.mark.slow
def test_pictures_are_completed(run, capsys):
    picture = Image.open("pictures/00.png")
    given = np.asarray(picture)
    flags = ["--workdir=run", "--num_samples=1", "--format=npz", "--out=d.npz"]
    assert run("sample", *flags, "--inpaint=pictures/00.png", "--mask=center") == 0
    inner = np.s_[2:6, 3:9]
    filled = drawn("d.npz")[0, :, :, 0] != given
    assert np.any(filled[inner])
    filled[inner] = False
    assert not np.any(filled)
    # Another shape: cropped as the training images are.
    assert run("sample", *flags, "--inpaint=pictures/03.png", "--mask=bottom", "--resize") == 0
    with Image.open("pictures/03.png") as wide:
        expected = fitted_pixels(wide, SHAPE)[:4]
    np.testing.assert_array_equal(drawn("d.npz")[0, :4], expected)
    capsys.readouterr()
    assert run("sample", *flags, "--inpaint=pictures/03.png") == 1
    assert "03.png has 16x40 pixels (height x width), not 8x12: " in capsys.readouterr().err

    picture.resize((6, 4)).save("small.png")
    assert run("sample", *flags, "--super_resolve=small.png", "--factor=2") == 0
    means = drawn("d.npz")[0].reshape(4, 2, 6, 2).mean((1, 3))
    assert np.abs(means - np.asarray(Image.open("small.png"))).max() <= 0.5 + 1e-4
    assert run("sample", *flags, "--super_resolve=small.png", "--factor=8") == 2
    assert "--factor=8 must divide the 8x12 pixels" in capsys.readouterr().err


@pytest.mark.slow
def test_the_export_completes_pictures_too(run, exported):
    model = tf.saved_model.load("run/export/1")
    image = np.random.default_rng(1).integers(0, 256, (1, *SHAPE)).astype(np.uint8)
    mask = np.zeros((1, 8, 12, 1), np.uint8)
    mask[:, :, 6:] = 255
    seed = tf.constant([5], tf.int64)
    signatures = model.signatures
    answer = signatures["inpaint"](seed=seed, image=tf.constant(image), mask=tf.constant(mask))
    np.testing.assert_array_equal(answer["image"][:, :, :6], image[:, :, :6])
    small = tf.constant(image[:, ::2, ::2])
    assert signatures["super_resolve"](seed=seed, image=small)["image"].shape == (1, *SHAPE)


@pytest.mark.slow
def test_likelihoods_count_the_numbers_of_an_image(run):
    flags = ["--bits_per_dim", "--test_loss", "--num_images=2", "--ode_tolerance=0.5"]
    assert run("evaluate", "--workdir=run", *flags) == 0
    results = json.loads(Path("run/evaluation/bits_per_dim.json").read_text())
    assert np.isfinite(results["bits_per_dim"])


def test_report_and_neighbors(run):
    assert run("report", "--workdir=run") == 0
    page = Path("run/report.html").read_text()
    assert "8 \\u00d7 12 \\u00d7 1" in page or "8 × 12 × 1" in page
    gif = re.search(r"data:image/gif;base64,([\w+/=]+)", page)[1]
    with Image.open(io.BytesIO(base64.b64decode(gif))) as movie:
        assert movie.size == (4 * 13 - 1, 4 * 9 - 1)
    assert run("neighbors", "--workdir=run", "--num_samples=2", "--num_neighbors=3") == 0
    with np.load("neighbors.npz") as content:
        assert content["samples"].shape == (2, *SHAPE)


def test_schedule_writes_the_size(run, capsys):
    flags = [*PICTURES, "--image_size=8x12", "--write=mine.flags", "--overwrite"]
    assert run("schedule", *flags) == 0
    assert "--image_size=8x12\n" in Path("mine.flags").read_text()
    capsys.readouterr()
    assert run("schedule", *PICTURES, "--image_size=68x130") == 2
    assert capsys.readouterr().err == (
        "error: --image_size=68x130 must be multiples of 8 with --depth=deepest, such as 72x136\n"
    )


@pytest.mark.slow
def test_arrays_of_rectangles(ncsn, tmp_path):
    images = np.random.default_rng(0).random((16, *SIZE))
    settings = {"features": 2, "num_levels": 2, "batch_size": 4, "sample_every": 0, "export": False}
    run = arrays.train(images, tmp_path / "run", num_steps=1, **settings)
    assert (run.config.image_size, run.config.image_shape) == ("8x12", SHAPE)
    with pytest.raises(ConfigError, match="--image_size=8x11 must be even, such as 8x12"):
        arrays.train(images[:, :, 1:], tmp_path / "run", num_steps=1, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ncsn", "ncsnv2"])
def test_the_real_networks(model, folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder)
    for module in (state, checkpoints):
        monkeypatch.setattr(module, "build_network", run_network.build_network)
    run = _run_with(monkeypatch)
    flags = [*TINY, f"--model={model}", "--image_size=8x12", f"--workdir={tmp_path / 'run'}"]
    flags += ["--num_steps=2", "--sample_every=0", "--eval_every=0", "--noexport"]
    assert run("train", *flags) == 0
    assert checkpoints.open_run(tmp_path / "run").network.image_shape == SHAPE
    if model == "ncsnv2":
        flags = ["--num_samples=2", "--format=npz", f"--out={tmp_path / 'out.npz'}"]
        assert run("sample", f"--workdir={tmp_path / 'run'}", *flags) == 0
        assert drawn(tmp_path / "out.npz").shape == (2, *SHAPE)
