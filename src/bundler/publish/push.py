"""artifact → digest: everything first, the version tag last, a version never changed."""

from __future__ import annotations

from bundler.errors import CouldNotCheck
from bundler.model.artifact import Artifact
from bundler.model.reference import ArtifactReference, Repository
from bundler.ports import ArtifactWriter

REFUSED_TYPES = "MANIFEST_INVALID"
"""What registries with a list of allowed media types answer (distribution-spec, error codes)."""
COMPAT_HINT = "if it takes images only, as GitLab's does: bundler publish --oci-profile compat"


def push(
    writer: ArtifactWriter, repository: Repository, artifact: Artifact, version: str
) -> ArtifactReference:
    """Publish an artifact under a version. Raises VersionExists for other content there."""
    send(writer, repository, artifact)
    writer.tag(repository, artifact, version)
    return ArtifactReference(repository, version, artifact.digest)


def send(writer: ArtifactWriter, repository: Repository, artifact: Artifact) -> None:
    """Push an artifact that no version names yet."""
    try:
        writer.push(repository, artifact)
    except CouldNotCheck as error:
        if REFUSED_TYPES in error.message:
            raise CouldNotCheck(error.message, hint=COMPAT_HINT) from error
        raise
