"""Trains, samples, evaluates, exports and serves in turns, in one process, and looks for growth.

    make soak MINUTES=30

Prints a line a round: resident memory, threads, open files, temporary files. The first rounds fill
caches; from then on nothing may grow beyond `BOUNDS`. Exits with 1 and what grew, otherwise with 0.
With `tiny` the network is one of a few weights, so that a round takes seconds.
"""

import ctypes
import gc
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

WARM_UP = 3  # rounds before what is there is taken for what may be there
BOUNDS = {"memory_mb": 150, "threads": 8, "open_files": 8, "temporary_files": 0}


def measured(temporary):
    """{name: number} of what this process holds now.

    Memory that is free, but kept by the allocator for later, moves by hundreds of MB a round: it is
    given back first, where that can be asked for (glibc).
    """
    gc.collect()
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory_mb": pages * os.sysconf("SC_PAGE_SIZE") // 2**20,
        "threads": len(os.listdir("/proc/self/task")),
        "open_files": len(os.listdir("/proc/self/fd")),
        "temporary_files": sum(len(names) for _, _, names in os.walk(temporary)),
    }


def grown(base, now):
    """What is above its bound, in words: [] is nothing.

    Example:
        >>> base = {"memory_mb": 900, "threads": 10, "open_files": 9, "temporary_files": 0}
        >>> grown(base, {**base, "threads": 19})
        ['threads grew from 10 to 19']
        >>> grown(base, {**base, "memory_mb": 950})
        []
    """
    return [
        f"{name} grew from {base[name]} to {now[name]}"
        for name, most in BOUNDS.items()
        if now[name] > base[name] + most
    ]


class Soak:
    """The rounds, in a folder of their own; the run trains on in each.

    Args:
        folder: for the run and its files.
    """

    STEPS = 20

    def __init__(self, folder):
        from sklearn.datasets import load_digits

        import ncsn_tf

        self.ncsn = ncsn_tf
        self.folder = Path(folder)
        self.images = (load_digits().images * 15.9).astype("uint8")
        self.steps = 0

    def round(self):
        """Train a little on, sample, evaluate, export, serve."""
        import numpy as np
        import serving_server
        import tensorflow as tf

        from ncsn_tf.generation.writing import write_samples
        from ncsn_tf.serving.server_origin import Server

        self.steps += self.STEPS
        run = self.ncsn.train(
            self.images[:64],
            self.folder / "run",
            test_images=self.images[64:80],
            random_flip=False,
            features=2,
            num_levels=2,
            num_steps_each=1,
            batch_size=8,
            num_steps=self.steps,
            log_every=10,
            eval_every=10,
            sample_every=self.STEPS,
            num_sample_images=4,
            keep_checkpoints=2,
        )
        drawn = self.ncsn.sample(run.run_dir, 4)
        assert np.array_equal(drawn, self.ncsn.sample(run.run_dir, 4))
        self.ncsn.evaluate(self.images[80:84], run.run_dir, ode_tolerance=0.5)
        version = Path(self.ncsn.export(run.run_dir))
        with serving_server.ServingServer(version.parent) as server:
            for address in (
                f"127.0.0.1:{server.grpc_port}",
                f"http://127.0.0.1:{server.rest_port}",
            ):
                out = self.folder / "served.npz"
                write_samples(Server(address), np.arange(4), output=out, format="npz")
                with np.load(out) as served:
                    assert np.array_equal(served["images"].reshape(drawn.shape), drawn)
        tf.keras.backend.clear_session()
        self._forget(version)

    def _forget(self, version):
        """Outputs that grow by design are removed: versions, curves, grids."""
        shutil.rmtree(version)
        for name in ("tensorboard", "samples"):
            shutil.rmtree(self.folder / "run" / name, ignore_errors=True)


def soak(seconds, rounds=None, say=print):
    """Rounds for so long, or so many; enough of them to compare. Returns what grew, in words."""
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryDirectory() as temporary:
        tempfile.tempdir = temporary  # where anyone's temporary files would be
        try:
            return _soak(Soak(work), temporary, time.monotonic() + seconds, rounds, say)
        finally:
            tempfile.tempdir = None


def _soak(rounds_of, temporary, end, rounds, say):
    base, count = None, 0
    least = WARM_UP + 1 if rounds is None else rounds
    while count < least or (rounds is None and time.monotonic() < end):
        started = time.monotonic()
        rounds_of.round()
        count += 1
        now = measured(temporary)
        listed = ", ".join(f"{name} {value}" for name, value in now.items())
        say(f"round {count}, {time.monotonic() - started:.0f} s: {listed}")
        if count <= WARM_UP:
            base = now if base is None else {name: max(now[name], base[name]) for name in now}
            continue
        found = grown(base, now)
        if found:
            return found
    return []


def use_tiny_network(patch=setattr):
    """Let runs have a network of a few weights. Tests give the `setattr` of a monkeypatch."""
    from training_helpers import TinyNetwork

    from ncsn_tf.training import checkpoints, state

    def build(config, recompute=False):
        return TinyNetwork(config, recompute)

    for module in (state, checkpoints):
        patch(module, "build_network", build)


def main():
    """Soak for as many minutes as the first argument says, half an hour without one."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    if "tiny" in sys.argv[2:]:
        use_tiny_network()
    found = soak(60 * minutes, say=lambda line: print(line, flush=True))
    print("; ".join(found) or f"nothing grew in {minutes:g} minutes")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
