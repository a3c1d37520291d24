"""SIGKILL fifty times: a file of its own, so that it has a process of tests for itself."""

import random

import pytest
import runs
from killer import train_through_kills


@pytest.mark.slow
def test_fifty_kills(command_server, undisturbed, tmp_path):
    """As many runs as it takes: each meets kills until it has ended by itself."""
    rng, kills, trained = random.Random(1), 0, 0
    while kills < 50:
        folder = tmp_path / str(trained)
        folder.mkdir()
        kills += train_through_kills(command_server, folder, 50 - kills, rng, at_random=True)
        runs.assert_undisturbed(folder / "run", undisturbed)
        trained += 1
