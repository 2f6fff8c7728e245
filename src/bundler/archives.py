"""The content layer of a bundle: a gzip-compressed ustar archive, read within bounds.

Nothing is unpacked: what is refused was never a file.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Container, Iterable, Iterator

from bundler.model.artifact import MAX_CONTENT_BYTES, MAX_CONTENT_FILES

_BLOCK = 512
_MAX_PATH_BYTES = 240
_MAX_ENTRIES = 4 * MAX_CONTENT_FILES
"""Files, and the folders that they are in."""
_PIECE = 1024 * 1024


class InvalidArchive(ValueError):
    """An archive that `bundler publish` does not write."""


def gunzip(compressed: bytes) -> bytes:
    """One gzip member, all of it and nothing behind it, within bounds.

    It is measured first: what is refused takes no memory.
    """
    size = 0
    for piece in _inflated(compressed):
        size += len(piece)
        if size > MAX_CONTENT_BYTES:
            raise InvalidArchive(f"more than {MAX_CONTENT_BYTES} bytes")
    return b"".join(_inflated(compressed))


def _inflated(compressed: bytes) -> Iterator[bytes]:
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    left = compressed
    while not inflate.eof:
        piece = inflate.decompress(left, _PIECE)
        left = inflate.unconsumed_tail
        if not piece and not left and not inflate.eof:
            raise InvalidArchive("truncated")
        yield piece
    if inflate.unused_data:
        raise InvalidArchive("something follows the archive")


def read_tar(content: bytes) -> dict[str, bytes]:
    """The files of a ustar archive by path (POSIX.1-1988): plain files and folders only."""
    files: dict[str, bytes] = {}
    seen: set[str] = set()
    position = entries = 0
    while position < len(content):
        header = content[position : position + _BLOCK]
        if not header.strip(b"\0"):
            break
        entries += 1
        name, kind, size = _entry(header)
        position += _BLOCK
        if kind == b"0":
            if _folded(name) in seen or len(files) >= MAX_CONTENT_FILES:
                raise InvalidArchive(f"{name!r} stands twice, or there are too many files")
            seen.add(_folded(name))
            files[name] = content[position : position + size]
            if len(files[name]) != size:
                raise InvalidArchive(f"{name!r} is cut off")
        elif kind != b"5" or size:
            raise InvalidArchive(f"{name!r} is neither a file nor a folder")
        if entries > _MAX_ENTRIES:
            raise InvalidArchive(f"more than {_MAX_ENTRIES} entries")
        position += -(-size // _BLOCK) * _BLOCK
    if content[position:].strip(b"\0"):
        raise InvalidArchive("something follows the archive")
    _check_folders(files, seen)
    return files


def _folded(path: str) -> str:
    """What file systems that know no case, or one form of a letter, take for the same."""
    return unicodedata.normalize("NFC", path.casefold())


def _check_folders(files: Iterable[str], seen: Container[str]) -> None:
    for path in files:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if _folded(folder) in seen:
                raise InvalidArchive(f"{folder!r} is a file and the folder of {path!r}")


def _entry(header: bytes) -> tuple[str, bytes, int]:
    """Name, type and size of a ustar header block."""
    if len(header) != _BLOCK or header[257:262] != b"ustar":
        raise InvalidArchive("not a ustar header")
    checksum = sum(header[:148]) + 8 * 32 + sum(header[156:])
    try:
        if int(header[148:156].strip(b" \0"), 8) != checksum:
            raise InvalidArchive("a header with a wrong checksum")
        digits = header[124:136].strip(b" \0")
        if not digits.isdigit():
            raise ValueError("no number")
        size = int(digits, 8)
        name, prefix = (header[a:b].split(b"\0")[0].decode() for a, b in ((0, 100), (345, 500)))
    except ValueError as error:
        raise InvalidArchive(f"malformed header: {error}") from error
    path = f"{prefix}/{name}" if prefix else name
    _check_path(path.rstrip("/"))
    return path.rstrip("/"), header[156:157], size


def _check_path(path: str) -> None:
    parts = path.split("/")
    if (
        not path
        or not path.isprintable()
        or "\\" in path
        or ":" in path
        or len(path.encode()) > _MAX_PATH_BYTES
        or {"", ".", ".."} & set(parts)
    ):
        raise InvalidArchive(f"path {path!r} is refused")
