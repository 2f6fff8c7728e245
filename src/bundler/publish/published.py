"""What the deploy registry holds already of a version, and how it differs from what we made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from bundler import bundles
from bundler.bundles import Manifest
from bundler.errors import VersionExists
from bundler.manifests import read_json
from bundler.model.artifact import Artifact
from bundler.model.bundle import ReleaseDocument, ValidatedBundle
from bundler.model.finding import Finding, json_pointer
from bundler.model.lock import ImageLock
from bundler.model.project import Project
from bundler.model.reference import ArtifactReference, Digest, Repository
from bundler.model.release import SourceRevision
from bundler.ports import ArtifactReader, DocumentSchemas
from bundler.publish.pack import recorded


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
    """Raises VersionExists where the version was made from something else than this commit."""
    findings = _source_differences(existing, project, revision)
    if findings:
        raise _exists(existing, "from another source", findings)


def _source_differences(
    existing: PublishedRelease, project: Project, revision: SourceRevision
) -> list[Finding]:
    there = {key: existing.value[key] for key in ("project", "tag", "commit")}
    ours = {"project": project.name, "tag": revision.tag.name, "commit": revision.commit}
    findings = list(_different(there, ours))
    # A commit has one list of services: with another one, somebody else wrote the document.
    findings += _different(
        dict.fromkeys(existing.value["services"], "a service"),
        dict.fromkeys(project.services, "a service"),
        "services",
    )
    return findings


def refuse_other_content(
    existing: PublishedRelease, bundle: ValidatedBundle, artifact: Artifact
) -> None:
    """Raises VersionExists where the lock or the rendered files differ."""
    findings = _content_differences(existing, bundle, artifact)
    if findings:
        raise _exists(existing, "with other content", findings)


def differences(
    existing: PublishedRelease, project: Project, bundle: ValidatedBundle, artifact: Artifact
) -> list[Finding]:
    """All in which a version differs from what would be published under it now."""
    source = _source_differences(existing, project, bundle.rendered.lock.revision)
    return source + _content_differences(existing, bundle, artifact)


def _content_differences(
    existing: PublishedRelease, bundle: ValidatedBundle, artifact: Artifact
) -> list[Finding]:
    made = cast("Mapping[str, Any]", read_json(artifact.config.content))
    ours = bundle.rendered.lock
    # Of what is there we compare what we know: a newer version may have recorded more.
    findings = list(_different(recorded(lock(existing, ours.revision)), recorded(ours)))
    return findings + list(_rendered_differences(existing.value, made))


def _rendered_differences(there: Mapping[str, Any], made: Mapping[str, Any]) -> Iterator[Finding]:
    if there["content"]["tar"] == made["content"]["tar"]:
        return
    before, after = _files(there), _files(made)
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            yield Finding("version-exists", "renders differently now", file=path)
    yield from _different(there["renderers"], made["renderers"], "renderers")


def _files(document: Mapping[str, Any]) -> dict[str, str]:
    return {
        path: digest
        for environment in document["environments"].values()
        for target in environment["targets"].values()
        for path, digest in target["files"].items()
    }


def _different(there: object, made: object, *steps: str) -> Iterator[Finding]:
    """Every value that differs, with its place in the release document."""
    if isinstance(there, Mapping) and isinstance(made, Mapping):
        for key in sorted(there.keys() | made.keys()):
            yield from _different(there.get(key), made.get(key), *steps, key)
    elif there != made:
        before, now = ("nothing" if value is None else value for value in (there, made))
        message = f"published with {before}, now {now}"
        yield Finding("version-exists", message, pointer=json_pointer(*steps))


def _exists(existing: PublishedRelease, how: str, findings: list[Finding]) -> VersionExists:
    return VersionExists(
        f"{existing.manifest.reference} is published {how}; versions never change",
        hint="publish the change under a new tag, or this version with other content: "
        'bundler publish --replace --reason "…"',
        findings=findings,
    )
