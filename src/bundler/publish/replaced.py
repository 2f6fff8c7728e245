"""What is recorded of how a version got the content that it has (see `replacement`)."""

from __future__ import annotations

from bundler.errors import NotFound, VerificationFailed
from bundler.manifests import read_json
from bundler.model import artifact as oci
from bundler.model.artifact import Descriptor
from bundler.model.reference import Digest, Repository
from bundler.model.replacement import REPLACEMENT, Replacement
from bundler.parallel import threads
from bundler.ports import ContentReader, DocumentSchemas

MAX_RECORD_BYTES = 64 * 1024
"""Of the record, and of its manifest."""
READS = 8
"""Referrers that are looked at together."""


def replacements(
    reader: ContentReader, repository: Repository, digest: Digest, schemas: DocumentSchemas
) -> tuple[Replacement, ...]:
    """What is recorded of how a version got this content, in the order of time.

    Whatever else refers to it is left out. Raises as `bundler.ports.ContentReader` does.
    """
    referrers = reader.referrers(repository, digest)
    small = [each.digest for each in referrers if each.size <= MAX_RECORD_BYTES]
    with threads(READS) as pool:
        found = pool.map(lambda each: _read(reader, repository, each, schemas), small)
        return tuple(sorted(filter(None, found), key=lambda record: record.when))


def _read(
    reader: ContentReader, repository: Repository, referrer: Digest, schemas: DocumentSchemas
) -> Replacement | None:
    """The record that a referrer is; None for one of another kind, and for what is damaged."""
    try:
        config = _config(reader.manifest(repository, referrer))
        if config is None:
            return None
        value = read_json(reader.blob(repository, config))
        return None if schemas.check("replacement", value) else Replacement.from_dict(value)
    except (NotFound, VerificationFailed, ValueError, KeyError, TypeError, AttributeError):
        return None  # others write there too


def _config(content: bytes) -> Descriptor | None:
    manifest = read_json(content)
    marks = (manifest.get("artifactType"), manifest.get("annotations", {}).get(oci.ARTIFACT_TYPE))
    config = manifest["config"]
    if REPLACEMENT not in marks or not 0 < config["size"] <= MAX_RECORD_BYTES:
        return None
    return Descriptor(config["mediaType"], Digest.parse(config["digest"]), config["size"])
