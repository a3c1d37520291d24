"""Writes requirements*.txt from pyproject.toml, which says why each package is there.

python .ci/requirements.py            (make requirements)
"""

from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parent.parent


def requirements(pyproject: dict) -> dict[str, str]:
    """{file name: its text} of a parsed pyproject.toml."""
    project = pyproject["project"]
    extras = project["optional-dependencies"]
    return {
        "requirements.txt": _text(
            "The default package set, Python 3.11 to 3.13, with what the tests need.",
            [*project["dependencies"], *extras["test"]],
        ),
        "requirements-gpu.txt": _text(
            "The default package set, with NVIDIA's CUDA libraries.",
            ["-r requirements.txt", *extras["gpu"]],
        ),
        "requirements-pytorch.txt": _text(
            "For `ncsn import`, which reads checkpoints of the reference PyTorch programs.",
            ["-r requirements.txt", *extras["pytorch"]],
        ),
        "requirements-cats.txt": _text(
            "For the data set `robohash_cats`; without what robohash itself needs: --no-deps.",
            extras["cats"],
        ),
        "requirements-app.txt": _text(
            "For `ncsn app` and its tests in a browser, in an environment of its own.",
            ["-r requirements.txt", *extras["app"], *extras["app-test"]],
        ),
        "requirements-docs.txt": _text(
            "For `make docs`, in an environment of its own: nothing of the package is imported.",
            extras["docs"],
        ),
        "requirements-addons.txt": _text(
            "The package set of TensorFlow Addons, Python 3.10 or 3.11, with what the tests need.",
            pyproject["dependency-groups"]["addons"],
        ),
    }


def _text(about, lines):
    written = "Written by `make requirements` from pyproject.toml, which says why each is there."
    return "\n".join([f"# {about}", f"# {written}", *lines]) + "\n"


if __name__ == "__main__":
    parsed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for name, text in requirements(parsed).items():
        (ROOT / name).write_text(text, encoding="utf-8")
