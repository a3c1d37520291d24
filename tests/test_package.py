"""The package as pip installs it: what is in it, and the demo from an empty folder."""

import os
import runpy
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import ncsn_tf

ROOT = Path(__file__).resolve().parent.parent
# The network with the fewest operations: traced and compiled in a moment.
TINY = (
    *("--model=ddpmpp", "--features=4", "--multipliers=1", "--num_res_blocks=1"),
    *("--attention_sizes=none", "--sde=vp", "--beta_max=1", "--num_levels=2", "--num_steps=3"),
    *("--sampler=pc", "--predictor=ancestral", "--corrector=none", "--num_steps_each=1"),
    "--batch_size=8",
)


def test_requirements_are_those_of_pyproject():
    tomllib = pytest.importorskip("tomllib")
    parsed = tomllib.loads((ROOT / "pyproject.toml").read_text())
    requirements = runpy.run_path(ROOT / ".ci" / "requirements.py")["requirements"](parsed)
    assert set(requirements) == {path.name for path in ROOT.glob("requirements*.txt")}
    for name, text in requirements.items():
        assert (ROOT / name).read_text() == text, f"{name}: make requirements"


def run(*command, cwd=None):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env["TF_CPP_MIN_LOG_LEVEL"] = "2"
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(sdist, wheel made from it)."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "-o", folder, ROOT], check=True, timeout=300)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.mark.slow
def test_what_is_in_the_wheel(built):
    sdist, wheel = built
    name = f"ncsn_tf-{ncsn_tf.__version__}"
    assert (sdist.name, wheel.name) == (f"{name}.tar.gz", f"{name}-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        points = archive.read(f"{name}.dist-info/entry_points.txt").decode()
    assert points.split() == ["[console_scripts]", "ncsn", "=", "ncsn_tf.commands.console:main"]
    assert {entry.split("/")[0] for entry in names} == {"ncsn_tf", f"{name}.dist-info"}

    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ncsn_tf").rglob("*.py")}
    shipped = {
        f"ncsn_tf/shipped/{path.relative_to(ROOT).as_posix()}"
        for folder in ("flags", "serving", "zoo")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "export" not in path.parts  # the checkpoints are enough
    }
    others = {
        "ncsn_tf/__init__.pyi",
        "ncsn_tf/py.typed",
        "ncsn_tf/evaluation/report/template.html",
    }
    assert len(shipped) > 15
    assert {entry for entry in names if entry.startswith("ncsn_tf/")} == modules | shipped | others


@pytest.mark.slow
def test_what_is_in_the_source(built):
    with tarfile.open(built[0]) as archive:
        names = {entry.partition("/")[2] for entry in archive.getnames()}
    scripts = {"train.py", "sample.py", "evaluate.py", "requirements.txt", "LICENSE", "README.md"}
    assert scripts <= names
    assert not {entry for entry in names if entry.startswith(("tests", "benchmarks", "runs"))}


@pytest.fixture(scope="module")
def ncsn(built, tmp_path_factory):
    """The console script in an environment of its own, which finds the other packages here."""
    env = tmp_path_factory.mktemp("env")
    run(sys.executable, "-m", "venv", "--without-pip", env)
    python = env / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", built[1])
    packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(python, "-c", "import ncsn_tf; print(ncsn_tf.__file__)", cwd=env)
    assert Path(where.strip()).is_relative_to(packages)
    return env / "bin" / "ncsn"


@pytest.mark.slow
def test_the_demo_from_an_empty_folder(ncsn, tmp_path):
    def command(*args):
        return run(ncsn, *args, cwd=tmp_path)

    assert command("--version") == f"ncsn {ncsn_tf.__version__}\n"
    assert command("--help").startswith("usage: ncsn COMMAND [--flag=value ...]\n")
    assert command("train", "--help").startswith("usage: ncsn train [--flag=value ...]\n")
    # The images' size is that of flags/digits.flags.
    trained = command("train", "--dataset=digits", "--sample_every=0", *TINY)
    assert "Exported runs/digits/export/1" in trained
    assert "Wrote samples.png" in command("sample", "--num_samples=2")
    assert (tmp_path / "runs" / "digits" / "export" / "1" / "saved_model.pb").is_file()
    drawn = command("sample", "--saved_model", "--num_samples=2", "--out=drawn.png")
    assert "Wrote drawn.png" in drawn
