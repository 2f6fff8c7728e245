"""A folder of what can be had again: bounded, for nobody else to look into, and never in the way.

A folder that cannot be written, or a full disk, only means that nothing is kept. Whoever reads
checks what was read, so nothing here has to be trusted or synced.
"""

from __future__ import annotations

import os
import secrets
import threading
from contextlib import suppress

SHARES = 16
"""Subfolders by a name's first digit, each with its share of the bytes: counted one by one."""
_KEPT = 0.75
"""What is left of a share that was full."""


class CacheFolder:
    """Bytes by a name of hexadecimal digits; threads and processes may share a folder."""

    def __init__(self, folder: str, max_bytes: int, max_entry_bytes: int) -> None:
        """`folder` is made when there is something to keep."""
        self._folder = folder
        self._is_writable = True
        self._share = max_bytes // SHARES
        self._max_entry_bytes = min(max_entry_bytes, self._share)
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()

    def read(self, name: str) -> bytes | None:
        """What is kept under a name, whatever that is by now."""
        try:
            number = os.open(self._path(name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return _read(number, self._max_entry_bytes)
        except OSError:
            return None
        finally:
            os.close(number)

    def has_room_for(self, size: int) -> bool:
        return self._is_writable and size <= self._max_entry_bytes

    def write(self, name: str, content: bytes) -> None:
        """Keep a content, if there is room for it."""
        if not self.has_room_for(len(content)):
            return
        path = self._path(name)
        folder = os.path.dirname(path)  # noqa: PTH120  a thousand paths: pathlib is too slow
        try:
            self._write(folder, path, content)
        except OSError:
            self._is_writable = False

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name[0]}/{name}"

    def _write(self, folder: str, path: str, content: bytes) -> None:
        with self._lock:
            if folder not in self._sizes:
                os.makedirs(self._folder, mode=0o700, exist_ok=True)  # noqa: PTH103
                with suppress(FileExistsError):
                    os.mkdir(folder, mode=0o700)  # noqa: PTH102
                self._sizes[folder] = _size(folder)
        temporary = f"{folder}/.{secrets.token_hex(8)}"
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
            os.replace(temporary, path)  # noqa: PTH105
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise
        with self._lock:
            self._sizes[folder] += len(content)
            if self._sizes[folder] > self._share:
                self._sizes[folder] = _shrink(folder, int(self._share * _KEPT))


def _read(number: int, limit: int) -> bytes:
    """A file's bytes; of one that is too large, as many as show that."""
    content = os.read(number, 64 * 1024)
    while piece := os.read(number, 1024 * 1024) if len(content) >= 64 * 1024 else b"":
        content += piece
        if len(content) > limit:
            break
    return content


def _size(folder: str) -> int:
    return sum(size for _, size, _ in _entries(folder))


def _entries(folder: str) -> list[tuple[int, int, str]]:
    """(Time, size, path) of everything in a folder: what a killed process left there too."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # another process has dropped it
                status = entry.stat(follow_symlinks=False)
                found.append((status.st_mtime_ns, status.st_size, entry.path))
    return found


def _shrink(folder: str, limit: int) -> int:
    """Drop the oldest until no more than the limit is left; how much that is."""
    entries = sorted(_entries(folder))
    size = sum(size for _, size, _ in entries)
    for _, bytes_, path in entries:
        if size <= limit:
            break
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108
        size -= bytes_
    return size
