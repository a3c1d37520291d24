"""`ncsn evaluate --metrics`: as a command, of images that are there and of a tiny run."""

import dataclasses
import itertools
import json
import re
import shutil
import signal
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ncsn_tf.commands import evaluate, measurements
from ncsn_tf.commands.console import run_command
from ncsn_tf.commands.evaluate import EvaluateOptions
from ncsn_tf.data.batches import load_pixels
from ncsn_tf.errors import ConfigError
from ncsn_tf.evaluation.features import NETWORKS, FeatureNetwork
from ncsn_tf.evaluation.quality import copies, history, measure
from ncsn_tf.evaluation.quality.names import short_number
from ncsn_tf.generation import drawing
from ncsn_tf.serving.metadata import METADATA, Metadata
from ncsn_tf.settings.config import Config
from ncsn_tf.training import checkpoints
from ncsn_tf.training.run_data import run_source
from ncsn_tf.training.run_network import build_network

HALVES = {"checksum": "0" * 16, "resize": "none", "channels": 0}


def halves(inception, config, data_dir, cache_dir):
    """Means of the upper and of the lower half of images, from 0 to 255."""

    def compute(batch):
        parts = [part.mean((1, 2, 3)) for part in np.array_split(batch, 2, axis=1)]
        return np.stack(parts, 1).astype(np.float32), None

    return FeatureNetwork(compute, name="Halves", dimension=2, **HALVES)


def classes(inception, config, data_dir, cache_dir):
    """The same, and a class: whether the upper half is the lighter one."""
    whole = halves(inception, config, data_dir, cache_dir)

    def compute(batch):
        vectors = whole(batch).vectors
        return vectors, np.eye(2, dtype=np.float32)[(vectors[:, 0] > vectors[:, 1]).astype(int)]

    about = {"dimension": 2, "num_classes": 2, "is_inception": True}
    return FeatureNetwork(compute, name="Inception2015", **about, **HALVES)


@pytest.fixture(autouse=True)
def prepared(monkeypatch, tmp_path, loads_once):
    """In an empty folder, with the devices of the tests, and two networks more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(NETWORKS, "halves", halves)
    monkeypatch.setitem(NETWORKS, "classes", classes)
    start = lambda count: tf.distribute.get_strategy()  # noqa: E731
    monkeypatch.setattr(evaluate, "start_for_sampling", start)


@pytest.fixture
def command(capsys):
    """Runs the command: what it said, stdout and stderr."""

    def run(*flags, code=0):
        with pytest.raises(SystemExit) as end:
            run_command(evaluate.main, ["evaluate.py", *flags])
        said = capsys.readouterr()
        assert end.value.code == code, said.err
        if code:
            assert len(said.err.splitlines()) == 1 and said.err.startswith("error: ")
            return said.err
        return said

    return run


@pytest.fixture
def digits():
    """The training images of the digits, uint8 [1618, 8, 8, 1], in a shuffled order."""
    config = Config(dataset="digits", image_size=8, channels=1)
    source = run_source(config, "train")
    return load_pixels(source, source.num_examples)


def value(said, name):
    """The number after a figure's name."""
    (found,) = re.findall(rf"^{re.escape(name)} (\S+)", said.out, re.MULTILINE)
    return float(found)


def save(name, images):
    np.savez(name, arr_0=images)
    return name


def test_closed_forms(command):
    """Images of two greys: |d|^2 of means that are shifted, and 0 of the same."""
    images = np.random.RandomState(0).randint(0, 200, (40, 4, 4, 3)).astype(np.uint8)
    save("a.npz", images)
    save("b.npz", images + np.uint8([[[3]], [[3]], [[4]], [[4]]])[None])
    flags = ["--features=halves", "--samples=b.npz", "--reference=a.npz", "--metrics"]
    said = command(*flags)
    assert value(said, "FD-Halves-40-a") == pytest.approx(3**2 + 4**2, rel=1e-3)
    assert "is left out: it needs probabilities, which Halves does not give" in said.err
    assert "no training images of this size" in said.out
    assert not list(measure.Path().glob("*.jsonl"))  # there is no run
    said = command(*flags, "--samples=a.npz")
    assert value(said, "FD-Halves-40-a") < 1e-6
    assert value(said, "Precision-Halves-40-a") == value(said, "Recall-Halves-40-a") == 1
    assert value(said, "KD-Halves-40-a") < 0
    assert "warning: the samples have the very features of the images" in said.err


