"""Runs many commands quickly: one process imports TensorFlow, and each command is a fork of it.

A process whose TensorFlow runs cannot be forked, so that the tests' own is of no use for this: the
server is another one, which imports the packages and the commands' modules, and never computes. It
is asked over a socket.

    with ForkServer() as server:
        done = server.run(["train.py", "--dataset=digits"], cwd=folder)  # as subprocess.run
        process = server.popen(["-m", "ncsn_tf", "sample"], cwd=folder)  # as subprocess.Popen

The environment of a command is that of the asking process at that moment, as for a subprocess, but
for what TensorFlow and Python read when they start (TF_ENABLE_ONEDNN_OPTS, PYTHONPATH, ...): that
is as it was when the server started. What must hold for a start itself is no matter for a fork.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    *("tensorflow", "keras", "numpy", "PIL.Image", "sklearn.datasets", "tqdm", "absl.flags"),
    # What commands import once their flags are read.
    *("ncsn_tf.commands.console", "ncsn_tf.training.loop", "ncsn_tf.serving.export_origin"),
    *(
        "ncsn_tf.generation.checkpoint_origin",
        "ncsn_tf.evaluation.report.page",
        "ncsn_tf.evaluation.measure",
    ),
)
_LARGEST = 2**18
_CAPABILITY_VERSION = 0x20080522


class ForkServer:
    """The asking side; the server starts with the first command, and ends with `close`."""

    def __init__(self):
        self._socket = self._process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End the server and the commands that still run."""
        if self._process is not None:
            self._socket.close()
            self._process.wait(30)
            self._process = None

    def popen(
        self,
        argv,
        *,
        cwd,
        env=None,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        fsize=None,
        unprivileged=False,
    ):
        """Start a command: a script of the project and its flags, or "-m", a module and its flags.

        Args:
            argv: the command.
            cwd: the folder that it runs in.
            env: all variables of its environment; None is those of this process.
            stdout, stderr: as for `subprocess.Popen`, texts that are never encoded wrongly.
            fsize: the largest file in bytes that it may write, which fails as a full disk does.
            unprivileged: permissions of files bind it, even where it is root.

        Returns:
            a `Process`.
        """
        if self._process is None:
            self._start()
        ours, theirs = socket.socketpair()
        out, write_out = _end(stdout)
        if stderr == subprocess.STDOUT:
            error, write_error = None, os.dup(write_out)
        else:
            error, write_error = _end(stderr)
        request = {
            "argv": [os.fspath(arg) for arg in argv],
            "cwd": str(cwd),
            "env": dict(os.environ if env is None else env),
            "fsize": fsize,
            "unprivileged": unprivileged,
        }
        passed = [theirs.fileno(), write_out, write_error]
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], passed)
        finally:
            theirs.close()
            os.close(write_out)
            os.close(write_error)
        return Process(request["argv"], ours, out, error)

    def run(self, argv, *, cwd, env=None, timeout=300, fsize=None, unprivileged=False):
        """Run a command to its end: a `subprocess.CompletedProcess` with texts, as subprocess.run.

        Raises:
            subprocess.TimeoutExpired: it was killed after `timeout` seconds.
        """
        process = self.popen(argv, cwd=cwd, env=env, fsize=fsize, unprivileged=unprivileged)
        with process:
            stdout, stderr = process.communicate(timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def _start(self):
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _LARGEST)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        theirs.close()


