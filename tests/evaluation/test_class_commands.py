"""Commands that draw of classes to look at or to measure: accuracy, sweeps, neighbours, reports.

Images of "dark" are dark and those of "light" are light, as guidance says, so that from 1 on all of
them are of their class, and at 0 some by chance.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from commands_in_process import tiny_commands
from PIL import Image
from training_helpers import TinyLabelled

from ncsn_tf.backend.compat import raw_variable
from ncsn_tf.errors import UserError
from ncsn_tf.evaluation.features import NETWORKS, FeatureNetwork
from ncsn_tf.evaluation.quality import history
from ncsn_tf.evaluation.quality.asked import Asked, read_asked, unclassifiable
from ncsn_tf.evaluation.report.quality import quality_part
from ncsn_tf.sampling.sampler import Sampler
from ncsn_tf.settings.config import Config
from ncsn_tf.training import checkpoints
from ncsn_tf.training.run_data import run_source

NAMES = ("dark", "light")
COUNT = 12
RUN = "--workdir=run"


def brightness(num_classes):
    """What makes a feature network: the mean of an image, and whether it is a light one."""

    def compute(pixels):
        means = pixels.mean((1, 2)).astype(np.float32)
        likely = np.eye(max(num_classes, 2), dtype=np.float32)[(means[:, 0] > 127).astype(int)]
        return means, likely if num_classes else None

    about = {"name": "Bright", "checksum": "0" * 16, "resize": "none", "channels": 1}
    made = FeatureNetwork(compute, dimension=1, num_classes=num_classes, **about)
    return lambda inception, config, data_dir, cache_dir: made


DRAW = Sampler.draw


def draw(self, seeds, on_piece=None, condition=(), labels=None, guidance=1.0):
    """In place of `Sampler.draw`, which takes seconds to compile."""
    seeds = np.asarray(seeds)
    greys = 0.2 + 0.6 * np.array([np.random.default_rng(seed).random() for seed in seeds])
    if labels is not None:
        greys = greys + guidance * (np.asarray(labels) - 0.5)
    x = np.broadcast_to(greys[:, None, None, None], (len(seeds), 8, 8, 1)).astype(np.float32)
    for _ in self.pieces if on_piece else ():
        on_piece(lambda: x)
    return x


@pytest.fixture(scope="module")
def ncsn(tmp_path_factory):
    """(command, its flags) -> exit code of `ncsn`, in a folder with two runs: one knows classes."""
    with pytest.MonkeyPatch.context() as patch:
        run = tiny_commands(patch, ("sample", "evaluate", "neighbors", "report"))
        patch.chdir(tmp_path_factory.mktemp("classes"))
        patch.setattr(checkpoints, "build_network", TinyLabelled)
        patch.setattr(Sampler, "draw", draw)
        patch.setenv("NCSN_CACHE", str(Path("cache").resolve()))
        for name, classes in (("bright", 2), ("three", 3), ("vectors", 0)):
            patch.setitem(NETWORKS, name, brightness(classes))
        labels = np.arange(40) % 2
        images = (
            np.random.default_rng(0).integers(0, 60, (40, 8, 8, 1))
            + 190 * labels[:, None, None, None]
        )
        np.savez("data.npz", images=images.astype(np.uint8), labels=np.array(NAMES)[labels])
        for name, known in (
            ("run", {"class_conditional": True, "class_names": NAMES}),
            ("plain", {}),
        ):
            config = Config(
                workdir=name,
                dataset="arrays",
                data_dir=str(Path("data.npz").resolve()),
                image_size=8,
                channels=1,
                num_levels=2,
                num_steps_each=1,
                sampling_tile=4,
                random_flip=False,
                **known,
            )
            checkpoints.save_network(TinyLabelled(config), config, step=4)
        yield run


FLAGS = [f"--num_samples={COUNT}", "--features=bright", "--copies=never"]


def newest():
    return history.read("run")[-1]


def refused(ncsn, capsys, *flags):
    """The one line of a command that is refused."""
    capsys.readouterr()
    assert ncsn(*flags)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    return line


def test_accuracy_of_drawn_samples(ncsn, capsys):
    assert ncsn("evaluate", RUN, "--metrics=fid,accuracy", *FLAGS) == 0
    assert f"\nAccuracy-Bright-{COUNT} 1 +- 0  ({COUNT} samples)\n" in capsys.readouterr().out
    figure = newest()
    assert (figure.metric, figure.value, figure.spread) == ("accuracy", 1.0, 0.0)
    assert (figure.features, figure.reference, figure.num_reference) == ("Bright", "", None)
    assert (figure.sampler["labels"], figure.sampler["guidance"]) == ("dark,light", 1.0)
    row = quality_part("run")["rows"][0]
    assert row[:2] == [f"Accuracy-Bright-{COUNT}", "1 \u00b1 0"]
    assert "classes dark,light, guidance 1" in row[6]
    assert ncsn("evaluate", RUN, "--metrics=accuracy", "--label=light", *FLAGS) == 0
    assert newest().name == f"Accuracy-Bright-{COUNT}-of-light"


def test_accuracy_of_files_is_that_of_what_was_drawn(ncsn, capsys):
    """At guidance 0 a class is forgotten, so that some images are of another one."""
    flags = ["--label=each", "--guidance=0", f"--num_samples={COUNT // 2}"]
    assert ncsn("sample", RUN, *flags, "--format=npz", "--out=some.npz") == 0
    with np.load("some.npz") as arrays:
        content = dict(arrays)
    light = content["images"].mean((1, 2, 3)) > 127
    share = np.mean(light == content["labels"])
    assert 0 < share < 1
    accuracy = ["--metrics=accuracy", "--features=bright", "--copies=never"]
    assert ncsn("evaluate", RUN, *accuracy, "--samples=some.npz") == 0
    figure = newest()
    assert figure.name == f"Accuracy-Bright-{COUNT}" and figure.source == "some.npz"
    assert figure.value == share
    assert figure.spread == pytest.approx(np.sqrt(share * (1 - share) / COUNT))
    assert ncsn("evaluate", RUN, *accuracy, f"--num_samples={COUNT}", "--guidance=0") == 0
    assert newest().value == share and newest().seeds == (0, COUNT)
    # Labels decide, and the first ones go with the first images.
    np.savez("turned.npz", images=content["images"], labels=1 - content["labels"])
    assert ncsn("evaluate", RUN, *accuracy, "--samples=turned.npz", "--num_samples=5") == 0
    assert newest().value == pytest.approx(1 - np.mean((light == content["labels"])[:5]))
    blocks = ["--label=each", "--guidance=0", f"--num_samples={COUNT // 2}", "--block=5"]
    assert ncsn("sample", RUN, *blocks, "--shard=0/1", "--out=blocks") == 0
    assert ncsn("evaluate", RUN, *accuracy, "--samples=blocks") == 0
    assert newest().value == share
    capsys.readouterr()


@pytest.mark.parametrize(
    "labels, message",
    [
        (None, "x.npz has none: ncsn sample --label --format=npz writes them"),
        (np.zeros(2, np.int64), "x.npz has 2, for 3 images"),
        (np.zeros(3), "those of x.npz must be whole numbers [N], not float64 [3]"),
        (np.array([0, 1, 2]), "those of x.npz must be from 0 to 1"),
        (np.array([0, 1, -1]), "those of x.npz must be from 0 to 1"),
    ],
)
def test_files_that_tell_no_classes(labels, message, ncsn, capsys):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    np.savez("x.npz", images=images, **({} if labels is None else {"labels": labels}))
    flags = ["evaluate", RUN, "--samples=x.npz", "--features=bright"]
    line = refused(ncsn, capsys, *flags, "--metrics=accuracy")
    assert line == f"error: --metrics=accuracy needs labels of the samples: {message}"
    # Of all that can be had it is left out, and the rest is measured.
    assert ncsn(*flags, "--metrics", "--copies=never") == 0
    said = capsys.readouterr().err
    assert f"accuracy left out: it needs labels of the samples: {message}" in said


def test_what_has_no_accuracy(ncsn, capsys):
    def line(*flags):
        return refused(ncsn, capsys, "evaluate", "--num_samples=4", *flags)

    names = {"images": np.zeros([2, 8, 8, 1], np.uint8), "labels": [0, 1]}
    np.savez("other.npz", **names, class_names=["light", "dark"])
    folder = Path("pictures")
    folder.mkdir()
    Image.new("L", (8, 8)).save(folder / "0.png")
    accuracy = ["--metrics=accuracy", "--features=bright"]
    no_classes = "accuracy needs labels of the samples: "
    assert f"{no_classes}the samples are of a network that" in line("--workdir=plain", *accuracy)
    assert f"{no_classes}pictures has none" in line(RUN, *accuracy, "--samples=pictures")
    said = line(RUN, *accuracy, "--samples=other.npz")
    assert said.endswith(
        "other.npz is of the classes light, dark, and what it is compared with of dark, light"
    )
    said = line(RUN, "--metrics=accuracy", "--features=three")
    assert "needs a probability for each of the 2 classes, and Bright has 3: take a class" in said
    said = line(RUN, "--metrics=accuracy", "--features=vectors")
    assert "--metrics=accuracy needs probabilities, which Bright does not give" in said
    sweep = ["--sweep=step_lr=1e-5,1e-4", "--metrics=accuracy"]
    said = line(RUN, *sweep, "--features=three")
    assert said.startswith("error: accuracy needs a probability for each of the 2 classes")
    said = line("--workdir=plain", *sweep, "--features=bright")
    assert said.startswith("error: accuracy needs labels of the samples")


def test_guidance_is_swept(ncsn, capsys):
    flags = [RUN, "--metrics=accuracy,fid", *FLAGS[:2], "--num_steps_each=2"]
    assert ncsn("evaluate", *flags, "--sweep=guidance=0:2:3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["guidance", f"Accuracy-Bright-{COUNT}", f"FD-Bright-{COUNT}"]
    assert [line.split()[0] for line in lines[2:5]] == ["0.0", "1.0", "2.0"]
    assert "best" in lines[3]
    assert lines[5].startswith("Best: --num_steps_each=2 --label=each --guidance=1.0  (Accuracy-")
    (path,) = Path("run/evaluation").glob("sweep-guidance-*.json")
    assert path.with_suffix(".png").exists()
    tried = json.loads(path.read_text())["tried"]
    shares = [figures[0]["value"] for figures in tried.values()]
    assert shares[0] < 1 and shares[1:] == [1.0, 1.0]
    told = [figures[0]["sampler"] for figures in tried.values()]
    assert [(one["guidance"], one["evaluations"]) for one in told] == [(0, 4), (1, 4), (2, 8)]
    assert newest().details == {"sweep": "guidance=2.0"}
    # Others go on in the same file; with other settings of the chain it is another file.
    assert ncsn("evaluate", *flags, "--sweep=guidance=1,3") == 0
    assert "--guidance=1.0 is measured already" in capsys.readouterr().err
    assert len(json.loads(path.read_text())["tried"]) == 4


@pytest.mark.slow
def test_guidance_of_a_real_chain_is_swept(ncsn, monkeypatch, capsys):
    """The network pulls images of a class to black or to white, and without a class nowhere."""
    monkeypatch.setattr(Sampler, "draw", DRAW)
    opened = checkpoints.open_run("run")
    raw_variable(opened.network.table).assign([[-1e4], [1e4], [0.0]])
    config = dataclasses.replace(opened.config, workdir="pulled")
    checkpoints.save_network(opened.network, config, step=4)
    flags = ["--workdir=pulled", "--metrics=accuracy", *FLAGS[:2]]
    assert ncsn("evaluate", *flags, "--sweep=guidance=0:2:3") == 0
    values = [figure.value for figure in history.read("pulled")]
    assert values[0] < 1 and values[1:] == [1.0, 1.0]
    out = capsys.readouterr().out
    assert "Best: --label=each --guidance=1.0" in out


def test_a_sweep_of_a_class_at_a_guidance(ncsn, capsys):
    flags = [RUN, "--sweep=num_steps_each=1,2", "--metrics=fid,accuracy", *FLAGS[:2]]
    assert ncsn("evaluate", *flags, "--label=light", "--guidance=3") == 0
    out = capsys.readouterr().out
    assert f"FD-Bright-{COUNT}-train-of-light  Accuracy-Bright-{COUNT}-of-light" in out
    assert "Best: --label=light --guidance=3.0 --num_steps_each=" in out
    assert (newest().sampler["labels"], newest().sampler["guidance"]) == ("light", 3.0)
    assert ncsn("evaluate", *flags) == 0
    assert len(list(Path("run/evaluation").glob("sweep-num_steps_each-*.json"))) == 2
    assert ncsn("evaluate", RUN, "--every_checkpoint", "--label=dark", *FLAGS[:2]) == 0
    assert f"FD-Bright-{COUNT}-train-of-dark" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["--sweep=step_lr=1e-5", "--every_checkpoint"])
def test_classes_in_another_order_are_kept_apart(kind, ncsn, capsys):
    """The image of a seed is then of another class: figures of the two are not of the same."""
    flags = ["evaluate", RUN, kind, "--metrics=fid", "--features=bright", "--num_samples=7"]
    before = {*Path("run/evaluation").glob("*-*.json")}
    assert ncsn(*flags) == 0
    assert ncsn(*flags, "--label=light,dark") == 0
    assert "measured already" not in capsys.readouterr().err
    kept = {*Path("run/evaluation").glob("*-*.json")} - before
    told = [json.loads(path.read_text())["settings"].get("labels") for path in kept]
    assert sorted(map(str, told)) == ["None", "[1, 0]"]
    assert ncsn(*flags, "--label=dark,light") == 0  # which is --label=each
    assert "measured already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--workdir=plain", "--sweep=guidance=0:4:5"], "--sweep=guidance=... needs a network"),
        (
            [RUN, "--sweep=guidance=-1:4:5"],
            "--sweep=guidance=-1:4:5: --guidance=-1.0 must be at le",
        ),
        (
            [RUN, "--sweep=guidance=1,2", "--guidance=3"],
            "--guidance=3.0 cannot be used with --swee",
        ),
        (
            [RUN, "--sweep=snr=1,2", "--sampler=pc", "--label=cat"],
            "--label=cat is no class of this",
        ),
        (["--workdir=plain", "--every_checkpoint", "--guidance=2"], "this run knows no classes"),
        ([RUN, "--test_loss", "--guidance=2"], "--guidance=2.0 needs --metrics"),
    ],
)
def test_classes_that_cannot_be_tried(flags, message, ncsn, capsys):
    assert message in refused(ncsn, capsys, "evaluate", *flags)


def test_neighbours_of_a_class(ncsn, capsys):
    flags = [RUN, "--num_samples=3", "--num_neighbors=2"]
    assert ncsn("neighbors", *flags) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith(", classes dark, light, guidance 1")
    assert [line.split()[-1] for line in out[1:5]] == ["class", "dark", "light", "dark"]
    assert ncsn("neighbors", *flags, "--label=light", "--guidance=1.5", "--out=one.png") == 0
    with np.load("one.npz") as arrays:
        assert arrays["labels"].tolist() == [1, 1, 1]
        assert arrays["class_names"].tolist() == [*NAMES]
        drawn = arrays["samples"]
        labels = run_source(Config.load("run/config.json"), "train").labels
        assert (labels[arrays["indices"]] == 1).all()
    sample = ["--label=light", "--guidance=1.5", "--num_samples=3", "--format=npz"]
    assert ncsn("sample", RUN, *sample, "--out=same.npz") == 0
    with np.load("same.npz") as arrays:
        np.testing.assert_array_equal(drawn, arrays["images"])
    for given, message in (
        (["--samples=same.npz", "--label=0"], "--label=0 cannot be used with --samples"),
        (["--label=grey"], "--label=grey is no class of this run, which has 2: 0 dark, 1 light"),
    ):
        assert message in refused(ncsn, capsys, "neighbors", RUN, *given)
    said = refused(ncsn, capsys, "neighbors", "--workdir=plain", "--guidance=2")
    assert said.endswith("--class_conditional: this run knows no classes")


def test_the_samples_of_a_report(ncsn, capsys):
    flags = [RUN, "--noscores", "--out=page.html"]
    assert ncsn("report", *flags, "--label=light,dark", "--guidance=0.5") == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.count('"of": "classes light, dark, guidance 0.5"') == 2  # chain and neighbours
    assert page.count('"class": "light"') == page.count('"class": "dark"') == 4
    assert "--label=grey is no class" in refused(ncsn, capsys, "report", *flags, "--label=grey")
    said = refused(ncsn, capsys, "report", "--nochain", "--noneighbors", "--guidance=2")
    assert said == (
        "error: --guidance=2.0 needs --chain or --neighbors: no samples are drawn otherwise"
    )


def test_classes_of_blocks_and_of_files_without_names(tmp_path):
    images = np.zeros([2, 8, 8, 1], np.uint8)
    for first, names in ((0, ["a", "b"]), (2, ["a", "b"])):
        path = tmp_path / f"seeds-{first:06d}-{first + 1:06d}.npz"
        np.savez(path, images=images, labels=[0, first // 2], class_names=names)
    found = read_asked(tmp_path, 4)
    assert (found.labels.tolist(), found.class_names) == ([0, 0, 0, 1], ("a", "b"))
    np.savez(path, images=images, labels=[0, 1], class_names=["b", "a"])
    with pytest.raises(UserError, match="the files of .* are of different classes"):
        read_asked(tmp_path, 4)
    np.savez(tmp_path / "x.npz", images=images, labels=[0, 6])
    unnamed = read_asked(tmp_path / "x.npz", 2)
    assert (unnamed.class_names, unnamed.some) == ((), "of-0+6")
    assert unclassifiable(unnamed, "Means", 10) == ""
    assert "each of the 7 classes, and Means has 6" in unclassifiable(unnamed, "Means", 6)
    assert read_asked(tmp_path / "x.npz", 2, tuple("abcdefg")).some == "of-a+g"
    assert Asked(np.arange(6), tuple("abcdefg")).some == "of-6-classes"
    np.save(tmp_path / "x.npy", images)
    with pytest.raises(UserError, match="x.npy has none: ncsn sample --label"):
        read_asked(tmp_path / "x.npy", 2)
