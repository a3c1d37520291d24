"""Runs that the tests of faults share."""

import shutil

import pytest
import runs


@pytest.fixture(scope="session")
def undisturbed(command_server, tmp_path_factory):
    """A run that no fault met; not to be changed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = command_server.run(runs.train("run", runs.NUM_STEPS), cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture
def run(undisturbed, tmp_path):
    """A copy of the finished run, `run` of the test's folder."""
    shutil.copytree(undisturbed, tmp_path / "run")
    return tmp_path / "run"
