"""The files of one OCI image layout in a folder: each whole or not at all, whoever is killed when.

A file is written aside, synced and renamed, so `blobs/sha256` never holds anything but blobs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bundler.adapters.checked_pieces import PIECE_BYTES, checked
from bundler.adapters.layout.index import MARKER, LayoutIndex
from bundler.adapters.layout.reader import blob_name
from bundler.errors import (
    BundlerError,
    CouldNotCheck,
    Locked,
    NotFound,
    UsageError,
    VerificationFailed,
)
from bundler.model.artifact import Descriptor
from bundler.model.reference import Digest

MAX_INDEX_BYTES = 8 * 1024 * 1024
"""Some 30,000 tags."""
LOCK_SECONDS = 60.0
ABANDONED_SECONDS = 3600.0
"""A temporary file this old belongs to a process that was killed."""
_TEMPORARY = ".incomplete-"
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP})
_HINTS = {
    errno.ENOSPC: "free some space and run it again",
    errno.EDQUOT: "the quota is used up: free some space and run it again",
    errno.EFBIG: "files may not become this large here (ulimit -f)",
    errno.EACCES: "the user who runs this needs write access to the folder",
    errno.EPERM: "the user who runs this needs write access to the folder",
    errno.EROFS: "the file system is mounted read-only: name another folder",
    errno.ENOENT: "make the folder that it belongs to first",
    errno.ENOTDIR: "a file stands where a folder is needed: name another folder",
    errno.EEXIST: "a file stands where a folder is needed: name another folder",
    errno.EISDIR: "a folder stands where a file is needed: remove it, or name another one",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.ELOOP: "a symbolic link leads to itself: name another folder",
}


class LayoutFolder:
    """Implements `bundler.adapters.layout.reader.LayoutFiles`, and writes."""

    damage: type[BundlerError] = CouldNotCheck

    def __init__(self, root: Path, durable: bool = True) -> None:
        """What need not outlive a loss of power is not `durable`: written without waiting."""
        self.root = root
        self._durable = durable

    # --- reading ---

    def where(self, name: str) -> str:
        return str(self.root / name)

    def document(self, name: str) -> bytes | None:
        path = self.root / name
        content = b""
        try:
            for piece in _pieces(path):
                content += piece
                if len(content) > MAX_INDEX_BYTES:
                    raise CouldNotCheck(f"{path} has more than {MAX_INDEX_BYTES} bytes")
        except NotFound:
            return None
        return content

    def size(self, digest: Digest) -> int:
        path = self._path(digest)
        with _reading(path):
            status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise VerificationFailed(f"{path} is not a regular file")
        return status.st_size

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        return _pieces(self._path(digest))

    def has_size(self, descriptor: Descriptor) -> bool:
        """Whether there is a blob of this size; its content is not read."""
        try:
            return self.size(descriptor.digest) == descriptor.size
        except (NotFound, VerificationFailed):
            return False

    def is_sound(self, descriptor: Descriptor) -> bool:
        """Whether there is the blob itself."""
        return self.has_size(descriptor) and _is_right(self._path(descriptor.digest), descriptor)

    # --- writing ---

    def initialise(self) -> None:
        """Make an empty layout unless there is one. Raises UsageError where that cannot be."""
        with writing(self.root):
            if (self.root / "index.json").exists():
                return
            (self.root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            if not (self.root / "oci-layout").exists():
                self._replace(self.root / "oci-layout", [MARKER])
            with self.locked():
                if not (self.root / "index.json").exists():
                    empty = LayoutIndex.empty().as_bytes()
                    self._replace(self.root / "index.json", [empty])

    def put(self, descriptor: Descriptor, pieces: Callable[[], Iterable[bytes]]) -> None:
        """Write a blob unless it is there and sound. Raises VerificationFailed for wrong pieces."""
        if not self.is_sound(descriptor):
            path = self._path(descriptor.digest)
            self._replace(path, checked(pieces(), descriptor, f"what came for {path}"))

    def link(self, descriptor: Descriptor, other: LayoutFolder) -> bool:
        """Share the blob of another layout; False where it cannot be shared or is not sound."""
        path = self._path(descriptor.digest)
        temporary = self._temporary()
        try:
            os.link(other._path(descriptor.digest), temporary, follow_symlinks=False)
            if stat.S_ISREG(temporary.lstat().st_mode) and _is_right(temporary, descriptor):
                temporary.replace(path)
                self._sync(path.parent)
                return True
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
        finally:
            # Renaming over a link of the same file leaves both names.
            temporary.unlink(missing_ok=True)
        return False

    def write_index(self, content: bytes) -> None:
        """Replace the index; only under the lock."""
        path = self.root / "index.json"
        if len(content) > MAX_INDEX_BYTES:
            raise UsageError(
                f"{path} would have more than {MAX_INDEX_BYTES} bytes",
                hint="begin a new folder",
            )
        self._replace(path, [content])
        self._remove_abandoned()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the layout's lock; a process that dies gives it back. Raises Locked."""
        path = self.root / ".lock"
        with writing(path):
            file = path.open("ab")
        with file:
            _acquire(file.fileno(), path)
            yield

    def _path(self, digest: Digest) -> Path:
        return self.root / blob_name(digest)

    def _temporary(self) -> Path:
        return self.root / f"{_TEMPORARY}{secrets.token_hex(8)}"

    def _replace(self, path: Path, pieces: Iterable[bytes]) -> None:
        """Put a whole, synced file in place."""
        temporary = self._temporary()
        try:
            with writing(path):
                file = temporary.open("xb")
            with file:
                for piece in pieces:
                    with writing(path):
                        file.write(piece)
                with writing(path):
                    file.flush()
                    if self._durable:
                        os.fsync(file.fileno())
            with writing(path):
                temporary.replace(path)
                self._sync(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def _sync(self, folder: Path) -> None:
        if self._durable:
            sync_folder(folder)

    def _remove_abandoned(self) -> None:
        for path in self.root.glob(f"{_TEMPORARY}*"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    path.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell why something cannot be written: trying again helps only where nothing is known."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = _HINTS.get(error.errno or 0)
        kind = UsageError if hint else CouldNotCheck
        raise kind(f"{path} cannot be written: {reason}", hint=hint) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell why a file cannot be read. Raises NotFound, CouldNotCheck."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there") from error
    except OSError as error:
        hint = "the user who runs this needs read access" if error.errno == errno.EACCES else None
        reason = (error.strerror or str(error)).lower()
        raise CouldNotCheck(f"{path}: {reason}", hint=hint) from error


def _pieces(path: Path) -> Iterator[bytes]:
    """A regular file's bytes. Raises NotFound, CouldNotCheck, VerificationFailed."""
    with _reading(path):
        file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise VerificationFailed(f"{path} is not a regular file")
        while True:
            with _reading(path):
                piece = file.read(PIECE_BYTES)
            if not piece:
                return
            yield piece


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the writer of a named pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _is_right(path: Path, descriptor: Descriptor) -> bool:
    try:
        for _ in checked(_pieces(path), descriptor, path):
            pass
    except (NotFound, VerificationFailed):
        return False
    return True


def sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _acquire(number: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        with writing(path):
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Locked(f"{path} has been locked for {LOCK_SECONDS:.0f} s") from None
            else:
                return
        time.sleep(0.01)
