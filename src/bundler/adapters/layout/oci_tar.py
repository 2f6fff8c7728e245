"""An OCI image layout in one tar file (`ocitar://`): read in place, written whole or not at all.

Other tools call this an `oci-archive`. Source: OCI image-spec 1.1, image-layout.md.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

from bundler.adapters.checked_pieces import PIECE_BYTES
from bundler.adapters.layout.folder import LayoutFolder, sync_folder, writing
from bundler.adapters.layout.index import MARKER
from bundler.adapters.layout.oci_layout import OciLayout
from bundler.adapters.layout.reader import LayoutReader, blob_name
from bundler.adapters.layout.tar import Extent, InvalidTar, find_files
from bundler.errors import BundlerError, CouldNotCheck, NotFound, UsageError, VerificationFailed
from bundler.model.artifact import Blob, Descriptor
from bundler.model.reference import Digest, Repository

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
_USTAR_LIMIT = 8 * 1024**3
"""Sizes from here on do not fit into the digits of a ustar header."""
_REMOVALS = 20


# --- reading ------------------------------------------------------------------------------------


class OciTar(LayoutReader):
    """Implements `bundler.ports.ContentReader` for `ocitar://` repositories.

    A file that is not there is a UsageError; one that is cut off, tampered with or compressed is
    a VerificationFailed.
    """

    def __init__(self, base: Path) -> None:
        """`base` is the folder that relative paths start from."""
        super().__init__()
        self._base = base
        self._archives: dict[Path, _Archive] = {}
        self._lock = threading.Lock()

    def _files(self, repository: Repository) -> _Archive:
        path = self._base / _path(repository)
        with self._lock, _opened(path) as number:
            archive = self._archives.get(path)
            if archive is None or archive.version != _version(number):
                archive = self._archives[path] = _scan(path, number)
            return archive


class _Version(NamedTuple):
    """What differs when a file was replaced or written to."""

    device: int
    inode: int
    size: int
    written: int


@dataclass(frozen=True)
class _Archive:
    """Implements `bundler.adapters.layout.reader.LayoutFiles`."""

    path: Path
    version: _Version
    extents: Mapping[str, Extent]

    @property
    def damage(self) -> type[BundlerError]:
        return VerificationFailed

    def where(self, name: str) -> str:
        return f"{self.path}: {name}"

    def document(self, name: str) -> bytes | None:
        extent = self.extents.get(name)
        if extent is None:
            if name == "index.json":
                raise VerificationFailed(f"{self.path} is no OCI image layout: it has no {name}")
            return None
        if extent.size > MAX_DOCUMENT_BYTES:
            raise VerificationFailed(f"{self.where(name)} has more than {MAX_DOCUMENT_BYTES} bytes")
        return b"".join(self._pieces(extent))

    def size(self, digest: Digest) -> int:
        return self._extent(digest).size

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        yield from self._pieces(self._extent(digest))

    def _extent(self, digest: Digest) -> Extent:
        extent = self.extents.get(blob_name(digest))
        if extent is None:
            raise NotFound(f"{self.where(blob_name(digest))} is not there")
        return extent

    def _pieces(self, extent: Extent) -> Iterator[bytes]:
        position, end = extent.offset, extent.offset + extent.size
        with _opened(self.path) as number:
            if _version(number) != self.version:
                raise VerificationFailed(f"{self.path} was changed while it was read")
            while position < end:
                with _reading(self.path):
                    piece = os.pread(number, min(PIECE_BYTES, end - position), position)
                if not piece:
                    raise VerificationFailed(f"{self.path} is cut off at byte {position}")
                yield piece
                position += len(piece)


def _scan(path: Path, number: int) -> _Archive:
    version = _version(number)
    try:
        with _reading(path):
            return _Archive(path, version, find_files(number))
    except InvalidTar as error:
        raise VerificationFailed(f"{path} is refused: {error}", hint=error.hint) from error


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    with _reading(path):
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise UsageError(f"{path} is not a regular file", hint="name an OCI image layout tar")
        yield number
    finally:
        os.close(number)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"{path} is not there", hint="check the name of the file") from error
    except OSError as error:
        raise CouldNotCheck(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _version(number: int) -> _Version:
    status = os.fstat(number)
    return _Version(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _path(repository: Repository) -> str:
    if repository.scheme != "ocitar":
        raise UsageError(f"{repository} is not a tar file (ocitar://PATH)")
    return repository.path


# --- writing ------------------------------------------------------------------------------------


class OciTarWriter:
    """Implements `bundler.ports.ContentWriter` for one tar file, which appears when `with` ends.

    Content is collected in a folder beside the file, in whatever order and by however many threads
    it comes, and put into the tar in the order of the digests: so the same content has the same
    bytes. What is in the tar is removed from the folder, so that the space needed is that of the
    tar and its largest blob. Where `with` ends by an error, nothing is left; what a killed process
    left is removed by the next one that writes the file.
    """

    def __init__(self, file: Path, overwrite: bool = False) -> None:
        """A file that is there already is a UsageError of `with`, unless `overwrite` is wanted."""
        self._file = file
        self._overwrite = overwrite
        self._folder: Path | None = None
        self._lock: int | None = None
        self._layout: OciLayout | None = None

    def __enter__(self) -> OciTarWriter:
        with writing(self._file):
            if os.path.lexists(self._file) and not self._overwrite:
                raise _exists(self._file)
            _remove_abandoned(self._file)
            try:
                self._begin()
            except BaseException:
                self._clear()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            try:
                self._clear()
            except BaseException:  # interrupted, perhaps for the second time
                self._clear()
                raise

    def _begin(self) -> None:
        """Make a fresh folder, and hold its lock."""
        while self._lock is None:
            folder = self._file.parent / f"{_prefix(self._file)}{secrets.token_hex(4)}"
            self._folder = folder  # before it is there: it is removed whenever we are interrupted
            folder.mkdir(0o700)
            number = _lock(folder)
            if number is not None and os.fstat(number).st_nlink:
                self._lock = number
            elif number is not None:  # another process took it for abandoned meanwhile
                os.close(number)
        self._layout = OciLayout(folder, durable=False)

    def _clear(self) -> None:
        self._layout = None
        if self._folder is not None:
            _remove(self._folder)
        if self._lock is not None:
            number, self._lock = self._lock, None
            os.close(number)

    def has(self, repository: Repository, descriptor: Descriptor) -> bool:
        return self._collected(repository).has(_PLACE, descriptor)

    def put_blob(
        self,
        repository: Repository,
        descriptor: Descriptor,
        pieces: Callable[[], Iterator[bytes]],
        near: Repository | None = None,  # noqa: ARG002  a tar has no neighbours
        *,
        is_absent: bool = False,
    ) -> None:
        with self._told():
            self._collected(repository).put_blob(_PLACE, descriptor, pieces, is_absent=is_absent)

    def put_manifest(self, repository: Repository, manifest: Blob, tag: str | None = None) -> None:
        with self._told():
            self._collected(repository).put_manifest(_PLACE, manifest, tag)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell of the file what is the matter with the folder beside it."""
        try:
            yield
        except UsageError as error:
            ours = error.message.startswith(f"{self._folder}{os.sep}")
            if ours and isinstance(error.__cause__, OSError):
                with writing(self._file):
                    raise error.__cause__ from None
            raise

    def _collected(self, repository: Repository) -> OciLayout:
        _path(repository)
        if self._layout is None:
            raise RuntimeError("a tar is written to inside of `with`")
        return self._layout

    def _finish(self) -> None:
        assert self._folder is not None  # noqa: S101  between __enter__ and __exit__
        collected = self._folder / _PLACE.path
        LayoutFolder(collected, durable=False).initialise()
        index = self._collected(_TAR).settled_index(_PLACE).as_bytes()
        temporary = self._folder / "tar"
        with writing(self._file):
            with temporary.open("xb") as target:
                _write_layout(collected, index, target)
                target.flush()
                os.fsync(target.fileno())
            if self._overwrite:
                temporary.replace(self._file)
            else:
                _put_where_nothing_is(temporary, self._file)
            sync_folder(self._file.parent)


