"""The files of scaling/: what can be known of them without a cluster."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ncsn_tf.backend.cluster import Cluster
from ncsn_tf.commands.sample import SUMMARY, SampleOptions
from ncsn_tf.generation.shards import Shard
from ncsn_tf.settings.flags import parse_config, parse_options

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(ROOT.glob("scaling/*.slurm"))
MANIFESTS = sorted(ROOT.glob("scaling/*.yaml"))
LAUNCHER = ROOT / "scaling" / "launch.py"


def sample_options(argv):
    """The flags of a `ncsn sample` command, checked as the command checks them."""
    assert argv[0] == "sample"
    options = parse_options(argv, SampleOptions, SUMMARY)
    options.validate()
    return options


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """stand_in(name, script): a program of that name is found first."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def make(name, script):
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return make


def run(*command, code=0):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash(script):
    run("bash", "-n", str(script))


def test_the_script_that_draws(stand_in, monkeypatch):
    stand_in("ncsn", 'printf "%s\\n" "$@"')
    monkeypatch.setenv("RUN", "runs/a b")
    for name, value in (("TASK_ID", "3"), ("TASK_MIN", "1"), ("TASK_COUNT", "8")):
        monkeypatch.setenv(f"SLURM_ARRAY_{name}", value)
    said = run("bash", str(ROOT / "scaling" / "sample.slurm"), "--block=32")
    options = sample_options(said.splitlines())
    assert (options.workdir, options.num_samples, options.block) == ("runs/a b", 50000, 32)
    assert Shard.parse(options.shard) == Shard(2, 8)


@pytest.mark.parametrize(
    "codes, expected", [("0", 0), ("75 137 139 0", 0), ("75 2", 2), ("143", 143)]
)
def test_the_script_that_trains(codes, expected, stand_in, tmp_path, monkeypatch):
    """It starts all again where a worker has gone, and only then."""
    (tmp_path / "codes").write_text(codes.replace(" ", "\n") + "\n")
    stand_in("srun", 'shift 2; "$@"; read -r code < codes; sed -i 1d codes; exit "$code"')
    stand_in("ncsn", 'printf "%s\\n" "$@"')
    monkeypatch.chdir(tmp_path)
    script = ROOT / "scaling" / "train.slurm"
    said = run("bash", str(script), "--dataset=cifar10", "--batch_size=64", code=expected)
    argv = said.splitlines()
    assert argv == ["train", "--workdir=runs/cifar10", "--dataset=cifar10", "--batch_size=64"] * (
        len(codes.split())
    )
    assert parse_config(argv[:4], "").batch_size == 64


def documents(manifest):
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(manifest.read_text()))


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_manifests_follow_the_schema(manifest):
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for document in documents(manifest):
        kubernetes_validate.validate(document, "1.33", strict=True)
        with pytest.raises(kubernetes_validate.ValidationError):  # it would notice
            kubernetes_validate.validate({**document, "specs": {}}, "1.33", strict=True)


def test_the_job_that_draws(monkeypatch):
    (job,) = documents(ROOT / "scaling" / "sample-job.yaml")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"][0] == "ncsn"
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "7")
    options = sample_options(container["command"][1:])
    assert Shard.parse(options.shard) == Shard(7, job["spec"]["completions"])


def test_the_job_that_trains(stand_in, tmp_path, monkeypatch):
    """Its shell makes the cluster of all pods, with the names that the Service gives them."""
    service, job = documents(ROOT / "scaling" / "train-job.yaml")
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    pod = job["spec"]["template"]["spec"]
    assert pod["subdomain"] == name
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    (container,) = pod["containers"]
    settings = {variable["name"]: variable["value"] for variable in container["env"]}
    count = job["spec"]["completions"]
    assert count == job["spec"]["parallelism"] == int(settings["WORKERS"])
    stand_in("ncsn", 'printf "%s\\n" "$TF_CONFIG" "$@"; exit "$CODE"')
    monkeypatch.setenv("WORKERS", settings["WORKERS"])
    monkeypatch.setenv("RUN", str(tmp_path / "a run"))
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "3")
    monkeypatch.setenv("CODE", "75")
    cluster, *argv = run(*container["command"], code=75).splitlines()  # it was drained
    (tmp_path / "a run" / "export").mkdir(parents=True)  # an earlier, shorter training's
    assert run(*container["command"], code=75).splitlines() == [cluster, *argv]
    monkeypatch.setenv("CODE", "0")
    assert run(*container["command"]).splitlines() == [cluster, *argv]
    hosts = [f"{job['metadata']['name']}-{index}.{name}:{port}" for index in range(count)]
    assert Cluster.parse(cluster) == Cluster(tuple(hosts), 3)
    assert argv[0] == "train"
    config = parse_config(argv, "")
    assert (config.dataset, config.run_dir) == ("cifar10", tmp_path / "a run")
    assert config.stopped_code == 75
    stand_in("ncsn", "exit 3")
    run(*container["command"], code=3)


