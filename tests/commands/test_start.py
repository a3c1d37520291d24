"""Start of TensorFlow for a command, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

from ncsn_tf.backend.compat import TILES_AT_ONCE

ROOT = Path(__file__).resolve().parents[2]
# TensorFlow is imported once, and started in a fork for each case.
START = """
import os, sys
os.sched_getaffinity = lambda _: range(6)
import tensorflow as tf
from ncsn_tf.commands import start
from ncsn_tf.settings.config import Config
for call, environment in {cases}:
    if os.fork():
        if os.wait()[1]:
            sys.exit("it failed: " + call)
    else:
        os.environ.update(environment)
        eval(call)
        print(tf.config.threading.get_intra_op_parallelism_threads(), flush=True)
        os._exit(0)
"""

# (how TensorFlow is started, environment, threads of an operation). 0 is TensorFlow's own choice:
# all cores, or the variable's.
SHARES = [
    ("start.start_for_training(Config(batch_size=128))", {}, 3),
    ("start.start_for_training(Config(batch_size=64, num_virtual_devices=2))", {}, 2),
    ("start.start_for_training(Config(batch_size=4))", {}, 0),
    ("start.start_for_sampling(64)", {}, 3 if TILES_AT_ONCE else 0),
    ("start.start_for_sampling(8)", {}, 0),
    ("start.start_for_sampling(64)", {"TF_NUM_INTRAOP_THREADS": "5"}, 0),
]

# Without a choice of the user's, and with one.
ONEDNN = """
import os, platform
platform.machine = lambda: "x86_64"
from ncsn_tf.commands import start
from ncsn_tf.settings.config import Config
start.start_tensorflow = lambda *_: None
for given in ({}, {"TF_ENABLE_ONEDNN_OPTS": "0"}):
    os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)
    os.environ.update(given)
    start.start_for_training(Config())
    print(os.environ["TF_ENABLE_ONEDNN_OPTS"])
"""


def test_parts_share_the_cores():
    cases = [(call, environment) for call, environment, _ in SHARES]
    done = subprocess.run(
        [sys.executable, "-c", START.format(cases=cases)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(threads) for *_, threads in SHARES], done.stderr


def test_training_uses_onednn_unless_told_otherwise():
    command = [sys.executable, "-c", ONEDNN]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["1", "0"], done.stderr
