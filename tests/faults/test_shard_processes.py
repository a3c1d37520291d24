"""`ncsn sample --shard` and `ncsn merge`, as processes, killed ones too."""

import os

import pytest
import runs
from killer import FILE_MOMENTS, killed_at

SAMPLE = [runs.NCSN, "sample", "--workdir=run", "--num_samples=6", "--batch_size=2", "--seed=3"]
SHARD = [*SAMPLE, "--block=2", "--out=parts"]


def works(done):
    """A command that ended well; what it said."""
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_shards_and_their_merger(command_server, run, tmp_path):
    """What one process would have written, bit for bit; other settings are refused."""
    works(command_server.run([*SHARD, "--shard=1/2"], cwd=tmp_path))
    said = works(command_server.run([*SHARD, "--shard=0/2"], cwd=tmp_path))
    assert said.endswith("shard 0 of 2: parts, 1 files (seeds-000003-000004.npz ...)\n")
    said = works(command_server.run([runs.NCSN, "merge", "--samples=parts"], cwd=tmp_path))
    assert said == "Wrote samples.npz, 6 images\n"
    works(command_server.run([*SAMPLE, "--format=npz", "--out=whole.npz"], cwd=tmp_path))
    assert (tmp_path / "samples.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    other = command_server.run([*SHARD, "--shard=0/2", "--num_steps_each=2"], cwd=tmp_path)
    said = runs.one_line(other)
    assert said.endswith("was drawn with num_steps_each 1 and not 2: name another --out")


@pytest.mark.slow
def test_shards_of_an_export_by_the_variables_of_a_job(command_server, run, tmp_path):
    works(command_server.run([runs.NCSN, "export", "--workdir=run"], cwd=tmp_path))
    export = [*SHARD, "--saved_model=run/export", "--shard=auto"]
    for index in "12":
        variables = {"TASK_ID": index, "TASK_COUNT": "2", "TASK_MIN": "1"}
        slurm = {f"SLURM_ARRAY_{name}": value for name, value in variables.items()}
        works(command_server.run(export, cwd=tmp_path, env={**os.environ, **slurm}))
    works(command_server.run([runs.NCSN, "merge", "--samples=parts"], cwd=tmp_path))


@pytest.mark.slow
def test_killed_shards_go_on(command_server, run, tmp_path):
    """SIGKILL at every moment of a file: in the end, the files of a shard that nothing met."""
    many = ["--num_samples=60", "--block=2", "--shard=0/1"]  # the last flag of a name counts
    command = [*SAMPLE, *many]
    works(command_server.run([*command, "--out=whole"], cwd=tmp_path))
    command, place = [*command, "--out=parts"], tmp_path / "parts"
    for name, count, delay in (
        *(("begun", 1, 0), ("in place", 1, 0), ("begun", 3, 0.0005), ("in place", 4, 0.002)),
        *(("begun", 5, 0.01), ("in place", 6, 0.03)),
    ):
        assert killed_at(
            command_server, command, tmp_path, place, FILE_MOMENTS[name], count, delay
        ) in (True, 0)
        runs.a_minute_later(place)
    works(command_server.run(command, cwd=tmp_path))
    assert runs.contents(place) == runs.contents(tmp_path / "whole")
