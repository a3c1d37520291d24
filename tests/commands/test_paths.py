"""Names that file systems allow, and damage to checkpoints, through the commands a user types."""

import os
from pathlib import Path

import pytest
from training_helpers import TinyNetwork

from ncsn_tf.commands import export, sample, train
from ncsn_tf.commands.console import run_command
from ncsn_tf.training.run_lock import run_lock

TRAIN = [
    *("--dataset=digits", "--features=2", "--num_levels=2", "--num_steps_each=1"),
    *("--batch_size=8", "--sample_every=0", "--eval_every=0", "--noexport"),
    *("--checkpoint_every=1", "--keep_checkpoints=2", "--ema_decay=0"),
]
RUN = os.path.join("runs", "exp[1] a\\b")


@pytest.fixture
def ncsn(tmp_path, monkeypatch, capsys):
    """Runs a command in a folder of its own: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    for module in ("state", "checkpoints"):
        monkeypatch.setattr(f"ncsn_tf.training.{module}.build_network", TinyNetwork)

    def run(command, *flags):
        with pytest.raises(SystemExit) as end:
            run_command(command.main, ["ncsn", *flags])
        return (end.value.code, *capsys.readouterr())

    return run


@pytest.mark.slow
def test_a_run_of_any_name_trains_resumes_and_draws_and_outlives_damage(ncsn, tmp_path):
    folder = tmp_path / RUN / "checkpoints"
    code, out, err = ncsn(train, *TRAIN, "--num_steps=3", f"--workdir={RUN}")
    assert (code, out.partition(" on ")[0]) == (0, f"Starting {RUN} at step 0 of 3"), err
    assert sorted(path.name for path in folder.glob("*.index")) == ["step-2.index", "step-3.index"]

    with run_lock(RUN):
        code, _, err = ncsn(train, *TRAIN, "--num_steps=9", f"--workdir={RUN}")
    assert code == 1
    assert err.startswith(f"error: {RUN} is being trained by process {os.getpid()} on host ")
    assert len(err.splitlines()) == 1

    # The power fails: the newest has lost its second half, the state file is empty.
    data = folder / "step-3.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    (folder / "checkpoint").write_bytes(b"")
    code, out, err = ncsn(sample, "--num_samples=1", "--out=[1].png")
    assert (code, out.splitlines()[0]) == (0, f"Sampling from {RUN}, weights of step 2"), err
    damaged = f"warning: checkpoint {RUN}/checkpoints/step-3 is damaged ("
    assert err.startswith(damaged)
    code, out, err = ncsn(export, f"--workdir={RUN}")
    assert (code, out) == (0, f"Exported {RUN}/export/1\n"), err
    assert err.startswith(damaged)
    code, out, err = ncsn(sample, f"--saved_model={RUN}/export/1", "--num_samples=1")
    assert (code, out.splitlines()[0]) == (0, f"Sampling from {RUN}/export/1"), err

    code, out, err = ncsn(train, *TRAIN, "--num_steps=2", f"--workdir={RUN}")
    assert (code, out.partition(" on ")[0]) == (0, f"Resuming {RUN} at step 2 of 2"), err
    assert err.startswith(damaged)
    assert "set aside as damaged-step-3" in err
    assert (folder / "damaged-step-3.index").is_file()

    # And once more, until nothing is left.
    Path(folder, "step-2.index").write_bytes(b"")
    before = sorted(os.listdir(folder))
    for command, flags in ((train, [*TRAIN, "--num_steps=9"]), (sample, []), (export, [])):
        code, out, err = ncsn(command, *flags, f"--workdir={RUN}")
        assert (code, out) == (1, "")
        assert err.startswith(f"error: checkpoint {RUN}/checkpoints/step-2 cannot be read (")
        assert len(err.splitlines()) == 1
    assert sorted(os.listdir(folder)) == before