def test_statistics_of_the_field(command):
    """`mu` and `sigma` of other programs: the Frechet distance, and nothing else."""
    images = np.random.RandomState(0).randint(0, 256, (50, 4, 4, 1)).astype(np.uint8)
    save("a.npz", images)
    vectors = halves("", None, "", "")(images).vectors.astype(np.float64)
    np.savez("cifar10.npz", mu=vectors.mean(0) + [0, 2], sigma=np.cov(vectors.T))
    flags = ["--samples=a.npz", "--reference=cifar10.npz"]
    said = command(*flags, "--features=classes", "--metrics", "--copies=never")
    assert value(said, "FID-50-cifar10") == pytest.approx(4, rel=1e-5)
    for name in ("kid", "precision", "recall"):
        assert f"{name} left out: it needs images, and --reference has" in said.err
    assert value(said, "IS-50") > 1
    line = command(*flags, "--features=halves", "--metrics=fid,kid", code=2)
    assert line.startswith("error: --metrics=kid needs images, and --reference has mean and cov")
    np.savez("cifar10.npz", mu=np.zeros(3), sigma=np.eye(3))
    line = command(*flags, "--features=halves", "--metrics=fid", code=1)
    assert "cifar10.npz is of features of 3 numbers" in line
    np.savez("cifar10.npz", mu=np.zeros(2), sigma=np.full([2, 2], np.nan))
    assert "cifar10.npz" in command(*flags, "--features=halves", "--metrics=fid", code=1)


def test_halves_of_a_data_set(command, digits):
    """Near zero against each other, and rising with added noise."""
    first, second = digits[:800], digits[800:1600]
    save("first.npz", first)
    flags = ["--metrics=fid,kid", "--features=halves", "--reference=first.npz", "--copies=never"]
    noise = np.random.RandomState(0).uniform(0, 1, second.shape)
    distances = []
    for amount in (0, 30, 60, 90):
        save("second.npz", (second * (1 - amount / 255) + amount * noise).astype(np.uint8))
        said = command(*flags, "--samples=second.npz")
        distances.append((value(said, "FD-Halves-800-first"), value(said, "KD-Halves-800-first")))
    frechet, kernel = np.transpose(distances)
    assert frechet[0] < frechet[1] / 10 and (np.diff(frechet) > 0).all(), frechet
    assert (np.diff(kernel) > 0).all() and kernel[0] < kernel[1] / 10


@pytest.fixture
def run_dir(tiny_run, tmp_path):
    """A copy of the tiny run's folder, to be written to."""
    return shutil.copytree(tiny_run, tmp_path / "run")


def test_pictures_of_other_programs_against_a_run(command, digits, run_dir):
    """Training images as a folder of pictures: figures without a step, and copies."""
    folder = run_dir.parent / "pictures"
    folder.mkdir()
    for number, picture in enumerate(digits[:12]):
        Image.fromarray(picture[:, :, 0]).save(folder / f"{number}.png")
    flags = ["--samples=pictures", "--workdir=run", "--features=halves", "--metrics=fid,precision"]
    said = command(*flags)
    assert "Compared with 1618 training images of digits" in said.out
    assert value(said, "Precision-Halves-12") == 1
    assert "more than chance. They may be copies" in said.out
    found = {figure.metric: figure for figure in history.read(run_dir)}
    assert [*found] == ["fid", "precision", "copies"]
    assert found["fid"].step is None and found["fid"].source == "pictures"
    assert not (run_dir / "tensorboard").exists()
    said = command(*flags, "--num_samples=5", "--split=test", "--copies=never")
    assert value(said, "FD-Halves-5-test") > 0
    Image.new("L", (9, 9)).save(folder / "0.png")
    line = command(*flags, code=1)
    assert "pictures has images of [9, 9, 1], digits of [8, 8, 1]" in line


