"""The files of an OCI image layout in a tar, found by one pass over the headers.

Only what a layout consists of is taken: plain files and folders of its names, each once. Format:
POSIX.1-1988 ustar, with the size of GNU tar for files of 8 GiB and more; headers of pax
(POSIX.1-2001) may say what does not matter, such as exact times.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

BLOCK = 512
MAX_ENTRIES = 200_000
_MAX_TAIL_BYTES = 1024 * 1024
_MAX_PAX_BYTES = 64 * 1024
_DIGEST_NAME = r"blobs/[a-z0-9]+(?:[+._-][a-z0-9]+)*/[A-Za-z0-9=_-]+"
_FILE = re.compile(rf"oci-layout|index\.json|{_DIGEST_NAME}|manifest\.json|repositories|\.lock")
"""Of a layout; `docker save` adds two for older readers, and a folder of ours has its lock."""
_FOLDER = re.compile(r"\.|blobs|blobs/[a-z0-9]+(?:[+._-][a-z0-9]+)*|ingest")
_HARMLESS_PAX = re.compile(
    rb"mtime|atime|ctime|comment|uid|gid|uname|gname|hdrcharset|(?:SCHILY|LIBARCHIVE)\..*",
    re.DOTALL,
)
_FORMATS = {
    b"\x1f\x8b": "gunzip",
    b"\x28\xb5\x2f\xfd": "zstd -d",
    b"\xfd7zXZ": "unxz",
    b"BZh": "bunzip2",
}


class InvalidTar(ValueError):
    """What is no archive of a layout; the message says where."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Extent(NamedTuple):
    offset: int
    size: int


class _Header(NamedTuple):
    name: str
    kind: bytes
    size: int


def find_files(number: int) -> dict[str, Extent]:
    """Where each file of the archive in an open file lies. Raises InvalidTar, OSError."""
    length = os.fstat(number).st_size
    _check_format(os.pread(number, 6, 0))
    files: dict[str, Extent] = {}
    folders: set[str] = set()
    position = entries = 0
    while True:
        block = os.pread(number, BLOCK, position)
        if len(block) < BLOCK:
            raise InvalidTar(f"it is cut off at byte {position}")
        if not block.strip(b"\0"):
            _check_tail(number, position, length)
            return files
        entries += 1
        if entries > MAX_ENTRIES:
            raise InvalidTar(f"more than {MAX_ENTRIES} entries")
        header = _header(block, position)
        extent = Extent(position + BLOCK, header.size)
        position = extent.offset + -(-header.size // BLOCK) * BLOCK
        if position > length:
            raise InvalidTar(f"{header.name!r} is cut off at byte {length}")
        if header.kind in (b"x", b"g"):
            _check_pax(number, extent)
        else:
            _add(files, folders, header, extent)


def _check_format(start: bytes) -> None:
    for magic, program in _FORMATS.items():
        if start.startswith(magic):
            raise InvalidTar("it is compressed", hint=f"decompress it first, with `{program}`")


def _add(files: dict[str, Extent], folders: set[str], header: _Header, extent: Extent) -> None:
    name = header.name
    if name in files or name in folders:
        raise InvalidTar(f"{name!r} stands twice")
    if header.kind == b"5" and header.size == 0 and _FOLDER.fullmatch(name):
        folders.add(name)
    elif header.kind in (b"0", b"\0") and _FILE.fullmatch(name):
        files[name] = extent
    elif header.kind in (b"0", b"\0", b"5"):
        raise InvalidTar(f"{name!r} is no part of an OCI image layout")
    else:
        raise InvalidTar(f"{name!r} is neither a file nor a folder")


def _header(block: bytes, position: int) -> _Header:
    if block[257:262] != b"ustar":
        raise InvalidTar(f"no header of a tar at byte {position}")
    try:
        checksum = sum(block) - sum(block[148:156]) + 8 * 32
        if _octal(block[148:156]) != checksum:
            raise ValueError("its checksum is wrong")
        name, prefix = (block[a:b].split(b"\0")[0].decode() for a, b in ((0, 100), (345, 500)))
        size = _size(block[124:136])
    except ValueError as error:
        raise InvalidTar(f"the header at byte {position} is malformed: {error}") from error
    is_posix = block[257:263] == b"ustar\0"
    path = f"{prefix}/{name}" if prefix and is_posix else name
    return _Header(path.removeprefix("./").rstrip("/") or ".", block[156:157], size)


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not digits.isdigit():
        raise ValueError(f"{field!r} is no number")
    return int(digits, 8)


def _size(field: bytes) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    return _octal(field)


def _check_pax(number: int, extent: Extent) -> None:
    """Refuse records that would give the next entry another name, size or meaning."""
    if extent.size > _MAX_PAX_BYTES:
        raise InvalidTar(f"a pax header of {extent.size} bytes at byte {extent.offset}")
    for key in _pax_keys(os.pread(number, extent.size, extent.offset)):
        if not _HARMLESS_PAX.fullmatch(key):
            raise InvalidTar(f"a pax header sets {key!r} at byte {extent.offset}")


def _pax_keys(records: bytes) -> Iterator[bytes]:
    """The keys of records `LENGTH KEY=VALUE\\n`."""
    while records:
        digits, _, _ = records.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
        record = records[len(digits) + 1 : length]
        key, equals, _ = record.partition(b"=")
        if not equals or not record.endswith(b"\n"):
            raise InvalidTar("a malformed pax header")
        yield key
        records = records[length:]


def _check_tail(number: int, position: int, length: int) -> None:
    tail = length - position
    if tail > _MAX_TAIL_BYTES or os.pread(number, tail, position).strip(b"\0"):
        raise InvalidTar(f"something follows the archive behind byte {position}")
