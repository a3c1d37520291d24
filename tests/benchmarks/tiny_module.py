"""A measurement of a network of a few weights, and of the machine's rate in no time.

    tests/benchmarks/tiny_module.py benchmarks.train '{"config": ...}'

It is the module as `benchmarks.run` starts it, in a fork that has TensorFlow.
"""

import runpy
import sys

import tiny_network

from benchmarks import machine

if __name__ == "__main__":
    tiny_network.use()
    machine.gemm_rate.__defaults__ = (0.01, 64)  # seconds, size
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
