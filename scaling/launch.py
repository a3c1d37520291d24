"""Several workers of one training on this machine, to try it out, or one for each GPU.

    python scaling/launch.py 2 --dataset=digits --workdir=runs/two
    python scaling/launch.py 8 --gpus=1 --dataset=cifar10    # each sees one GPU of its own

What follows are flags of `train.py`. Lines of a worker have its number before them. Ctrl-C and
SIGTERM are passed on. If a worker dies, the others end with exit code 75, and all are started
again, `--restarts` times (3); they resume. Where one fails for another reason, that is the end, and
its exit code that of this program.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
RESTART = 75  # another worker has gone
GRACE = 60.0  # seconds in which the others notice


def main(argv: list[str]) -> int:
    """Run the workers, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("workers", type=int)
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of each worker; 0 is no matter")
    parser.add_argument("--restarts", type=int, default=3)
    options, flags = parser.parse_known_args(argv)
    workers: list[subprocess.Popen] = []
    asked = pass_signals(workers)
    for left in reversed(range(options.restarts + 1)):
        relays = start(options.workers, options.gpus, flags, workers, asked)
        codes = wait(workers)
        for each in relays:
            each.join(GRACE)  # the last lines of the workers
        failed = [code for code in codes if code]
        # A process that a signal ended has its number below zero.
        if not failed or asked or not left or any(code > 0 and code != RESTART for code in failed):
            break
        print(f"exit codes {codes}: starting all workers again", file=sys.stderr, flush=True)
    failed.sort(key=lambda code: (code == RESTART, code < 0))  # the cause before what follows of it
    return next((code if code > 0 else 128 - code for code in failed), 0)


def start(
    count: int, gpus: int, flags: list[str], workers: list[subprocess.Popen], asked: list[int]
) -> list[threading.Thread]:
    """Start the workers, at free ports of this machine, in place of those in the list.

    Returns:
        the threads that pass their lines on.
    """
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    workers.clear()
    relays = []
    for index in range(count):
        task = {"type": "worker", "index": index}
        cluster = json.dumps({"cluster": {"worker": addresses}, "task": task})
        environment = {**os.environ, "TF_CONFIG": cluster}
        if gpus:
            own = range(index * gpus, (index + 1) * gpus)
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, own))
        worker = subprocess.Popen(
            [sys.executable, "-u", str(TRAIN), *flags],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C comes through this process alone
        )
        workers.append(worker)
        for number in asked:  # it came while this one was not in the list
            worker.send_signal(number)
        relays.append(threading.Thread(target=relay, args=(index, worker.stdout), daemon=True))
        relays[-1].start()
    return relays


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def relay(index: int, stream) -> None:
    """Pass a worker's lines on, with its number."""
    for line in stream:
        sys.stderr.buffer.write(f"[{index}] ".encode() + line)
        sys.stderr.flush()


def pass_signals(workers: list[subprocess.Popen]) -> list[int]:
    """Pass signals on to all workers; a list of those that came."""
    came = []

    def handle(number, frame):
        came.append(number)
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)
    return came


def wait(workers: list[subprocess.Popen]) -> list[int]:
    """The exit codes of all. Who does not notice that another one has gone is killed."""
    pending = list(workers)
    while pending:
        for worker in list(pending):
            try:
                if worker.wait(0.2):
                    for other in workers:
                        try:
                            other.wait(GRACE)
                        except subprocess.TimeoutExpired:
                            other.kill()
                pending.remove(worker)
            except subprocess.TimeoutExpired:
                continue
    return [worker.wait() for worker in workers]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