class Seeded:
    """An origin whose image of a seed is that digit; it counts what it draws, and can fail."""

    unit, inputs, labels = "image", None, None

    def __init__(self, images, stop=None):
        self.pictures, self.stop, self.drawn = images, stop, []

    def amount(self, num_images):
        return num_images

    def images(self, seeds, bar):
        for seed in seeds:
            if len(self.drawn) == self.stop:
                raise KeyboardInterrupt
            self.drawn.append(int(seed))
            yield np.array([seed]), self.pictures[[seed]]

    def about(self):
        return {"weights": "some"}


@pytest.fixture
def seeded(monkeypatch, digits):
    """The origin of drawings of the run's checkpoint."""
    origin = Seeded(digits)
    monkeypatch.setattr(drawing, "Checkpoint", lambda *_, **__: origin)
    return origin


def test_what_was_drawn_is_kept(command, seeded, run_dir):
    """An interrupted drawing goes on, more samples are added, and nothing is drawn twice."""
    flags = ["--workdir=run", "--features=halves", "--metrics=fid,recall"]
    seeded.stop = 250
    with pytest.raises(SystemExit):
        run_command(evaluate.main, ["evaluate.py", *flags, "--num_samples=300"])
    assert len(list(run_dir.glob("evaluation/samples-*/seeds-*.npz"))) == 2
    seeded.stop = None
    command(*flags, "--num_samples=300")
    assert seeded.drawn == [*range(250), *range(200, 300)]
    seeded.drawn.clear()
    said = command(*flags, "--num_samples=500")
    assert seeded.drawn == [*range(300, 500)]
    assert "3 of 5 files of this shard are there already" in said.err
    seeded.drawn.clear()
    again = command(*flags, "--num_samples=500")
    assert not seeded.drawn and value(again, "FD-Halves-500") == value(said, "FD-Halves-500")
    found = history.read(run_dir)
    assert found[0].step == 40 and found[0].weights == "raw" and found[0].seeds == (0, 300)
    assert found[0].sampler["sampler"] == "ald"
    assert list((run_dir / "tensorboard").iterdir())


def test_shards_draw_for_one_evaluation(command, seeded, run_dir, tmp_path):
    flags = ["--workdir=run", "--features=halves", "--metrics=fid", "--num_samples=400"]
    for index in (1, 0):
        said = command(*flags, f"--shard={index}/2")
        assert said.out.endswith(f"Drew shard {index} of 2: 2 files\n")
    assert seeded.drawn == [*range(200, 400), *range(200)] and not history.read(run_dir)
    seeded.drawn.clear()
    said = command(*flags, "--copies=never")
    assert not seeded.drawn
    save("same.npz", seeded.pictures[:400])
    # In one piece: the same sums.
    other = command(*flags[:-1], "--samples=same.npz", "--copies=never")
    assert value(other, "FD-Halves-400") == pytest.approx(value(said, "FD-Halves-400"), rel=1e-12)


def test_several_seed_ranges(command, seeded, run_dir):
    flags = ["--workdir=run", "--features=halves", "--metrics=fid,kid", "--num_samples=100"]
    said = command(*flags, "--num_seed_ranges=3", "--seed=50", "--copies=never")
    fid, kid = history.read(run_dir)
    assert len(fid.ranges) == 3 and fid.seeds == (50, 300) and len(set(fid.ranges)) == 3
    assert fid.value == pytest.approx(np.mean(fid.ranges))
    assert fid.spread == pytest.approx(np.std(fid.ranges, ddof=1))
    text = f"minimum {min(fid.ranges):.4g}, mean {fid.value:.4g}, deviation {fid.spread:.2g}"
    assert f"FD-Halves-100 {fid.value:.4g} ({text}, of 3 seed ranges)" in said.out
    assert kid.metric == "kid" and seeded.drawn == [*range(50, 350)]
    single = command(*flags, "--seed=150", "--copies=never")
    assert value(single, "FD-Halves-100") == pytest.approx(fid.ranges[1], rel=1e-3)


