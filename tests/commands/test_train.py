"""The commands, as processes: exit codes, messages, a run from its start to its samples.

The run has a network of a few weights; that of `make demo` and of test_package.py the real one.
"""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import runs
from PIL import Image

from ncsn_tf.commands import import_reference
from ncsn_tf.commands.console import run_command
from ncsn_tf.training import checkpoint_choice, checkpoints

ROOT = Path(__file__).resolve().parents[2]
OFFICIAL = Path(__file__).resolve().parents[1] / "golden" / "official_checkpoint_ngf8.pth"
TRAIN = [
    "--dataset=digits",
    "--features=2",
    "--num_levels=3",
    "--num_steps_each=2",
    "--batch_size=16",
    "--eval_every=0",
    "--sample_every=0",
    "--log_every=5",
]


@pytest.fixture(scope="module")
def run(command_server):
    """program, flags, cwd -> the completed process."""
    return lambda program, *flags, cwd: command_server.run([program, *flags], cwd=cwd)


def arrays(path):
    with np.load(path) as content:
        return dict(content)


@pytest.mark.parametrize("program", ["train.py", "sample.py"])
def test_help_comes_at_once_without_tensorflow(program, tmp_path):
    block = "import runpy, sys; sys.modules['tensorflow'] = sys.modules['keras'] = None; "
    block += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", block, str(ROOT / program), "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {program} [--flag=value ...]\n")
    assert done.stderr == ""
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5


