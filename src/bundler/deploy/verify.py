"""pulled bytes → verified bundle: what the release document says of them is true.

The objects that are applied are parsed here, once, from the bytes whose digests were compared.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, cast

from bundler.deploy.pull import PulledBundle
from bundler.errors import VerificationFailed
from bundler.manifests import InvalidYaml, read_documents
from bundler.model.artifact import MAX_CONTENT_BYTES, MAX_CONTENT_FILES
from bundler.model.bundle import VerifiedBundle
from bundler.model.finding import Finding
from bundler.model.objects import OWNER, KubernetesObject
from bundler.model.reference import Digest

_BLOCK = 512
_MAX_PATH_BYTES = 240
_MAX_ENTRIES = 4 * MAX_CONTENT_FILES
"""Files, and the folders that they are in."""
_PIECE = 1024 * 1024


class _InvalidTar(ValueError):
    """An archive that `bundler publish` does not write."""


def verify(pulled: PulledBundle) -> VerifiedBundle:
    """Raises VerificationFailed with every difference between the document and the files."""
    reference = pulled.manifest.reference
    release = cast("Mapping[str, Any]", pulled.release.value)
    try:
        content = gunzip(pulled.content)
        if str(Digest.of(content)) != release["content"]["tar"]:
            raise _InvalidTar("not the tar that the release document names")
        files = read_tar(content)
    except (_InvalidTar, zlib.error) as error:
        raise VerificationFailed(f"{reference}: its content is refused: {error}") from error
    findings = list(_file_findings(release, files))
    objects: dict[tuple[str, str], tuple[KubernetesObject, ...]] = {}
    for environment, target, paths in _targets(release):
        try:
            parsed = [obj for path in paths for obj in read_documents(files.get(path, b""))]
        except InvalidYaml as error:
            place = f"{environment}/{target}"
            findings.append(Finding("invalid-yaml", str(error), environment=place))
            continue
        owner = f"{release['project']}/{environment}/{target}"
        findings.extend(_object_findings(owner, parsed))
        objects[environment, target] = tuple(parsed)
    if findings:
        raise VerificationFailed(
            f"{reference}: its content is not what its release document says", findings=findings
        )
    return VerifiedBundle(reference, pulled.manifest.digest, pulled.release, files, objects)


def _targets(release: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    for environment, settings in release["environments"].items():
        for target, described in settings["targets"].items():
            yield environment, target, sorted(described["files"])


def _file_findings(release: Mapping[str, Any], files: Mapping[str, bytes]) -> Iterator[Finding]:
    named = {
        path: digest
        for settings in release["environments"].values()
        for described in settings["targets"].values()
        for path, digest in described["files"].items()
    }
    for path in sorted(named.keys() | files.keys()):
        if path not in files:
            yield Finding("file-missing", "named by the release document, not there", file=path)
        elif path not in named:
            yield Finding("file-unknown", "not named by the release document", file=path)
        elif str(Digest.of(files[path])) != named[path]:
            yield Finding("file-changed", "has another digest", file=path)


def _object_findings(owner: str, objects: list[Any]) -> Iterator[Finding]:
    for obj in objects:
        metadata = obj.get("metadata") if isinstance(obj, Mapping) else None
        if not isinstance(metadata, Mapping) or not (obj.get("kind") and metadata.get("name")):
            yield Finding("not-an-object", "a document that is no Kubernetes object")
        elif (metadata.get("annotations") or {}).get(OWNER) != owner:
            name = f"{obj['kind']}/{metadata['name']}"
            yield Finding("wrong-owner", f"is not annotated as {owner}'s", object=name)


def gunzip(compressed: bytes) -> bytes:
    """One gzip member, all of it and nothing behind it, within bounds.

    It is measured first: what is refused takes no memory.
    """
    size = 0
    for piece in _inflated(compressed):
        size += len(piece)
        if size > MAX_CONTENT_BYTES:
            raise _InvalidTar(f"more than {MAX_CONTENT_BYTES} bytes")
    return b"".join(_inflated(compressed))


def _inflated(compressed: bytes) -> Iterator[bytes]:
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    left = compressed
    while not inflate.eof:
        piece = inflate.decompress(left, _PIECE)
        left = inflate.unconsumed_tail
        if not piece and not left and not inflate.eof:
            raise _InvalidTar("truncated")
        yield piece
    if inflate.unused_data:
        raise _InvalidTar("something follows the archive")


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
                raise _InvalidTar(f"{name!r} stands twice, or there are too many files")
            seen.add(_folded(name))
            files[name] = content[position : position + size]
            if len(files[name]) != size:
                raise _InvalidTar(f"{name!r} is cut off")
        elif kind != b"5" or size:
            raise _InvalidTar(f"{name!r} is neither a file nor a folder")
        if entries > _MAX_ENTRIES:
            raise _InvalidTar(f"more than {_MAX_ENTRIES} entries")
        position += -(-size // _BLOCK) * _BLOCK
    if content[position:].strip(b"\0"):
        raise _InvalidTar("something follows the archive")
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
                raise _InvalidTar(f"{folder!r} is a file and the folder of {path!r}")


def _entry(header: bytes) -> tuple[str, bytes, int]:
    """Name, type and size of a ustar header block."""
    if len(header) != _BLOCK or header[257:262] != b"ustar":
        raise _InvalidTar("not a ustar header")
    checksum = sum(header[:148]) + 8 * 32 + sum(header[156:])
    try:
        if int(header[148:156].strip(b" \0"), 8) != checksum:
            raise _InvalidTar("a header with a wrong checksum")
        digits = header[124:136].strip(b" \0")
        if not digits.isdigit():
            raise ValueError("no number")
        size = int(digits, 8)
        name, prefix = (header[a:b].split(b"\0")[0].decode() for a, b in ((0, 100), (345, 500)))
    except ValueError as error:
        raise _InvalidTar(f"malformed header: {error}") from error
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
        raise _InvalidTar(f"path {path!r} is refused")