def test_two_evaluations_do_not_draw_the_same(command, seeded, run_dir, monkeypatch, capsys):
    flags = ["--workdir=run", "--features=halves", "--metrics=fid", "--num_samples=10"]
    lines = []
    draw = seeded.images

    def meanwhile(seeds, bar):
        monkeypatch.setattr(seeded, "images", draw)
        with pytest.raises(SystemExit):
            run_command(evaluate.main, ["evaluate.py", *flags])
        lines.append(capsys.readouterr().err.splitlines()[-1])
        return draw(seeds, bar)

    monkeypatch.setattr(seeded, "images", meanwhile)
    command(*flags, "--copies=never")
    (line,) = lines
    assert re.search("samples-.* are being drawn and measured by process .*--shard=i/n", line)


def test_copies_that_would_take_long(command, seeded, run_dir, monkeypatch):
    monkeypatch.setattr(copies, "LARGEST_WORK", 1000)
    flags = ["--workdir=run", "--features=halves", "--metrics=fid", "--num_samples=20"]
    said = command(*flags)
    text = "Copies: not looked for among 1618 training images, which takes long; --copies=always"
    assert text in said.out
    said = command(*flags, "--copies=always")
    assert "Copies: samples lie nearer to training images than test images do" in said.out
    assert [figure.metric for figure in history.read(run_dir)] == ["fid", "fid", "copies"]


@pytest.mark.parametrize(
    "flags, message",
    [
        ({}, "say what to measure: --metrics, --bits_per_dim or --test_loss"),
        ({"metrics": "fid", "test_loss": True}, "--metrics goes without --bits_per_dim and"),
        ({"metrics": "fid,fad"}, "--metrics=fid,fad must be some of fid, kid, is, precision, re"),
        ({"test_loss": True, "features": "train"}, "--features=train needs --metrics"),
        ({"test_loss": True, "sampler": "cas"}, "--sampler=cas needs --metrics"),
        ({"metrics": "fid", "num_probes": 2}, "--num_probes=2 needs --bits_per_dim"),
        ({"metrics": "fid", "samples": "a", "shard": "0/2"}, "--shard=0/2 cannot be used with --s"),
        ({"metrics": "fid", "samples": "a", "snr": 1.0}, "--snr=1.0 cannot be used with --samples"),
        (
            {"metrics": "fid", "saved_model": "a", "snr": 1.0},
            "--snr=1.0 cannot be used with --saved_model: export again",
        ),
        ({"metrics": "fid", "shard": "2/2"}, "--shard=2/2 must be i/n"),
    ],
)
def test_flags_that_contradict_each_other(flags, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        EvaluateOptions(**flags).validate()


def test_likelihoods_have_their_tolerance():
    EvaluateOptions(bits_per_dim=True, ode_tolerance=1e-3).validate()
    EvaluateOptions(metrics="all", ode_tolerance=1e-3).validate()
    assert EvaluateOptions(metrics="all").names is None
    assert EvaluateOptions(metrics="FID, kid,fid").names == ["fid", "kid"]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--samples=few.npz", "--metrics=is"], "--metrics=is needs at least 10 samples, not 3"),
        (["--samples=few.npz", "--metrics=recall"], "--metrics=recall needs at least 4 samples"),
        (["--samples=damaged.npz", "--metrics"], "damaged.npz cannot be read"),
        (["--samples=none", "--metrics"], "none is not a file or a folder"),
        (["--samples=few.npz", "--metrics", "--reference=damaged.npz"], "damaged.npz cannot be"),
        (["--samples=few.npz", "--metrics", "--features=nosuch"], "--features=nosuch must be"),
        (["--samples=few.npz", "--metrics", "--workdir=none"], "none holds no checkpoint"),
    ],
)
def test_what_cannot_be_measured_is_one_line(flags, message, command, run_dir):
    save("few.npz", np.zeros([3, 8, 8, 1], np.uint8))
    measure.Path("damaged.npz").write_bytes(b"PK\3\4 damaged")
    code = 2 if "needs" in message or "must" in message else 1
    assert message in command("--workdir=run", "--features=classes", *flags, code=code)
    assert not list(run_dir.glob("evaluation/*"))


