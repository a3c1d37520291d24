"""Growth of a process that trains, samples, evaluates, exports and serves in turns."""

import os

import pytest
import soak


@pytest.mark.slow
def test_a_round_after_the_first(monkeypatch):
    """The first round fills all caches of so small a network."""
    soak.use_tiny_network(monkeypatch.setattr)
    monkeypatch.setattr(soak, "WARM_UP", 1)
    lines = []
    assert soak.soak(0, rounds=soak.WARM_UP + 1, say=lines.append) == []
    assert len(lines) == soak.WARM_UP + 1


def test_growth_is_seen(tmp_path):
    """A file and a descriptor that a round leaves behind."""
    left = []

    class Leak:
        def round(self):
            (tmp_path / str(len(left))).write_text("")
            left.extend(os.open(tmp_path, os.O_RDONLY) for _ in range(10))

    found = soak._soak(Leak(), tmp_path, 0, soak.WARM_UP + 1, lambda line: None)
    for descriptor in left:
        os.close(descriptor)
    first, second = found
    assert first.startswith("open_files grew from ")
    assert second == f"temporary_files grew from {soak.WARM_UP} to {soak.WARM_UP + 1}"