def test_a_pod_that_is_drained(stand_in, tmp_path, monkeypatch):
    """It has the training save, waits for it, and is no pod that is done."""
    *_, job = documents(ROOT / "scaling" / "train-job.yaml")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    monkeypatch.chdir(tmp_path)
    for name, value in (("WORKERS", "2"), ("RUN", "run"), ("JOB_COMPLETION_INDEX", "0")):
        monkeypatch.setenv(name, value)
    # As the command: what it was told to end with.
    trap = "code=${3#--stopped_code=}; trap 'sleep 0.5; echo saved; exit $code' TERM"
    stand_in("ncsn", f"{trap}; echo ready; while :; do sleep 0.05; done")
    pod = subprocess.Popen(container["command"], stdout=subprocess.PIPE, text=True)
    assert pod.stdout.readline() == "ready\n"
    pod.send_signal(signal.SIGTERM)
    assert pod.communicate(timeout=20) == ("saved\n", None)
    assert pod.returncode == 75


def launch(tmp_path, script, *flags, code=0):
    """Run the launcher with a script in place of train.py: what the workers said."""
    for name in ("scaling", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "scaling" / "launch.py").write_bytes(LAUNCHER.read_bytes())
    (tmp_path / "train.py").write_text(script)
    command = [sys.executable, str(tmp_path / "scaling" / "launch.py"), *flags]
    done = subprocess.run(
        command, cwd=tmp_path / "work", capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def test_the_launcher_starts_a_cluster(tmp_path):
    script = "import os, sys; print(os.environ['TF_CONFIG'], os.environ['CUDA_VISIBLE_DEVICES'])"
    said = launch(tmp_path, f"{script}; print(sys.argv[1:])", "3", "--gpus=2", "--seed=4")
    lines = sorted(said.splitlines())
    assert [line for line in lines if "seed" in line] == [
        f"[{index}] ['--seed=4']" for index in range(3)
    ]
    clusters = [line for line in lines if "cluster" in line]
    for index, line in enumerate(clusters):
        text, _, gpus = line.removeprefix(f"[{index}] ").rpartition(" ")
        assert Cluster.parse(text).index == index
        assert gpus == f"{2 * index},{2 * index + 1}"


RESTARTING = """
import json, os, pathlib, signal, sys, time
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
if index == 1 and not pathlib.Path("again").exists():
    pathlib.Path("again").touch()
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(0.3)
if index == 0 and not pathlib.Path("done").exists():
    pathlib.Path("done").touch()
    sys.exit(75)
"""


def test_the_launcher_starts_all_again(tmp_path):
    said = launch(tmp_path, RESTARTING, "2")
    assert "exit codes [75, -9]: starting all workers again" in said


def test_the_launcher_stops_at_other_errors(tmp_path):
    said = launch(tmp_path, "import sys; print('error: no'); sys.exit(2)", "2", code=2)
    assert sorted(said.splitlines()) == ["[0] error: no", "[1] error: no"]


def test_the_launcher_ends_with_the_cause(tmp_path):
    """An error of one, of which the others end, is not tried again."""
    script = "import json, os, sys\nindex = json.loads(os.environ['TF_CONFIG'])['task']['index']\n"
    said = launch(tmp_path, script + "print('error: no')\nsys.exit([75, 1][index])", "2", code=1)
    assert sorted(said.splitlines()) == ["[0] error: no", "[1] error: no"]


# Read by each Python that starts: what builds networks builds one of a few weights.
TINY = """
import sys
if not any("launch.py" in argument for argument in sys.orig_argv):
    import tiny_network
    tiny_network.use()
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The commands that are started as processes have a network that is compiled in no time."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(TINY)
    tests = [ROOT / "tests" / name for name in ("", "training", "faults")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, [tmp_path / "site", ROOT, *tests])))


@pytest.mark.slow
def test_the_launcher_trains(tiny, tmp_path):
    """Two workers, a Ctrl-C in the middle, the same command again, and the export."""
    flags = ["--dataset=digits", "--workdir=run", "--features=2", "--num_levels=2"]
    flags += ["--num_steps_each=1", "--batch_size=8", "--sample_every=0", "--eval_every=0"]
    flags += ["--checkpoint_every=2"]
    command = [sys.executable, str(LAUNCHER), "2", *flags]
    process = subprocess.Popen(
        [*command, "--num_steps=100000"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if "First step done" in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    step = int(re.search(r"SIGINT: saved step (\d+)", said)[1])
    command += [f"--num_steps={step + 2}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"[1] Resuming run at step {step} of {step + 2} on 2 devices" in done.stderr
    assert "[0] Exported run/export/1" in done.stderr
    graph = (tmp_path / "run" / "export" / "1" / "saved_model.pb").read_bytes()
    assert b"job:worker" not in graph  # another process could not run it
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings["num_steps"] == step + 2


def test_the_page_names_every_file():
    page = (ROOT / "docs" / "scaling.md").read_text()
    linked = {Path(name).name for name in re.findall(r"\(\.\./scaling/([^)]+)\)", page)}
    assert linked == {path.name for path in (*SCRIPTS, *MANIFESTS)}
    assert f"scaling/{LAUNCHER.name} " in page
