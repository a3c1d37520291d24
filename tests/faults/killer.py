"""Kills a command at a chosen moment of its writing: it watches a folder as the command fills it.

By inotify where the system has it, so that the blow falls within a millisecond of the event;
elsewhere by looking at the folder again and again.
"""

import contextlib
import ctypes
import errno
import os
import select
import signal
import struct
import time
from subprocess import DEVNULL

import runs

_CREATE, _MOVED_TO, _DELETE = 0x100, 0x80, 0x200
_EVENT = struct.Struct("iIII")
_LOOK_EVERY = 0.001  # seconds, where folders are looked at

# Moment of a checkpoint -> whether (what happened, to which name) is it.
CHECKPOINT_MOMENTS = {
    "temporary folder made": lambda what, name: what == "new" and "_temp" in name,
    "data written": lambda what, name: what != "gone" and ".data-" in name,
    "index written": lambda what, name: what != "gone" and name.endswith(".index"),
    "state file begun": lambda what, name: what == "new" and name.startswith(".checkpoint"),
    "state file in place": lambda what, name: what != "gone" and name == "checkpoint",
    "old one removed": lambda what, name: what == "gone" and name.startswith("step-"),
}
# Moment of any other file or folder that is written beside its place.
FILE_MOMENTS = {
    "begun": lambda what, name: what == "new" and name.startswith("."),
    "in place": lambda what, name: what != "gone" and not name.startswith("."),
}


class Watch:
    """What happens in a folder, which must exist: a context manager.

    Args:
        folder: the folder; what is in its folders is not watched.
        poll: look at the folder even where there is inotify.
    """

    def __init__(self, folder, poll=False):
        self.folder = folder
        self._inotify = None if poll else _open_inotify(folder)
        self._seen = set(os.listdir(folder))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._inotify is not None:
            os.close(self._inotify)

    def events(self, seconds):
        """[("new" or "moved" or "gone", name)] as soon as there is one, or after `seconds`."""
        if self._inotify is not None:
            return self._notified() if select.select([self._inotify], [], [], seconds)[0] else []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            there = set(os.listdir(self.folder))
            found = [("new", name) for name in sorted(there - self._seen)]
            found += [("gone", name) for name in sorted(self._seen - there)]
            self._seen = there
            if found:
                return found
            time.sleep(_LOOK_EVERY)
        return []

    def _notified(self):
        data, place, found = os.read(self._inotify, 2**16), 0, []
        while place < len(data):
            _, mask, _, size = _EVENT.unpack_from(data, place)
            place += _EVENT.size + size
            name = os.fsdecode(data[place - size : place].rstrip(b"\0"))
            what = "new" if mask & _CREATE else "moved" if mask & _MOVED_TO else "gone"
            found.append((what, name))
        return found


def _open_inotify(folder):
    """A descriptor of inotify on a folder; None where there is none."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        descriptor = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    except (AttributeError, OSError):
        return None
    if descriptor < 0:
        return None
    mask = _CREATE | _MOVED_TO | _DELETE
    if library.inotify_add_watch(descriptor, os.fsencode(folder), mask) < 0:
        os.close(descriptor)
        return None
    return descriptor


def kill_at(process, watch, is_moment, count=1, delay=0.0, number=signal.SIGKILL, timeout=300):
    """Send a signal to a process at an event.

    Args:
        process: a running `fork_server.Process`.
        watch: a `Watch` that was opened before it started.
        is_moment: (what happened, name) -> whether that is the event.
        count: at which of these events.
        delay: seconds between the event and the blow.
        number: the signal.
        timeout: seconds after which a process that has not come to the event or its end has hung.

    Returns:
        whether the blow fell; False when the process ended before.

    Raises:
        TimeoutError: it has hung; it is killed.
    """
    end = time.monotonic() + timeout
    while process.poll() is None:
        for what, name in watch.events(0.05):
            count -= is_moment(what, name)
            if count == 0:
                time.sleep(delay)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
                process.wait(timeout)
                return process.returncode == -number
        if time.monotonic() > end:
            process.kill()
            raise TimeoutError(errno.ETIMEDOUT, "neither the moment nor the end came")
    return False


def killed_at(command_server, argv, cwd, watched, is_moment, count=1, delay=0.0):
    """Whether a command was killed at a moment in the folder `watched`; True or its exit code."""
    watched.mkdir(parents=True, exist_ok=True)
    with (
        Watch(watched) as watch,
        command_server.popen(argv, cwd=cwd, stdout=DEVNULL, stderr=DEVNULL) as it,
    ):
        return kill_at(it, watch, is_moment, count, delay) or it.returncode


def train_through_kills(command_server, folder, kills, rng, at_random=False):
    """Train to the end through kills at all moments in turn. Returns how many there were."""
    moments, done = list(CHECKPOINT_MOMENTS), 0
    rng.shuffle(moments)
    while done < kills:
        is_moment = CHECKPOINT_MOMENTS[moments[done % len(moments)]]
        delay = rng.choice([0, 0, 0.0005, 0.002])
        if at_random and done % 3 == 2:
            delay = rng.uniform(0, 0.3)
        argv = runs.train("run", runs.NUM_STEPS)
        place = folder / "run" / "checkpoints"
        ended = killed_at(command_server, argv, folder, place, is_moment, rng.randint(1, 4), delay)
        if ended is not True:
            assert ended == 0
            return done
        done += 1
    end = command_server.run(runs.train("run", runs.NUM_STEPS), cwd=folder)
    assert end.returncode == 0, end.stderr
    assert "Resuming run at step" in end.stdout or "Nothing left" in end.stdout
    return done
