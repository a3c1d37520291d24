"""What a .zip or a .tar holds, and where in the file: names, bytes, links.

What an archive says of sizes is a claim, which is checked where bytes are read. Names are for
messages, labels and an order: nothing is opened or written by them.
"""

import os
import posixpath
import shlex
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from ncsn_tf.data.listing import Notes
from ncsn_tf.errors import UserError

# How the bytes of a member are kept: a method of the .zip format, or one of these.
PLAIN = -1  # as they are, as in a .tar
LINK, ENCRYPTED, NO_FILE, OUTSIDE = -2, -3, -4, -5
_READ = (PLAIN, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CAUSES = {
    LINK: "a link to what is not in the archive",
    ENCRYPTED: "it is encrypted",
    NO_FILE: "not a file",
    OUTSIDE: "it is damaged in the archive",
}
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # its magic; the lengths of a name and of more
_LONGEST_LINK = 4096
_SAYS_UTF_8 = 0x800
_WINDOWS, _UNIX = 0, 3

# What begins a file that is compressed as a whole, and the program that undoes it.
_COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ\0": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
}


class Part(NamedTuple):
    """Where the bytes of a member are.

    Attributes:
        offset: where in the file; in a .zip that of the header before them.
        stored: how many they are there.
        size: how many they are said to be.
        crc: their checksum, in a .zip.
        how: how they are kept.
    """

    offset: int = 0
    stored: int = 0
    size: int = 0
    crc: int = 0
    how: int = LINK


class Member(NamedTuple):
    """A member of an archive.

    Attributes:
        name: its path below the archive; absolute ones, and those with "..", lead nowhere else.
        part: where its bytes are; None for a folder.
        target: for a link the name that it stands for, which may be that of no member.
    """

    name: str
    part: Part | None
    target: str | None = None


def fault(part: Part) -> str | None:
    """Why a member cannot be read, as far as the archive tells; None where nothing is wrong.

    Example:
        >>> fault(Part(how=ENCRYPTED)), fault(Part(how=PLAIN)), fault(Part(how=98))
        ('it is encrypted', None, 'compressed by method 98 of .zip files, which is not read')
    """
    if part.how in _READ:
        return None
    other = f"compressed by method {part.how} of .zip files, which is not read"
    return _CAUSES.get(part.how, other)


def content(file: BinaryIO, part: Part) -> bytes | None:
    """The bytes of a member that has no fault; None where they are damaged.

    Args:
        file: the archive, opened.
        part: where they are. No more is decompressed than it says that they are.
    """
    file.seek(part.offset)
    if part.how != PLAIN:
        header = file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size:
            return None
        magic, name, more = _LOCAL_HEADER.unpack(header)
        if magic != b"PK\3\4":
            return None
        file.seek(name + more, os.SEEK_CUR)
    found = file.read(part.stored)
    if len(found) < part.stored:
        return None
    if part.how == PLAIN:
        return found
    if part.how == zipfile.ZIP_DEFLATED:
        try:  # one byte too many tells of more; it may be any number
            found = zlib.decompressobj(-zlib.MAX_WBITS).decompress(found, part.size + 1)
        except zlib.error:
            return None
    return found if len(found) == part.size and zlib.crc32(found) == part.crc else None


def members(file: BinaryIO, path: str, notes: Notes) -> Iterator[Member]:
    """All members of an archive, in its own order; a name may come more than once.

    Args:
        file: the archive, opened. Its content decides whether it is a .zip or a .tar.
        path: its path, for messages.
        notes: takes what is seen to be missing.

    Raises:
        UserError: it is empty, no archive, compressed as a whole, cut short, or damaged as a whole;
            one line.
        OSError: the file cannot be read.
    """
    start = file.read(tarfile.BLOCKSIZE)
    if not start:
        raise UserError(f"{path} is empty: it should be a .zip or a .tar")
    for magic, program in _COMPRESSED.items():
        if start.startswith(magic):
            raise UserError(
                f"{path} is compressed as a whole, so that no picture can be read by itself: "
                f"make a plain .tar of it, once, with: {program} -k {shlex.quote(path)}"
            )
    size = os.fstat(file.fileno()).st_size
    try:
        # The start first: a .tar whose last member is a .zip ends like one.
        if not start.startswith(b"PK") and _is_tar(start):
            yield from _of_tar(file, size, notes)
        elif start.startswith(b"PK") or zipfile.is_zipfile(file):
            yield from _of_zip(file, size)
        else:
            raise UserError(f"{path} is neither a folder nor a .zip or a .tar")
    except (OSError, UserError):
        raise
    except Exception as error:  # a damaged file can raise almost anything in zipfile and tarfile
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path} is cut short or damaged: copy or make it again ({cause})"
        ) from None


def _of_zip(file, size):
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = _zip_name(info)
            if name.endswith("/"):
                yield Member(_within(name), None)
                continue
            how = ENCRYPTED if info.flag_bits & 1 else info.compress_type
            part = Part(info.header_offset, info.compress_size, info.file_size, info.CRC, how)
            if part.offset < 0 or part.offset + part.stored > size or part.size >= 2**62:
                part = Part(how=OUTSIDE)
            target = None
            if info.create_system == _UNIX and stat.S_ISLNK(info.external_attr >> 16):
                is_short = fault(part) is None and max(part.size, part.stored) <= _LONGEST_LINK
                text = content(file, part) if is_short else None
                target = _beside(name, (text or b"").decode(errors="replace"))
            yield Member(_within(name), part, target)


def _zip_name(info):
    """The name of a member, taken for UTF-8 where it can be, also if the archive says nothing."""
    name = info.filename
    if not info.flag_bits & _SAYS_UTF_8:
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            name = info.filename
    return name.replace("\\", "/") if info.create_system == _WINDOWS else name


def _is_tar(start):
    """Whether the first block of a file begins a .tar, or ends one that is empty."""
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:
        return True
    except tarfile.HeaderError:
        return False
    return True


def _of_tar(file, size, notes):
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        end = 0
        while (info := archive.next()) is not None:
            archive.members.clear()  # which would keep them all
            if info.size < 0 or archive.offset <= end:  # it would never end
                raise ValueError(f"at byte {end:,}")
            end = archive.offset
            part, target = Part(how=NO_FILE), None
            if info.isdir():
                part = None
            elif info.isreg() and not info.issparse():
                if info.offset_data + info.size > size:
                    raise ValueError(f"its {size:,} bytes end within {info.name!r}")
                part = Part(info.offset_data, info.size, info.size, 0, PLAIN)
            elif info.islnk():
                target = _within(info.linkname)
            elif info.issym():
                target = _beside(info.name, info.linkname)
            yield Member(_within(info.name), part, target)
        _check_end(file, archive.offset, notes)


def _check_end(file, end, notes):
    """Where it finds no header, tarfile ends in silence: see whether the archive ends there."""
    file.seek(end)
    block = file.read(tarfile.BLOCKSIZE)
    if block.strip(b"\0"):
        raise ValueError(f"at byte {end:,}")
    if len(block) < tarfile.BLOCKSIZE:
        notes.lines.append("what may have followed: it stops without the mark of its end")
    elif file.read(2**20).strip(b"\0"):
        notes.lines.append("what follows the mark of its end")


def _within(name):
    """A name as a path below the archive."""
    return posixpath.normpath(f"/{name}").lstrip("/")


def _beside(name, target):
    """What a symbolic link stands for; no member has a name that begins with "/" or ".."."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(_within(name)), target))
