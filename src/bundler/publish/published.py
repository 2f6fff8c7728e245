"""What the deploy registry holds already of a version, and how it differs from what we made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from bundler import bundles
from bundler.bundles import Manifest
from bundler.errors import VerificationFailed, VersionExists
from bundler.manifests import read_json
from bundler.model.artifact import Artifact
from bundler.model.bundle import ReleaseDocument, ValidatedBundle
from bundler.model.finding import Finding
from bundler.model.lock import ImageLock
from bundler.model.project import Project
from bundler.model.reference import ArtifactReference, Digest, Repository
from bundler.model.release import SemVer, SourceRevision
from bundler.ports import ArtifactReader, DocumentSchemas

_COMPARED = ("services", "external", "libraries")


@dataclass(frozen=True)
class PublishedRelease:
    manifest: Manifest
    document: ReleaseDocument

    @property
    def digest(self) -> Digest:
        return self.manifest.digest

    @property
    def value(self) -> Mapping[str, Any]:
        return cast("Mapping[str, Any]", self.document.value)


def find(
    reader: ArtifactReader, registry: Repository, version: str, schemas: DocumentSchemas
) -> PublishedRelease | None:
    """The release of a version; None where it is not published yet."""
    digest = reader.resolve(registry, version)
    if digest is None:
        return None
    manifest = bundles.find(reader, ArtifactReference(registry, version, digest))
    return PublishedRelease(manifest, bundles.release_document(reader, manifest, schemas))


def lock(existing: PublishedRelease, revision: SourceRevision) -> ImageLock:
    return bundles.image_lock(existing.document, revision)


def refuse_other_source(
    existing: PublishedRelease, project: Project, revision: SourceRevision
) -> None:
    """Raises VersionExists where the version was published from another commit or project."""
    ours = {"project": project.name, "tag": revision.tag.name, "commit": revision.commit}
    findings = [
        _difference(key, existing.value.get(key), value)
        for key, value in ours.items()
        if existing.value.get(key) != value
    ]
    if findings:
        raise _exists(existing, "from another source", findings)


def refuse_other_content(existing: PublishedRelease, artifact: Artifact) -> None:
    """Raises VersionExists where the lock or the rendered files differ."""
    made = cast("Mapping[str, Any]", read_json(artifact.config.content))
    findings = list(_differences(existing.value, made))
    if findings:
        raise _exists(existing, "with other content", findings)


def _differences(there: Mapping[str, Any], made: Mapping[str, Any]) -> Iterator[Finding]:
    for group in _COMPARED:
        for name in sorted(there[group].keys() | made[group].keys()):
            if there[group].get(name) != made[group].get(name):
                yield _difference(f"{group}/{name}", there[group].get(name), made[group].get(name))
    if there["content"]["tar"] == made["content"]["tar"]:
        return
    before, after = _files(there), _files(made)
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            yield Finding("version-exists", "renders differently now", file=path)
    if there["renderers"] != made["renderers"]:
        yield _difference("renderers", there["renderers"], made["renderers"])


def _files(document: Mapping[str, Any]) -> dict[str, str]:
    return {
        path: digest
        for environment in document["environments"].values()
        for target in environment["targets"].values()
        for path, digest in target["files"].items()
    }


def _difference(what: str, there: object, made: object) -> Finding:
    return Finding("version-exists", f"published with {there!r}, now {made!r}", pointer=f"/{what}")


def _exists(existing: PublishedRelease, how: str, findings: list[Finding]) -> VersionExists:
    return VersionExists(
        f"{existing.manifest.reference} is published {how}; versions never change",
        hint="publish the change under a new tag",
        findings=findings,
    )


def removed_services(
    reader: ArtifactReader,
    registry: Repository,
    bundle: ValidatedBundle,
    schemas: DocumentSchemas,
) -> tuple[str, ...]:
    """Services of the next lower published version that this release has not."""
    revision = bundle.rendered.lock.revision
    own = revision.tag.semver
    if own is None:
        return ()
    lower = (
        version
        for version in bundles.versions(reader.tags(registry))
        if (semver := SemVer.parse(version)) is not None and semver < own
    )
    previous = next(lower, None)
    try:
        found = find(reader, registry, previous, schemas) if previous else None
    except VerificationFailed:
        return ()  # somebody else's artifact in our repository has no services
    if found is None:
        return ()
    return tuple(sorted(found.value["services"].keys() - bundle.rendered.lock.services.keys()))