def test_figures_are_json(command, seeded, run_dir):
    flags = ["--workdir=run", "--features=classes", "--metrics", "--num_samples=50"]
    command(*flags)
    lines = (run_dir / history.NAME).read_text().splitlines()
    names = [json.loads(line)["name"] for line in lines]
    precise = ["Precision-Inception2015-50", "Recall-Inception2015-50"]
    assert names == ["FID-50", "KID-50", "IS-50", *precise, "Copies-50"]
    first = json.loads(lines[0])
    expected = {"features": "Inception2015", "checksum": "0" * 16, "resize": "none", "step": 40}
    assert {name: first[name] for name in expected} == expected
    assert {*first} == {field.name for field in dataclasses.fields(history.Figure)}
    assert len({*itertools.chain(names)}) == 6


@pytest.mark.slow
def test_sigterm_ends_it_and_what_is_finished_is_kept(command_server, tiny_config, tmp_path):
    """Within seconds, and the same command goes on from there."""
    config = tiny_config(workdir=str(tmp_path / "run"), sampling_tile=50)
    checkpoints.save_network(build_network(config), config)
    layers = [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    model.save(tmp_path / "net.keras")
    flags = ["evaluate.py", "--metrics=fid,is", "--workdir=run", "--features=net.keras"]
    flags += ["--num_samples=20000", "--batch_size=50", "--copies=never"]
    with command_server.popen(flags, cwd=tmp_path) as process:
        end = time.monotonic() + 120
        while not list(tmp_path.glob("run/evaluation/samples-*/seeds-*.npz")):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        _, error = process.communicate(timeout=60)
        assert time.monotonic() - began < 30 and process.returncode == 128 + signal.SIGTERM
    assert "interrupted by SIGTERM" in error
    kept = sorted(tmp_path.glob("run/evaluation/samples-*/seeds-*.npz"))
    times = [path.stat().st_mtime_ns for path in kept]
    fewer = [*flags, f"--num_samples={100 * len(kept)}"]
    done = command_server.run(fewer, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"FD-net-{short_number(100 * len(kept))}" in done.stdout
    assert [path.stat().st_mtime_ns for path in kept] == times


def test_an_export(command, digits, run_dir, monkeypatch):
    """Its step and weights are those that it was made of; its run is the one that it lies in."""

    class Export(Seeded):
        metadata = Metadata(config=Config.load(run_dir / "config.json"), training_step=30)

        def __init__(self, folder, **settings):
            super().__init__(digits)
            self.path = measure.Path(folder).absolute() / "1"

        def chain(self):
            return {"sampler": "ald"}

    monkeypatch.setattr(measurements, "Export", Export)
    for folder in ("run/export", "export"):
        Path(folder).mkdir()
    flags = ["--features=halves", "--metrics=fid", "--num_samples=20", "--copies=never"]
    said = command(*flags, "--saved_model=run/export")
    (figure,) = history.read(run_dir)
    assert (figure.step, figure.weights, figure.sampler) == (30, None, {"sampler": "ald"})
    assert figure.source.endswith("run/export/1") and figure.seeds == (0, 20)
    command(*flags, "--saved_model=run/export", "--workdir=elsewhere")
    (other,) = history.read("elsewhere")
    assert other.value == figure.value and value(said, "FD-Halves-20") > 0
    line = command(*flags, "--saved_model=export", code=2)
    assert "--saved_model=export lies in no run: name a folder for samples and figures" in line


@pytest.mark.parametrize("flag", ["--guidance=2.0", "--label=3"])
def test_an_export_that_knows_no_classes(flag, command, run_dir):
    """It names the flag that was given, and no other."""
    folder = Path("run/export/1")
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    config = json.loads((run_dir / "config.json").read_text())
    (folder / METADATA).write_text(json.dumps({"config": config}))
    assert command("--metrics=fid", "--saved_model=run/export", flag, code=2) == (
        f"error: {flag} needs a network that was trained with --class_conditional: this export "
        "knows no classes\n"
    )