class Process:
    """A command that runs, as `subprocess.Popen` has it.

    Attributes:
        pid: its process.
        returncode: its exit code, negative for a signal; None until `poll` or `wait` saw its end.
        seconds: how much of the processor's time it took, once it has ended.
        stdout, stderr: what it says, as text files; None where they go elsewhere.
    """

    def __init__(self, args, control, stdout, stderr):
        self.args, self.stdout, self.stderr = args, stdout, stderr
        self.returncode = self.seconds = None
        self._control = control.makefile("r")
        self._socket = control
        self.pid = self._read()["pid"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.wait(60)
        for file in (self.stdout, self.stderr):
            if file is not None:
                file.close()
        self._control.close()
        self._socket.close()

    def _read(self):
        line = self._control.readline()
        if not line:
            raise RuntimeError("the fork server has ended: see its traceback on stderr")
        return json.loads(line)

    def wait(self, timeout=None):
        """The exit code, once it has ended; subprocess.TimeoutExpired after `timeout` seconds."""
        if self.returncode is None:
            if not select.select([self._socket], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            end = self._read()
            self.returncode, self.seconds = end["code"], end["seconds"]
        return self.returncode

    def poll(self):
        """The exit code; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number):
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self):
        """SIGKILL, unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout=None):
        """(stdout, stderr) to the end of the command, which is killed after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        texts = {file: [] for file in (self.stdout, self.stderr) if file is not None}
        with selectors.DefaultSelector() as waiting:
            for file in texts:
                waiting.register(file, selectors.EVENT_READ)
            while waiting.get_map():
                ready = waiting.select(None if end is None else max(0, end - time.monotonic()))
                if not ready and end is not None and time.monotonic() >= end:
                    self.kill()
                    raise subprocess.TimeoutExpired(self.args, timeout)
                for key, _ in ready:
                    block = os.read(key.fd, 2**16)
                    texts[key.fileobj].append(block)
                    if not block:
                        waiting.unregister(key.fileobj)
        self.wait(None if end is None else max(1, end - time.monotonic()))
        out, error = (
            None if file is None else b"".join(texts[file]).decode(errors="backslashreplace")
            for file in (self.stdout, self.stderr)
        )
        return out, error


def _end(where):
    """(our end as a text file or None, the descriptor for the command)."""
    if where == subprocess.PIPE:
        read, write = os.pipe()
        return open(read, errors="backslashreplace"), write  # closed by its process
    if where == subprocess.DEVNULL:
        return None, os.open(os.devnull, os.O_WRONLY)
    return None, os.dup(where if isinstance(where, int) else where.fileno())


def _serve(requests):
    """Answer requests; returns the request itself in a fork, None when no one asks any more."""
    wake, woken = os.pipe()
    for end in (wake, woken):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running = {}
    while True:
        ready, _, _ = select.select([requests, wake], [], [])
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 2**12)
            _report_ends(running)
        if requests in ready:
            message, descriptors, _, _ = socket.recv_fds(requests, _LARGEST, 3)
            if not message:
                for pid in running:
                    os.kill(pid, signal.SIGKILL)
                return None
            control, *outputs = descriptors
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for file in (requests, *running.values()):
                    file.close()
                for descriptor in (wake, woken, control):
                    os.close(descriptor)
                return {**json.loads(message), "outputs": outputs}
            for descriptor in outputs:
                os.close(descriptor)
            running[pid] = socket.socket(fileno=control)
            _tell(running[pid], {"pid": pid})


def _report_ends(running):
    while running:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if not pid:
            return
        with running.pop(pid) as control:
            code = os.waitstatus_to_exitcode(status)
            _tell(control, {"code": code, "seconds": usage.ru_utime + usage.ru_stime})


def _tell(control, message):
    with contextlib.suppress(OSError):  # whoever asked has gone
        control.sendall(json.dumps(message).encode() + b"\n")


def _become(request):
    """Make this fork what a new process would be; returns its argv."""
    for target, descriptor in zip((1, 2), request["outputs"], strict=True):
        os.dup2(descriptor, target)
        os.close(descriptor)
    # Python's own were made for what the server had there, which may be files and not pipes.
    sys.stdout, sys.stderr = (
        os.fdopen(target, "w", encoding="utf-8", closefd=False) for target in (1, 2)
    )
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    if request["fsize"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["fsize"],) * 2)
    if request["unprivileged"]:
        _drop_rights_over_files()
    return request["argv"]


def _drop_rights_over_files():
    """Give up what lets root read and write any file (capabilities 1 to 3 of Linux)."""
    library = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    rights = (ctypes.c_uint32 * 6)()
    if library.capget(header, rights):
        raise OSError(ctypes.get_errno(), "capget")
    rights[0] &= ~0b1110
    if library.capset(header, rights):
        raise OSError(ctypes.get_errno(), "capset")


def main():
    """Serve on the socket whose descriptor is the first argument."""
    import gc
    import importlib
    import runpy

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    folders = ("", "tests", "tests/training", "tests/serving", "tests/faults")
    sys.path[:1] = [str(ROOT / folder) for folder in folders]
    from ncsn_tf.backend.quiet import quietly

    with quietly():
        for package in PACKAGES:
            importlib.import_module(package)
    gc.freeze()  # a collection in a fork would copy all their pages
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    if request is None:
        return
    # From here on this is a command, which ends as Python ends: with its exit code or traceback.
    argv = _become(request)
    if argv[0] == "-m":
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [str(ROOT / argv[0]), *argv[1:]]
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