_TAR = Repository("ocitar", "")
_PLACE = Repository("ocidir", "layout")


def _exists(file: Path) -> UsageError:
    return UsageError(f"{file} is there already", hint="name another file, or remove this one")


def _prefix(file: Path) -> str:
    return f".{file.name[:100]}.incomplete-"


def _remove_abandoned(file: Path) -> None:
    """Remove the folders of writers of this file that were killed: nobody holds their locks."""
    prefix = _prefix(file)
    for folder in [path for path in file.parent.iterdir() if path.name.startswith(prefix)]:
        number = _lock(folder)
        if number is not None:
            _remove(folder)
            os.close(number)


def _lock(folder: Path) -> int | None:
    """Open a folder and lock it; None where another process has it, or it is not there."""
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(number)
        return None
    return number


def _remove(folder: Path) -> None:
    """Remove a folder that threads, which an interruption did not wait for, may still write to."""
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def _put_where_nothing_is(temporary: Path, file: Path) -> None:
    try:
        os.link(temporary, file)
    except FileExistsError as error:
        raise _exists(file) from error
    except OSError as error:  # a file system without links
        if os.path.lexists(file):
            raise _exists(file) from error
        temporary.rename(file)


def _write_layout(collected: Path, index: bytes, target: IO[bytes]) -> None:
    """Everything in one order, with fixed modes, owners and times; the index last."""
    if len(index) > MAX_DOCUMENT_BYTES:
        raise UsageError(f"the index of {len(index)} bytes is too large", hint="save fewer images")
    _add_bytes(target, "oci-layout", MARKER)
    for name in ("blobs", "blobs/sha256"):
        target.write(_header(name, 0, tarfile.DIRTYPE))
    for blob in sorted((collected / "blobs" / "sha256").iterdir()):
        with blob.open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            target.write(_header(f"blobs/sha256/{blob.name}", size))
            shutil.copyfileobj(source, target, PIECE_BYTES)
            target.write(bytes(-size % tarfile.BLOCKSIZE))
        blob.unlink()
    _add_bytes(target, "index.json", index)
    target.write(bytes(2 * tarfile.BLOCKSIZE))


def _add_bytes(target: IO[bytes], name: str, content: bytes) -> None:
    target.write(_header(name, len(content)))
    target.write(content + bytes(-len(content) % tarfile.BLOCKSIZE))


def _header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    entry.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return entry.tobuf(tarfile.USTAR_FORMAT if size < _USTAR_LIMIT else tarfile.GNU_FORMAT)
