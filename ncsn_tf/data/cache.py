"""The folders of prepared images: where they lie, how they are called, whether one can be used.

A folder of the cache has these files:

    images.npy    uint8 [N, H, W, C]; `numpy.load(path, mmap_mode="r")` reads it anywhere
    labels.npy    int64 [N], where there are classes
    about.json    what they were made of and how, and what could not be read

Its name is NAME-SETTINGS-FINGERPRINT: the settings are those of `about.json` by which other images
would be made of the same pictures, and the fingerprint is another one when the pictures are.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ncsn_tf.data.image_file import read_header
from ncsn_tf.errors import UserError, warn
from ncsn_tf.files import user_path

FORMAT = 1  # of what lies in the cache
PIXELS, LABELS, ABOUT = "images.npy", "labels.npy", "about.json"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LONGEST = 60  # characters of a name


def cache_folder(cache_dir: str | os.PathLike = "") -> Path:
    """Where prepared images are kept.

    Args:
        cache_dir: a folder; "" is $NCSN_CACHE, or else `ncsn_tf` in the user's folder of caches.

    Example:
        >>> str(cache_folder("/data/prepared"))
        '/data/prepared'
    """
    named = os.fspath(cache_dir) or os.environ.get("NCSN_CACHE", "")
    if named:
        return user_path(named)
    usual = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(usual):
        usual = {"darwin": "~/Library/Caches", "win32": "~/AppData/Local"}.get(
            sys.platform, "~/.cache"
        )
    return user_path(usual) / "ncsn_tf"


def folder_name(name: str, settings: object, fingerprint: object) -> tuple[str, str]:
    """(the start of a folder's name, which others of the same settings share; its whole name).

    Args:
        name: what is prepared.
        settings, fingerprint: anything that JSON holds.

    Example:
        >>> start, whole = folder_name("my pictures", [32, 0], "1f2e")
        >>> start[:12], whole.startswith(start), len(whole)
        ('my_pictures-', True, 37)
    """
    start = f"{re.sub(r'[^A-Za-z0-9_.]+', '_', name)[:_LONGEST]}-{_hash(settings)}-"
    return start, f"{start}{_hash(fingerprint)}"


def find(
    final: Path, about: Mapping[str, object]
) -> tuple[dict[int, str], np.ndarray | None] | None:
    """What was prepared in a folder.

    Args:
        final: the folder.
        about: what its about.json must say.

    Returns:
        ({place: why} of what cannot be read, labels or None); None where there is nothing that can
        be used, which is said where it is damage.
    """
    try:
        text = (final / ABOUT).read_text(encoding="utf-8")
        found = json.loads(text)
        different = [key for key, value in about.items() if found.get(key) != value]
        if different:
            raise ValueError(f"another {', '.join(different)} in {ABOUT}")
        if read_header(final / PIXELS)[0] != (about["number"], *about["image_shape"]):
            raise ValueError(f"another shape in {PIXELS}")
        labels = None
        if found["labels"]:
            labels = np.load(final / LABELS, allow_pickle=False)
            if labels.shape != (about["number"],) or labels.dtype != np.int64:
                raise ValueError(f"{LABELS} has {labels.dtype} {list(labels.shape)}")
        unreadable = {int(place): str(cause) for place, cause in found["unreadable"]}
        if not all(0 <= place < about["number"] for place in unreadable):
            raise ValueError(f"places in {ABOUT} that there are not")
        return unreadable, labels
    except FileNotFoundError as error:
        if not os.path.isdir(final):
            return None
        fault = f"no {os.path.basename(error.filename or '')}"
    except OSError:
        raise
    except Exception as error:  # almost anything, in json and numpy, of a file that is damaged
        fault = str(error) or type(error).__name__
    warn(f"{final} is damaged ({fault}): prepared anew")
    return None


def stamp(final: Path) -> tuple[int, int] | None:
    """Another one whenever another process has put something in a folder's place."""
    try:
        status = os.stat(final)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


@contextlib.contextmanager
def errors_in_one_line(cache: Path, shape: Sequence[int]) -> Iterator[None]:
    """Errors of the disk, in the body, as a UserError of one line.

    Args:
        cache: the folder of all that is prepared.
        shape: of what the body writes, uint8.
    """
    try:
        yield
    except OSError as error:
        place = error.filename or cache
        if error.errno in _FULL:
            gigabytes = np.prod(shape, dtype=np.int64) / 1e9
            raise UserError(
                f"{cache}: no room for {gigabytes:.3g} GB of prepared images "
                f"({error.strerror}): make some, or name another folder with --cache_dir or "
                "NCSN_CACHE; what is prepared is kept, and the same command goes on"
            ) from None
        raise UserError(
            f"{place} cannot be used: {error.strerror or error}; --cache_dir or NCSN_CACHE names "
            "another folder for prepared images"
        ) from None


def _hash(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
