"""A published version is given other content: on purpose, with a reason, and recorded.

The record is a referrer of the new content, so that nothing of who and when is in the release.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bundler.model import artifact as oci
from bundler.model.artifact import Artifact, Blob
from bundler.model.finding import Finding
from bundler.model.reference import ArtifactReference, Digest
from bundler.model.replacement import REPLACEMENT, Replacement
from bundler.model.revision import Who
from bundler.ports import DeployRegistry
from bundler.publish.pack import compact_json
from bundler.publish.published import PublishedRelease
from bundler.publish.push import send


@dataclass(frozen=True)
class Replacing:
    """Who replaces a version and why, and whether he does when he sees what differs."""

    reason: str
    who: Who
    clock: Callable[[], str]
    """The time as RFC 3339."""
    agreed: Callable[[ArtifactReference, Sequence[Finding]], bool]


def replace(
    registry: DeployRegistry,
    existing: PublishedRelease,
    artifact: Artifact,
    replacing: Replacing,
) -> ArtifactReference:
    """Give the version of an existing release to an artifact, if it still has it.

    First the artifact is there, then the record, and last the version moves. What it had stays
    there under its digest, and under a tag of that: registries clear away what has none.
    Raises VersionExists, Refused (it is not as it was), and as `send` does.
    """
    there = existing.manifest.reference
    repository, version = there.repository, str(there.tag)
    record = Replacement(
        existing.value["tag"],
        existing.digest,
        existing.value["commit"],
        replacing.reason,
        replacing.who,
        replacing.clock(),
    )
    send(registry, repository, artifact)
    former = Blob.of(oci.MANIFEST, registry.manifest(repository, existing.digest))
    registry.put_manifest(repository, former, kept_as(existing.digest))
    send(registry, repository, _recorded(record, artifact))
    registry.tag(repository, artifact, version, existing.digest)
    return ArtifactReference(repository, version, artifact.digest)


def kept_as(former: Digest) -> str:
    """The tag of what a version had before; no version begins like this."""
    return f"sha256-{former.hex}.replaced"


def _recorded(record: Replacement, subject: Artifact) -> Artifact:
    """The record in the profile that the bundle has: OCI 1.1, or as an image."""
    document, config_type = record.as_dict(), REPLACEMENT
    kind: dict[str, object] = {"artifactType": REPLACEMENT}
    if subject.config.descriptor.media_type == oci.IMAGE_CONFIG:
        config_type = oci.IMAGE_CONFIG
        kind = {"annotations": {oci.ARTIFACT_TYPE: REPLACEMENT}}
        rootfs = {"type": "layers", "diff_ids": []}
        document |= {"architecture": "unknown", "os": "unknown", "rootfs": rootfs}
    config = Blob.of(config_type, compact_json(document))
    manifest = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        "config": config.descriptor.as_dict(),
        "layers": [],
        "subject": subject.manifest.descriptor.as_dict(),
        **kind,
    }
    return Artifact(Blob.of(oci.MANIFEST, compact_json(manifest)), config, ())
