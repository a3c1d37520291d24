"""TensorFlow's lines on stderr: held back, unless they are asked for or something went wrong."""

import os

import pytest

from ncsn_tf.backend.quiet import quietly


def write(text):
    """Past Python, as TensorFlow does."""
    os.write(2, text.encode())


@pytest.mark.parametrize(
    "level, seen", [("2", "after"), ("0", "within after"), (None, "within after")]
)
def test_lines_are_held_back_within(level, seen, monkeypatch, capfd):
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    else:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    with quietly():
        write("within ")
    write("after")
    assert capfd.readouterr().err == seen


def test_an_error_shows_them(monkeypatch, capfd):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    with pytest.raises(ZeroDivisionError), quietly():
        write("why it failed")
        raise ZeroDivisionError
    assert capfd.readouterr().err == "why it failed"