@pytest.mark.parametrize(
    "program, flags, code, message",
    [
        ("train.py", ["--learning_rat=1"], 2, "Did you mean: learning_rate ?"),
        ("train.py", ["--dataset=digits", "--sigma_end=3"], 2, "--sigma_end=3.0 must be below"),
        ("train.py", ["--dataset=image_folder", "--image_size=8"], 2, "--data_dir= must name"),
        ("sample.py", ["--saved_model", "--movie=a.gif"], 2, "--movie=a.gif cannot be used with"),
        ("sample.py", ["--format=jpeg"], 2, "--format=jpeg must be grid or png or npz"),
        ("sample.py", ["--saved_model=gone"], 1, "--saved_model=gone is not a file or a folder"),
        ("sample.py", [], 1, "no run in runs/: train first"),
        (
            "train.py",
            ["--dataset=image_folder", "--image_size=8", "--data_dir=gone", "--features=2"],
            1,
            "gone",
        ),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(program, flags, code, message, run, tmp_path):
    done = run(program, *flags, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line


class Interrupted:
    """A training process that got Ctrl-C after its tenth step."""

    def __init__(self, command_server, folder):
        self.folder = folder
        command = [runs.NCSN, "train", *TRAIN, "--num_steps=1000000"]
        with command_server.popen(command, cwd=folder, stderr=subprocess.STDOUT) as process:
            self.lines = []
            for line in process.stdout:
                self.lines.append(line.rstrip("\n"))
                if line.startswith("step 10 of"):
                    process.send_signal(signal.SIGINT)
            self.code = process.wait(60)
        self.step = int(checkpoint_choice.latest(folder / "runs" / "digits").rpartition("-")[2])


@pytest.fixture(scope="module")
def interrupted(command_server, tmp_path_factory):
    return Interrupted(command_server, tmp_path_factory.mktemp("commands"))


@pytest.fixture(scope="module")
def finished(interrupted, run):
    """(folder, step, standard output, standard error) of the same command, to the end."""
    step = interrupted.step + 5
    done = run(runs.NCSN, "train", *TRAIN, f"--num_steps={step}", cwd=interrupted.folder)
    assert done.returncode == 0, done.stderr
    return interrupted.folder, step, done.stdout.splitlines(), done.stderr.splitlines()


@pytest.fixture(scope="module")
def drawn(finished, run):
    """Folder with five images of the newest run in drawn.npz, and a movie of them."""
    folder, step, _, _ = finished
    flags = ["--num_samples=5", "--seed=3", "--batch_size=2", "--movie=chain.gif"]
    done = run(runs.NCSN, "sample", *flags, "--format=npz", "--out=drawn.npz", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"Sampling from runs/digits, averaged weights of step {step}",
        "6 network evaluations an image",
        "Wrote drawn.npz",
    ]
    return folder


def test_ctrl_c_saves_the_step_and_exits_0(interrupted):
    assert interrupted.code == 0, interrupted.lines
    start = "Starting runs/digits at step 0 of 1000000 on 1 device, CPU ("
    assert interrupted.lines[0].startswith(start)
    assert interrupted.lines[1].startswith("First step done ")
    assert interrupted.lines[-1] == (
        f"SIGINT: saved step {interrupted.step}; the same command resumes"
    )
    assert interrupted.step >= 10


def test_the_same_command_resumes_and_exports(interrupted, finished):
    _, step, stdout, stderr = finished
    resumed, exported, last = stdout
    start = f"Resuming runs/digits at step {interrupted.step} of {step} on 1 device, CPU ("
    assert resumed.startswith(start)
    assert exported == "Exported runs/digits/export/1"
    assert last == "next: ncsn sample --workdir=runs/digits"
    assert stderr[-1].startswith(f"step {step} of {step}  loss ")


def test_samples_of_the_newest_run(drawn):
    content = arrays(drawn / "drawn.npz")
    np.testing.assert_array_equal(content["seeds"], np.arange(3, 8))
    assert content["images"].shape == (5, 8, 8, 1)
    with Image.open(drawn / "chain.gif") as movie:
        assert movie.n_frames == 3 * 2


def test_the_same_seeds_are_the_same_images_in_other_batches_and_from_the_export(drawn, run):
    expected = arrays(drawn / "drawn.npz")["images"]
    flags = ["--num_samples=4", "--seed=4", "--format=png"]
    done = run(runs.NCSN, "sample", *flags, "--out=singles", cwd=drawn)
    assert done.returncode == 0, done.stderr
    for seed in range(4, 8):
        with Image.open(drawn / "singles" / f"{seed:06d}.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), expected[seed - 3, :, :, 0])

    done = run(runs.NCSN, "sample", "--saved_model", *flags, "--out=exported", cwd=drawn)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "Sampling from runs/digits/export/1"
    for seed in range(4, 8):
        with Image.open(drawn / "exported" / f"{seed:06d}.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), expected[seed - 3, :, :, 0])


def test_a_weight_file_of_the_reference_becomes_a_run(golden, tmp_path, capsys):
    pytest.importorskip("torch")
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as end:
        run_command(import_reference.main, ["ncsn import", str(OFFICIAL), str(out)])
    assert end.value.code == 0, capsys.readouterr().err
    assert f"Wrote {out}: " in capsys.readouterr().out

    network, config, step, _ = checkpoints.load_network(checkpoint_choice.latest(out))
    vectors = golden("ncsn_cifar10_ngf8")
    assert (config.dataset, config.features, config.num_levels, step) == ("cifar10", 8, 10, 0)
    score = network(vectors["x"], vectors["labels"])
    scale = np.abs(vectors["score"]).max()
    np.testing.assert_allclose(score, vectors["score"], atol=1e-4 * scale)

    with pytest.raises(SystemExit) as end:
        run_command(import_reference.main, ["ncsn import", str(OFFICIAL), str(out)])
    assert end.value.code == 1
    assert capsys.readouterr().err == f"error: {out} exists and is not empty: name a new folder\n"


class Malicious:
    """Unpickling this would make a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("kind", ["malicious", "foreign", "text", "empty", "absent", "other"])
def test_other_files_are_refused_in_one_line(kind, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    path, trap, out = tmp_path / "weights.pth", tmp_path / "trap", tmp_path / "out"
    if kind in ("malicious", "foreign", "other"):
        contents = {
            "malicious": [{"module.begin_conv.weight": Malicious(str(trap))}, {}],
            "foreign": {"epoch": 3, "model": [1, 2]},
            "other": [{"weight": torch.zeros(2)}, {}],
        }
        torch.save(contents[kind], path)
    elif kind != "absent":
        path.write_bytes(b"" if kind == "empty" else b"epoch,loss\n1,2\n")
    with pytest.raises(SystemExit) as end:
        run_command(import_reference.main, ["ncsn import", str(path), str(out)])
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert str(path) in line
    assert not trap.exists()
    assert not out.exists()
