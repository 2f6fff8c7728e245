"""reference → the bytes of a bundle, each checked against the digest that names it."""

from __future__ import annotations

from dataclasses import dataclass

from bundler import bundles
from bundler.bundles import Manifest
from bundler.model.bundle import ReleaseDocument
from bundler.model.reference import ArtifactReference
from bundler.parallel import threads
from bundler.ports import ArtifactReader, DocumentSchemas


@dataclass(frozen=True)
class PulledBundle:
    manifest: Manifest
    release: ReleaseDocument
    content: bytes
    """The gzip-compressed tar, as it is stored."""


def pull(
    reader: ArtifactReader, reference: ArtifactReference, schemas: DocumentSchemas
) -> PulledBundle:
    """Raises NotFound, VerificationFailed, Unreachable, CouldNotCheck."""
    manifest = bundles.find(reader, reference)
    with threads(1) as pool:
        content = pool.submit(reader.blob, manifest.reference.repository, manifest.content)
        document = bundles.release_document(reader, manifest, schemas)
        return PulledBundle(manifest, document, content.result())
