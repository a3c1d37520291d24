"""What the exchange of gradients between workers costs in a training step, on this machine.

    python -m benchmarks.exchange --workers=2 --features=32 --batch_size=16

Runs the project's training step by so many workers on loopback, and by one process with as many
virtual devices, on the same batch, in turns; and the sum of the gradients alone. The cores are the
same for both: what is left between them is the exchange.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ncsn_tf.settings.config import Config

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
STEPS = 10
SUMS = 20


def main(argv: list[str]) -> None:
    """Measure in processes of their own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=16)
    options = parser.parse_args(argv)
    rows = {"workers": [], "one process": []}
    for turn in range(ROUNDS):
        for name, rounds in rows.items():
            count = options.workers if name == "workers" else 1
            print(f"turn {turn + 1} of {ROUNDS}: {name}", file=sys.stderr, flush=True)
            rounds.append(_run(count, options))
    num_weights = rows["workers"][0]["weights"]
    share = 2 * (options.workers - 1) / options.workers
    print(f"{options.workers} workers, {options.features} features, {options.batch_size} images\n")
    print("| by | a step | the sum of the gradients alone | bytes sent by each worker a step |")
    print("|---|---:|---:|---:|")
    for name, rounds in rows.items():
        step, total = (min(round[key] for round in rounds) for key in ("step", "sum"))
        sent = f"{4 * num_weights * share / 2**20:.1f} MiB" if name == "workers" else "0"
        print(f"| {name} | {1e3 * step:.0f} ms | {1e3 * total:.1f} ms | {sent} |")


def _run(count, options):
    """One measurement by so many processes: what the first of them says."""
    sys.path.insert(0, str(ROOT / "scaling"))
    from launch import free_ports

    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    with tempfile.TemporaryDirectory() as folder:
        config = Config(
            features=options.features,
            batch_size=options.batch_size,
            num_virtual_devices=0 if count > 1 else options.workers,
            workdir=folder,
        )
        processes = []
        for index in range(count):
            task = {"type": "worker", "index": index}
            cluster = json.dumps({"cluster": {"worker": addresses}, "task": task})
            environment = {**os.environ, "TF_CONFIG": cluster if count > 1 else "{}"}
            command = [sys.executable, "-m", "benchmarks.exchange", json.dumps(config.to_dict())]
            processes.append(
                subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
                )
            )
        said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a worker failed")
    return json.loads(said[0].splitlines()[-1])


def _measure(config):
    """In one of the processes: seconds of a step and of a sum, the least of medians."""
    from ncsn_tf.commands.start import start_for_training

    strategy = start_for_training(config)
    import tensorflow as tf

    from benchmarks.training import SyntheticTraining

    training = SyntheticTraining(config, strategy)
    vector = training.state.weights.vector

    @tf.function
    def add():
        each = strategy.run(lambda: tf.identity(vector))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None)

    def seconds(work, count):
        work()
        taken = []
        for _ in range(count):
            started = time.perf_counter()
            work()
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)

    return {
        "step": seconds(training.step, STEPS),
        "sum": seconds(lambda: add().numpy(), SUMS),
        "weights": int(vector.shape[0]),
    }


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        print(json.dumps(_measure(dataclasses.replace(Config(), **json.loads(sys.argv[1])))))
    else:
        main(sys.argv[1:])
