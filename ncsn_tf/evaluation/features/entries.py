"""What is computed once and kept: folders of the cache, each made by one process, whole or not.

They lie in `features` of the cache. Each is made in `NAME.part` and renamed when it is finished, so
that a process which is killed leaves nothing that could be taken for the whole; others that want
the same wait for it. The cache may be removed at any time.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from ncsn_tf.data import claims
from ncsn_tf.data.cache import cache_folder
from ncsn_tf.errors import UserError

_T = TypeVar("_T")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def kept(
    cache_dir: str | os.PathLike,
    name: str,
    read: Callable[[Path], _T | None],
    make: Callable[[Path], object],
) -> _T:
    """What `read` finds in a folder of the cache; it is made first where there is none.

    Args:
        cache_dir: as in `cache.cache_folder`.
        name: of the folder; another one for everything else that would be made.
        read: the folder -> what is in it; None where it is missing, or damaged, which is said.
        make: called with a folder, which it fills.

    Raises:
        UserError: the cache cannot be written, or the disk is full.
    """
    final = cache_folder(cache_dir) / "features" / name
    while True:
        with _errors_in_one_line(final):
            found = read(final)
            if found is not None:
                return found
            with claims.claimed(final) as part:
                if part is None:
                    continue
                if final.exists() and (found := read(final)) is not None:  # another was faster
                    shutil.rmtree(part, ignore_errors=True)
                    return found
                try:
                    make(part)
                except BaseException:
                    shutil.rmtree(part, ignore_errors=True)
                    raise
                shutil.rmtree(final, ignore_errors=True)  # what is damaged
                claims.publish(part, final)
        if read(final) is None:
            raise UserError(f"{final} was written and cannot be read: is the disk at work?")


@contextlib.contextmanager
def _errors_in_one_line(final: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or final
        cause = "no room on the disk" if error.errno in _FULL else error.strerror or error
        raise UserError(
            f"{place} cannot be used: {cause}; --cache_dir or NCSN_CACHE names another folder for "
            "what is kept"
        ) from None
