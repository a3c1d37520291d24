"""The lines of Python in the pages, run as they stand there but for their sizes."""

import ast
import re

import numpy as np
import pytest
import soak
from documented import PAGES, blocks

BLOCKS = blocks("docs/guides/library.md", "python")
SMALLER = {
    r"features=\d\d+": "features=2",
    r"num_steps=\d+": "num_steps=3",
    r"num_steps_each=\d+": "num_steps_each=1",
    r"evaluate\(images\[1600:\]": "evaluate(images[1600:1602]",
    r"\(32, 32, 3\)": "(8, 8, 3)",
    r"\[(\d), 32, 32, 3\]": r"[\1, 8, 8, 3]",
}


def run(block):
    """The names that a block defines, with tiny networks and short chains."""
    for pattern, smaller in SMALLER.items():
        block = re.sub(pattern, smaller, block)
    names = {}
    exec(block, names)
    return names


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_lines_of_python_can_be_read(page):
    for block in blocks(page, "python"):
        ast.parse(block)


@pytest.mark.slow
def test_the_readme_trains_and_samples(monkeypatch):
    soak.use_tiny_network(monkeypatch.setattr)
    (block,) = blocks("README.md", "python")
    names = run(block.replace("num_steps=1000", "num_steps=1000, num_steps_each=1"))
    assert names["run"].step == 3 and names["drawn"].shape == (16, 8, 8, 1)


def test_figures_of_quality_are_functions(capsys):
    (block,) = (one for one in blocks("docs/evaluation.md", "python") if "frechet" in one)
    run(block)
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_a_notebook_trains_samples_evaluates_and_exports(capsys, monkeypatch, tmp_path):
    soak.use_tiny_network(monkeypatch.setattr)  # the real one is compiled for each of the lines
    (block,) = (block for block in BLOCKS if "ncsn_tf.train(" in block)
    assert len([line for line in block.splitlines() if line]) <= 22
    names = run(block)
    assert names["run"].step == 3
    assert names["drawn"].shape == names["others"].shape == (16, 8, 8, 1)
    assert names["drawn"].dtype == np.uint8
    assert not np.array_equal(names["drawn"], names["others"])
    assert names["score"].shape == (4, 8, 8, 1)
    said = capsys.readouterr().out
    assert "bits_per_dim" in said and "test_loss" in said
    assert (tmp_path / "runs" / "notebook" / "export" / "1" / "saved_model.pb").is_file()
    # The same call again resumes: here it has nothing left to do.
    assert run(block[: block.index("drawn =")])["run"].step == 3
    assert "Nothing left to train" in capsys.readouterr().out


def test_arrays_are_a_data_set_in_one_call():
    (block,) = (block for block in BLOCKS if "ncsn_tf.from_arrays" in block)
    names = run(block)
    assert (names["source"].num_examples, names["source"].image_shape) == (1797, (8, 8, 1))
    assert names["images"].shape == (32, 8, 8, 1) and names["labels"].shape == (32,)
    assert (names["test"].num_examples, names["test"].image_shape) == (90, (16, 16, 1))
    np.testing.assert_array_equal(names["test"].labels, names["digits"].target[::20])


def test_losses_and_samplers_are_functions():
    (block,) = (block for block in BLOCKS if "ncsn_tf.sampling" in block)
    names = run(block)
    assert names["loss"].shape == (4,)
    assert names["samples"].shape == (4, 8, 8, 3)
    assert np.all(np.isfinite(names["samples"]))


def test_the_third_generation_is_called_with_sigma():
    (block,) = (block for block in BLOCKS if "ncsn_tf.NCSNpp(" in block)
    names = run(block.replace("features=128", "features=4").replace("blocks=4", "blocks=1"))
    assert names["network"].features == 4 and names["output"].shape == (2, 8, 8, 3)
