"""A registry in a folder: OCI image layout v1 (`ocidir://`), shared by any number of processes.

Source: OCI image-spec 1.1, image-layout.md. Every file appears whole or not at all: written aside,
synced, renamed. The index is changed by one process at a time, under a lock on a file beside it,
and what other tools wrote there stays. So a process that is killed leaves a valid layout, with at
most an unused blob or temporary file more.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bundler.errors import (
    CouldNotCheck,
    Locked,
    NotFound,
    UsageError,
    VerificationFailed,
    VersionExists,
)
from bundler.manifests import read_json
from bundler.model.artifact import (
    INDEX,
    MAX_LAYER_BYTES,
    MAX_MANIFEST_BYTES,
    REF_NAME,
    Artifact,
    Blob,
    Descriptor,
)
from bundler.model.reference import Digest, ImageReference, InvalidReference, Repository, is_tag

CONTAINERD_NAME = "io.containerd.image.name"
"""Where containerd, docker and podman put an image's full name."""
LAYOUT_VERSION = "1.0.0"
MAX_INDEX_BYTES = 64 * 1024 * 1024
LOCK_SECONDS = 60.0
ABANDONED_SECONDS = 3600.0
"""A temporary file this old belongs to a process that was killed."""
_TEMPORARY = ".incomplete-"


class OciLayout:
    """Implements `bundler.ports.ArtifactRegistry` for `ocidir://` repositories."""

    def __init__(self, base: Path) -> None:
        """`base` is the folder that relative paths start from."""
        self._base = base

    # --- reading ---

    def resolve(self, repository: Repository, reference: str | Digest) -> Digest | None:
        root = self._root(repository)
        if isinstance(reference, Digest):
            return reference if _has_manifest(root, reference) else None
        return _tagged(root, reference)

    def tags(self, repository: Repository) -> tuple[str, ...]:
        root = self._root(repository)
        found = (tag for entry in _entries(root, _index(root)) for tag in _tags(entry))
        return tuple(dict.fromkeys(found))

    def manifest(self, repository: Repository, digest: Digest) -> bytes:
        path = _blob_path(self._root(repository), digest)
        return _verified(path, digest, _read(path, MAX_MANIFEST_BYTES))

    def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        path = _blob_path(self._root(repository), descriptor.digest)
        if descriptor.size > MAX_LAYER_BYTES:
            raise VerificationFailed(f"{path} is said to have {descriptor.size} bytes: too large")
        content = _verified(path, descriptor.digest, _read(path, descriptor.size))
        if len(content) != descriptor.size:
            raise VerificationFailed(
                f"{path} has {len(content)} bytes where {descriptor.size} are expected"
            )
        return content

    # --- writing ---

    def push(self, repository: Repository, artifact: Artifact) -> None:
        root = self._root(repository)
        with _reported(root):
            _initialise(root)
            for blob in (*artifact.blobs, artifact.manifest):
                _write_blob(root, blob)

    def tag(self, repository: Repository, artifact: Artifact, tag: str) -> None:
        if not is_tag(tag):
            raise UsageError(f"{tag!r} is not a tag of an OCI image")
        root = self._root(repository)
        self.manifest(repository, artifact.digest)
        with _locked(root):
            present = self.resolve(repository, tag)
            if present == artifact.digest:
                return
            if present is not None:
                raise VersionExists(
                    f"{repository}:{tag} is published with other content ({present})"
                )
            descriptor = artifact.manifest.descriptor.as_dict() | {"annotations": {REF_NAME: tag}}
            index = _index(root)
            changed = {**index, "manifests": [*_entries(root, index), descriptor]}
            with _reported(root):
                _replace(root / "index.json", json.dumps(changed, indent=2).encode())
                _remove_abandoned(root)

    def _root(self, repository: Repository) -> Path:
        if repository.scheme != "ocidir":
            raise UsageError(f"{repository} is not a folder (ocidir://PATH)")
        return self._base / repository.path


# --- the index ---


def _index(root: Path) -> Mapping[str, Any]:
    """The parsed index; without manifests where there is no layout yet."""
    path = root / "index.json"
    if not _exists(path):
        return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    layout = _document(root / "oci-layout")
    if layout.get("imageLayoutVersion") != LAYOUT_VERSION:
        raise CouldNotCheck(f"{root} is not an OCI image layout of version {LAYOUT_VERSION}")
    return _document(path)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = read_json(_read(path, MAX_INDEX_BYTES))
    except NotFound as error:
        raise CouldNotCheck(f"{path} is missing: no OCI image layout") from error
    except ValueError as error:
        raise CouldNotCheck(f"{path} is damaged: {error}") from error
    if not isinstance(document, dict):
        raise CouldNotCheck(f"{path} is damaged: not a JSON object")
    return document


