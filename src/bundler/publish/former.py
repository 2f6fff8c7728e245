"""The release before: its services, and those of its objects that are not the same now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bundler import bundles
from bundler.archives import InvalidArchive, gunzip, read_tar
from bundler.errors import VerificationFailed
from bundler.manifests import InvalidYaml, read_documents
from bundler.model.objects import KubernetesObject
from bundler.model.reference import Repository
from bundler.model.release import ReleaseTag, SemVer
from bundler.ports import ArtifactReader, DocumentSchemas
from bundler.publish import published
from bundler.publish.published import PublishedRelease

_START = b"---\n"


def find(
    reader: ArtifactReader, registry: Repository, tag: ReleaseTag, schemas: DocumentSchemas
) -> PublishedRelease | None:
    """The next lower published version. Raises CouldNotCheck, Unreachable."""
    own = tag.semver
    if own is None:
        return None
    lower = (
        version
        for version in bundles.versions(reader.tags(registry))
        if (semver := SemVer.parse(version)) is not None and semver < own
    )
    version = next(lower, None)
    try:
        return published.find(reader, registry, version, schemas) if version else None
    except VerificationFailed:
        return None  # somebody else's artifact in our repository is no release


def changed_objects(
    reader: ArtifactReader, release: PublishedRelease, files: Mapping[str, bytes]
) -> Mapping[str, Sequence[KubernetesObject]]:
    """`environment/target` → the release's objects that are not in `files`, byte for byte.

    Most objects of two releases are the same: only the others are parsed. A release whose content
    cannot be read has none: whoever applies it is told so. Raises CouldNotCheck, Unreachable.
    """
    content = reader.blob(release.manifest.reference.repository, release.manifest.content)
    try:
        before = read_tar(gunzip(content))
    except (InvalidArchive, ValueError):
        return {}
    changed: dict[str, list[KubernetesObject]] = {}
    for path, text in before.items():
        place = path.rpartition("/")[0]
        now = set(_documents(files.get(path, b"")))
        different = b"".join(each for each in _documents(text) if each not in now)
        changed.setdefault(place, []).extend(_objects(different))
    return changed


def _documents(text: bytes) -> list[bytes]:
    """The documents of a file that we wrote, as bytes."""
    return [_START + each for each in text.split(_START)[1:]]


def _objects(text: bytes) -> Iterator[KubernetesObject]:
    try:
        documents = read_documents(text)
    except InvalidYaml:
        return
    yield from (each for each in documents if isinstance(each, Mapping))
