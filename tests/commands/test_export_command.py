"""The flags of `ncsn export`: what contradicts itself, and what reaches the export."""

from pathlib import Path

import pytest

from ncsn_tf.commands import export as command
from ncsn_tf.errors import ConfigError
from ncsn_tf.serving import export
from ncsn_tf.serving.export import ConditionalSettings


@pytest.fixture
def exported(monkeypatch, tmp_path):
    """flags -> (the run, the keywords) of the export that they ask for."""
    calls = []
    monkeypatch.chdir(tmp_path)
    Path("a.npz").touch()  # a classifier
    Path("run").mkdir()

    def export_run(run_dir, **settings):
        calls.append((run_dir, settings))
        return run_dir / "export" / "1"

    monkeypatch.setattr(export, "export_run", export_run)
    monkeypatch.setattr(command, "start_tensorflow", lambda: None)

    def run(*flags):
        command.main(["ncsn export", *flags])
        return calls.pop()

    return run


@pytest.mark.parametrize("flag", ["--factor=2", "--classifier=a.npz", "--classifier_scale=2.0"])
def test_what_needs_conditional(flag, exported):
    with pytest.raises(ConfigError, match=f"^{flag} needs --conditional$"):
        exported("--workdir=run", flag)
    assert exported("--workdir=run", flag, "--conditional")


def test_the_flags_reach_the_export(exported, capsys):
    run_dir, settings = exported("--workdir=run")
    assert run_dir == Path("run")
    assert settings.pop("average") is True
    assert {name: value for name, value in settings.items() if value is not None} == {
        "checkpoint": "newest",
        "max_steps_each": 0,
        "max_batch_size": 32,
        "export_weights": "float32",
    }
    assert capsys.readouterr().out == f"Exported {Path('run/export/1')}\n"
    chain = ["--noaverage", "--sampler=pc", "--max_steps_each=7", "--max_batch_size=6", "--denoise"]
    _, settings = exported("--workdir=run", *chain)
    expected = {"average": False, "sampler": "pc", "max_steps_each": 7, "max_batch_size": 6}
    assert expected.items() <= settings.items()
    assert (settings["denoise"], settings.get("conditional")) == (True, None)


def test_the_settings_of_conditional_sampling_are_one(exported):
    _, settings = exported("--workdir=run", "--conditional")
    assert settings["conditional"] == ConditionalSettings()
    flags = ["--factor=2", "--classifier=a.npz", "--classifier_scale=3", "--nodenoise"]
    _, settings = exported("--workdir=run", "--conditional", *flags)
    assert settings["conditional"] == ConditionalSettings(2, False, "a.npz", 3.0)
    assert settings["denoise"] is False
    assert not {"factor", "classifier", "classifier_scale"} & set(settings)
