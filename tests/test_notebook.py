"""The notebook: its cells are run as they stand there, in one process without Jupyter."""

import ast
import functools
import importlib
import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import soak

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "tour.ipynb"
SMALLER = {
    "FEATURES": 2,
    "NUM_STEPS": 3,
    "TOY_STEPS": 50,
    "NUM_MEASURED": 2,
}


@functools.cache
def cells():
    """[(kind, text)] of the notebook."""
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    return [(cell["cell_type"], "".join(cell["source"])) for cell in content["cells"]]


def code():
    return [text for kind, text in cells() if kind == "code"]


def dotted(node):
    """The names of a chain of attributes, as in `ncsn_tf.schedule.geometric_sigmas`; or None."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else None


def names_of_the_package(tree):
    """Every name of ncsn_tf that the cells use, in full."""
    homes = {"ncsn_tf": "ncsn_tf"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "ncsn_tf":
            homes |= {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    used = set(homes.values())
    for node in ast.walk(tree):
        names = dotted(node) if isinstance(node, ast.Attribute) else None
        if names and names[0] in homes:
            used.add(".".join([homes[names[0]], *names[1:]]))
    return used


def test_every_cell_compiles_and_every_name_exists():
    used = names_of_the_package(ast.parse("\n".join(code())))
    assert {"ncsn_tf.train", "ncsn_tf.export", "ncsn_tf.sampling.Measurement"} <= used
    for name in sorted(used):
        parts = name.split(".")
        found = importlib.import_module(parts[0])
        for place, part in enumerate(parts[1:], start=2):
            if not hasattr(found, part):
                importlib.import_module(".".join(parts[:place]))  # a module that nothing imported
            found = getattr(found, part)


def test_it_is_shown_with_its_pictures():
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    outputs = [output for cell in content["cells"] for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 8
    assert not [output for output in outputs if output["output_type"] == "error"]
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert not re.search(r"/(home|root|work|Users)/", text)


def test_the_first_cell_installs_what_is_missing(monkeypatch, tmp_path):
    """From the clone around it, or it says what to set."""
    install = code()[0]
    called = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("subprocess.run", lambda command, check: called.append(command))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    monkeypatch.chdir(NOTEBOOK.parent)
    exec(install, {})
    ((_, *words),) = called
    assert words == ["-m", "pip", "install", "--quiet", ".."]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="set SOURCE to it"):
        exec(install, {})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_it_runs_from_top_to_bottom(monkeypatch, tmp_path, capsys):
    """At tiny sizes; its process of another interpreter too."""
    soak.use_tiny_network(monkeypatch.setattr)  # the real one is compiled for each of the cells
    matplotlib.use("Agg")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    names = {}
    for text in code():
        for name, value in SMALLER.items():
            text = re.sub(rf"^{name} = \d+", f"{name} = {value}", text, flags=re.MULTILINE)
        exec(compile(text, str(NOTEBOOK), "exec"), names)
    assert names["run"].step == 3
    assert {images.shape for images in names["drawn"].values()} == {(16, 8, 8, 1)}
    assert len({images.tobytes() for images in names["drawn"].values()}) == 4
    assert names["difference"] <= 1
    # The known half is the picture's own.
    completed = np.round(255 * names["completed"].numpy()[:8, :4])
    np.testing.assert_array_equal(completed, names["test_images"][:8, :4])
    assert "bits per dimension" in capsys.readouterr().out
