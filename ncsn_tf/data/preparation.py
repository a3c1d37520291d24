"""One preparation of images: many processes decode pictures into one file of pixels.

The folder's `journal` lists the parts whose rows are on the disk, so that a preparation that was
broken off goes on.
"""

import contextlib
import errno
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from ncsn_tf.backend import signals
from ncsn_tf.data import rows
from ncsn_tf.data.cache import PIXELS
from ncsn_tf.data.claims import JOURNAL
from ncsn_tf.data.collection import Collection
from ncsn_tf.data.image_file import read_header, write_header
from ncsn_tf.errors import UserError
from ncsn_tf.files import sync

_PART_PICTURES, _PART_BYTES = 128, 2**24  # of a part: what is lost where a process is killed
_SYNC_EVERY = 2.0  # seconds between two writings of the journal
_LOOK_EVERY = 0.2  # seconds between two looks for a signal
# Parts a process that run or wait. No more than loky passes on to its processes at once: it can
# be ended well only while none is left with it.
_AHEAD = 2

Parts = Callable[[int], Iterator[tuple[int, Sequence[bytes] | None]]]


def fill(
    part: Path,
    shape: tuple[int, int, int, int],
    parts: Parts,
    *,
    crop_size: int,
    collection: Collection | None,
    title: str,
) -> dict[int, str]:
    """Decode all pictures into the file of pixels of a folder, but for what it has already.

    Args:
        part: the folder.
        shape: (N, H, W, C) of all.
        parts: size -> (start, the pictures' bytes or None) of each `size` pictures in order.
        crop_size: as in `decoding.fitted_pixels`.
        collection: the pictures; None where `parts` has their bytes.
        title: of the progress bar.

    Returns:
        {place: why} of those that cannot be read.

    Raises:
        UserError: a process was ended from outside.
        OSError: the disk is full, or fails.
        signals.Interrupted: an end was asked for. Nothing of it is lost.
    """
    number, row, size = shape[0], shape[1] * shape[2] * shape[3], _part_size(shape)
    done = _begin(part, shape, size)
    room = shutil.disk_usage(part).free
    if number * row - os.stat(part / PIXELS).st_blocks * 512 > room:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part / PIXELS))
    causes = {place: cause for each in done.values() for place, cause in each}
    work = rows.Work(
        str(part / PIXELS), read_header(part / PIXELS)[1], shape[1:], crop_size, collection
    )
    first = min(number, len(done) * size)
    # A signal raises nothing in here: it is looked for where everything can be left at once.
    with (
        signals.deferred(),
        _workers(work) as (pool, count),
        _Journal(part) as journal,
        tqdm(None, title, number, initial=first, disable=None) as bar,
    ):
        running = {}

        def finish(least):
            """Take in what is ready, until at most `least` parts are running."""
            while len(running) > least:
                ready, _ = futures.wait(running, _LOOK_EVERY, futures.FIRST_COMPLETED)
                signals.check()
                for future in ready:
                    start, stop = running.pop(future)
                    found = future.result()
                    causes.update(found)
                    journal.add(start, stop, found)
                    bar.update(stop - start)

        for start, contents in parts(size):
            if start not in done:
                stop = min(start + size, number)
                future = pool(rows.fill_rows, start, stop, contents)
                running[future] = (start, stop)
                finish(_AHEAD * count)
        finish(0)
    return causes


def begin_with(
    part: Path, final: Path, shape: tuple[int, int, int, int], unreadable: Iterable[int]
) -> None:
    """Begin a preparation with the rows of a finished one, so that `fill` has only the rest to do.

    Args:
        part: the folder of the new one; what it has already is kept if there is something.
        final: the folder of the finished one. Its file becomes that of both, and the rows that are
            written are such as hold no image.
        shape: (N, H, W, C) of all.
        unreadable: places whose rows hold no image: those, and their neighbours, are left to do.
    """
    if (part / JOURNAL).exists():
        return
    (part / PIXELS).unlink(missing_ok=True)
    try:
        os.link(final / PIXELS, part / PIXELS)
    except OSError:  # a file system without such links
        shutil.copyfile(final / PIXELS, part / PIXELS)
    number, size = shape[0], _part_size(shape)
    left = {place // size for place in unreadable}
    whole = [start for start in range(0, number, size) if start // size not in left]
    lines = [json.dumps([start, min(start + size, number), []]) + "\n" for start in whole]
    (part / JOURNAL).write_text("".join(lines), encoding="utf-8")


def _part_size(shape):
    """Pictures of a part."""
    return max(1, min(_PART_PICTURES, _PART_BYTES // (shape[1] * shape[2] * shape[3])))


def _begin(part, shape, size):
    """{start of a part whose rows are there: [(place, why) of what cannot be read]}."""
    path, done = part / PIXELS, {}
    try:
        is_right = read_header(path)[0] == tuple(shape)
    except (OSError, ValueError):
        is_right = False
    if not is_right:
        (part / JOURNAL).unlink(missing_ok=True)
        write_header(path, shape)
        return done
    with contextlib.suppress(OSError):
        text = (part / JOURNAL).read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            # A line that was cut short or is damaged is no news.
            with contextlib.suppress(RecursionError, TypeError, ValueError):
                start, stop, causes = json.loads(line)
                found = [(place, str(cause)) for place, cause in causes]
                is_part = start in range(0, shape[0], size) and stop == min(start + size, shape[0])
                if is_part and all(place in range(start, stop) for place, _ in found):
                    done[start] = found
    return done


@contextlib.contextmanager
def _workers(work):
    """Processes that fill rows: (a function that asks one, how many there are).

    They are loky's, which import neither TensorFlow nor the script that was started, so that
    notebooks and scripts need no guard; none outlives the body.
    """
    import joblib
    from joblib.externals.loky import ProcessPoolExecutor

    count = joblib.cpu_count()
    pool = ProcessPoolExecutor(count, initializer=rows.start_worker, initargs=(work, os.getpid()))

    def ask(function, *arguments):
        # Until a new process ignores signals, they would print its traceback; it starts with them
        # blocked, as the thread that starts it.
        with _signals_blocked():
            return pool.submit(function, *arguments)

    try:
        yield ask, count
    except BrokenProcessPool:
        raise UserError(
            "a process that decodes pictures was ended from outside, for want of memory perhaps: "
            "give the command again, it goes on where this one ended"
        ) from None
    finally:
        pool.shutdown(wait=True, kill_workers=True)


@contextlib.contextmanager
def _signals_blocked():
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.NUMBERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Journal:
    """Lists the parts that are on the disk: every two seconds, in a thread, while others decode."""

    def __init__(self, part):
        self._pixels, self._path = part / PIXELS, part / JOURNAL
        self._lines, self._fault = [], None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_often, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._ended.set()
        self._thread.join()
        if kind is None:
            self._raise_fault()

    def add(self, start, stop, causes):
        self._raise_fault()
        self._lines.append(json.dumps([start, stop, causes]) + "\n")

    def _raise_fault(self):
        if self._fault is not None:
            raise self._fault

    def _write_often(self):
        try:
            while not self._ended.wait(_SYNC_EVERY):
                lines, self._lines = self._lines, []
                if lines:
                    sync(self._pixels)
                    with open(self._path, "a", encoding="utf-8") as file:
                        file.writelines(lines)
                        file.flush()
                        os.fsync(file.fileno())
        except OSError as error:
            self._fault = error
