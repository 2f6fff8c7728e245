"""artifact → digest: everything first, the version tag last, a version never changed."""

from __future__ import annotations

from bundler.model.artifact import Artifact
from bundler.model.reference import ArtifactReference, Repository
from bundler.ports import ArtifactWriter


def push(
    writer: ArtifactWriter, repository: Repository, artifact: Artifact, version: str
) -> ArtifactReference:
    """Publish an artifact under a version. Raises VersionExists for other content there."""
    writer.push(repository, artifact)
    writer.tag(repository, artifact, version)
    return ArtifactReference(repository, version, artifact.digest)