def _entries(root: Path, index: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = index.get("manifests")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CouldNotCheck(f"{root / 'index.json'} is damaged: manifests is no list of objects")
    return entries


def _tagged(root: Path, tag: str) -> Digest | None:
    entries = [entry for entry in _entries(root, _index(root)) if tag in _tags(entry)]
    digests = {entry.get("digest") for entry in entries}
    if len(digests) > 1:
        raise CouldNotCheck(
            f"{root / 'index.json'}: {tag!r} names {len(digests)} manifests",
            hint="keep one image per layout, or give each its own tag",
        )
    return _digest_of(root, entries[0]) if entries else None


def _has_manifest(root: Path, digest: Digest) -> bool:
    """Whether there is a manifest or index, one inside of another too. Raises as `manifest`."""
    path = _blob_path(root, digest)
    try:
        content = _verified(path, digest, _read(path, MAX_MANIFEST_BYTES))
    except NotFound:
        return False
    try:
        document = read_json(content)
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("schemaVersion") == 2


def _tags(entry: Mapping[str, Any]) -> Iterator[str]:
    """The tags of an index entry; other tools also write full names there."""
    annotations = entry.get("annotations")
    if not isinstance(annotations, dict):
        return
    for key in (REF_NAME, CONTAINERD_NAME):
        name = annotations.get(key)
        if not isinstance(name, str):
            continue
        if key == REF_NAME and is_tag(name):
            yield name
            return
        with suppress(InvalidReference):
            if tag := ImageReference.parse(name).tag:
                yield tag


def _digest_of(root: Path, entry: Mapping[str, Any]) -> Digest:
    try:
        return Digest.parse(str(entry.get("digest")))
    except InvalidReference as error:
        raise CouldNotCheck(f"{root / 'index.json'}: {error}") from error


# --- files ---


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise CouldNotCheck(f"{where}: {(error.strerror or str(error)).lower()}") from error


def _blob_path(root: Path, digest: Digest) -> Path:
    return root / "blobs" / "sha256" / digest.hex


def _exists(path: Path) -> bool:
    with _reported(path):
        try:
            path.stat()
        except FileNotFoundError:
            return False
    return True


def _read(path: Path, limit: int) -> bytes:
    """A regular file's bytes. Raises NotFound, or VerificationFailed above the limit."""
    with _reported(path):
        try:
            with open(path, "rb", opener=_open_at_once) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise VerificationFailed(f"{path} is not a regular file")
                content = file.read(limit + 1)
        except FileNotFoundError as error:
            raise NotFound(f"{path} is not there") from error
    if len(content) > limit:
        raise VerificationFailed(f"{path} has more than the expected {limit} bytes")
    return content


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the writer of a named pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _verified(path: Path, digest: Digest, content: bytes) -> bytes:
    actual = Digest.of(content)
    if actual != digest:
        raise VerificationFailed(f"{path} is damaged: its content has the digest {actual}")
    return content


def _initialise(root: Path) -> None:
    (root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    marker = root / "oci-layout"
    if not marker.exists():
        _replace(marker, json.dumps({"imageLayoutVersion": LAYOUT_VERSION}).encode())
    with _locked(root):
        if not (root / "index.json").exists():
            _replace(root / "index.json", json.dumps(_index(root), indent=2).encode())


def _write_blob(root: Path, blob: Blob) -> None:
    """Write a blob unless it is there and sound."""
    path = _blob_path(root, blob.descriptor.digest)
    with suppress(NotFound, VerificationFailed):
        _verified(path, blob.descriptor.digest, _read(path, blob.descriptor.size))
        return
    _replace(path, blob.content, temporary_in=root)


def _replace(path: Path, content: bytes, temporary_in: Path | None = None) -> None:
    """Put a whole, synced file in place; blobs/sha256 never holds anything but blobs."""
    temporary = (temporary_in or path.parent) / f"{_TEMPORARY}{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _remove_abandoned(root: Path) -> None:
    for path in root.glob(f"{_TEMPORARY}*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink()


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the layout's lock; a process that dies gives it back. Raises Locked."""
    path = root / ".lock"
    with _reported(path):
        file = path.open("ab")
    with file:
        _acquire(file.fileno(), path)
        yield


def _acquire(number: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        with _reported(path):
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Locked(f"{path} has been locked for {LOCK_SECONDS:.0f} s") from None
            else:
                return
        time.sleep(0.01)
