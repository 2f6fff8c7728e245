"""Published bundles as readers see them: manifest and release document, every byte checked.

Shared by publishing (what is there already), applying and looking.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

from bundler.errors import NotFound, TryAgain, UsageError, VerificationFailed
from bundler.manifests import read_json
from bundler.model import artifact as oci
from bundler.model.artifact import Descriptor
from bundler.model.bundle import ReleaseDocument
from bundler.model.lock import ImageLock, ResolvedImage, ResolvedMigrations
from bundler.model.reference import ArtifactReference, Digest, InvalidReference, Repository
from bundler.model.release import SemVer, SourceRevision
from bundler.model.relocation import LockedImages
from bundler.model.sops import SOPS
from bundler.parallel import threads
from bundler.ports import ArtifactReader, DocumentSchemas

KNOWN_REQUIREMENTS = frozenset({SOPS})
"""What a document may demand of its readers beyond this format."""


@dataclass(frozen=True)
class Manifest:
    """The manifest of one of our artifacts."""

    reference: ArtifactReference
    """With the digest, whatever was asked for."""
    config: Descriptor
    content: Descriptor
    """The one tar layer."""
    annotations: Mapping[str, str]

    @property
    def digest(self) -> Digest:
        return cast("Digest", self.reference.digest)


@dataclass(frozen=True)
class Listed:
    """One version of a deploy registry."""

    version: str
    digest: Digest
    created: str
    commit: str

    def as_dict(self) -> dict[str, str]:
        return {
            "version": self.version,
            "digest": str(self.digest),
            "created": self.created,
            "commit": self.commit,
        }


@dataclass(frozen=True)
class Listing:
    """Versions of a deploy registry, newest first."""

    versions: tuple[Listed, ...]
    older: int = 0
    """Tags that were not looked at."""


def find(reader: ArtifactReader, reference: ArtifactReference) -> Manifest:
    """The manifest behind a reference; a tag is resolved to its digest once, here.

    Raises NotFound, VerificationFailed (not ours), Unreachable, CouldNotCheck.
    """
    if reference.tag is None and reference.digest is None:
        reference = only_version(reader, reference.repository)
    found = _manifest(reader, reference)
    if found is None:
        raise NotFound(
            f"{reference}: no such version in the deploy registry",
            hint=_hint(reader, reference),
        )
    digest, content = found
    return parse_manifest(ArtifactReference(reference.repository, reference.tag, digest), content)


def _manifest(reader: ArtifactReader, reference: ArtifactReference) -> tuple[Digest, bytes] | None:
    if reference.digest is None:
        return reader.tagged(reference.repository, str(reference.tag))
    return reference.digest, reader.manifest(reference.repository, reference.digest)


def only_version(reader: ArtifactReader, repository: Repository) -> ArtifactReference:
    """The one bundle of a place that holds no more. Raises NotFound, UsageError (several)."""
    listing = list_versions(reader, repository)
    if not listing.versions:
        raise NotFound(f"{repository} holds no release bundle")
    newest, *others = listing.versions
    if others:
        raise UsageError(
            f"{repository} holds {len(listing.versions)} versions",
            hint=f"add one: {repository.path}:{newest.version}",
        )
    return ArtifactReference(repository, newest.version, newest.digest)


def _hint(reader: ArtifactReader, reference: ArtifactReference) -> str:
    try:
        published = versions(reader.tags(reference.repository))
    except TryAgain:
        published = []  # a registry that does not list
    tag = str(reference.tag)
    near = [each for each in published if each.startswith(f"{tag}.")]
    near = near or get_close_matches(tag, published, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"bundler list --deploy-registry {reference.repository} shows what is published"


def parse_manifest(reference: ArtifactReference, content: bytes) -> Manifest:
    """Raises VerificationFailed for anything but a well-formed artifact of ours."""
    try:
        manifest = read_json(content)
        config_type = _config_type(manifest)
        if config_type is None:
            raise VerificationFailed(
                f"{reference} is not a release bundle",
                hint="it was not made by `bundler publish`",
            )
        if manifest.get("mediaType") != oci.MANIFEST or "manifests" in manifest:
            raise ValueError("not an image manifest")
        config = _descriptor(manifest["config"], config_type, oci.MAX_DOCUMENT_BYTES)
        tars = [x for x in manifest["layers"] if "tar" in str(x.get("mediaType", "")).lower()]
        if len(tars) != 1:
            raise ValueError(f"{len(tars)} tar layers where one is expected")
        layer = _descriptor(tars[0], oci.CONTENT_LAYER, oci.MAX_LAYER_BYTES)
        annotations = manifest.get("annotations", {})
        if not all(isinstance(value, str) for value in annotations.values()):
            raise ValueError("an annotation is no string")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VerificationFailed(f"{reference}: malformed manifest: {error}") from error
    return Manifest(reference, config, layer, annotations)


def _config_type(manifest: Any) -> str | None:
    """The media type that our configuration has in this profile; None for what is not ours."""
    if not isinstance(manifest, dict):
        return None
    if manifest.get("artifactType") == oci.RELEASE_ARTIFACT:
        return oci.RELEASE_CONFIG
    annotations = manifest.get("annotations")
    if isinstance(annotations, dict) and annotations.get(oci.ARTIFACT_TYPE) == oci.RELEASE_ARTIFACT:
        return oci.IMAGE_CONFIG
    return None


def _descriptor(value: Mapping[str, Any], media_type: str, limit: int) -> Descriptor:
    if value["mediaType"] != media_type:
        raise ValueError(f"media type {value['mediaType']!r} where {media_type} is expected")
    size = value["size"]
    if type(size) is not int or not 0 < size <= limit:
        raise ValueError(f"a size of {size!r} where 1 to {limit} bytes are expected")
    if "urls" in value:
        raise ValueError("content that lies elsewhere (`urls`) is not read")
    return Descriptor(media_type, Digest.parse(value["digest"]), size)


def release_document(
    reader: ArtifactReader, manifest: Manifest, schemas: DocumentSchemas
) -> ReleaseDocument:
    """The release document, checked against its schema. Raises VerificationFailed."""
    content = reader.blob(manifest.reference.repository, manifest.config)
    try:
        value = read_json(content)
    except ValueError as error:
        raise VerificationFailed(
            f"{manifest.reference}: malformed release document: {error}"
        ) from error
    findings = schemas.check("release", value)
    if findings:
        raise VerificationFailed(
            f"{manifest.reference}: the release document does not match its schema",
            findings=findings,
        )
    unknown = sorted(set(value["requires"]) - KNOWN_REQUIREMENTS)
    if unknown:
        raise VerificationFailed(
            f"{manifest.reference} requires what this version cannot do: {', '.join(unknown)}",
            hint="install a newer version of release-bundler",
        )
    return ReleaseDocument(content, value)


def image_lock(document: ReleaseDocument, revision: SourceRevision) -> ImageLock:
    """The lock that a published release recorded."""
    value = cast("Mapping[str, Any]", document.value)
    return ImageLock(
        revision,
        {name: _locked(image) for name, image in value["services"].items()},
        {name: library["commit"] for name, library in value["libraries"].items()},
        {name: Digest.parse(image["digest"]) for name, image in value["external"].items()},
    )


def locked_images(reference: ArtifactReference, document: ReleaseDocument) -> LockedImages:
    """The images that a release pins, as names of places. Raises VerificationFailed."""
    try:
        return LockedImages(cast("Mapping[str, Any]", document.value))
    except InvalidReference as error:
        raise VerificationFailed(f"{reference}: malformed release document: {error}") from error


def _locked(image: Mapping[str, Any]) -> ResolvedImage:
    migrations = image.get("migrations")
    return ResolvedImage(
        image["image"],
        image["tag"],
        Digest.parse(image["digest"]),
        image["commit"],
        image["resolvedVia"],
        ResolvedMigrations(
            migrations["treeDigest"], migrations["reversible"], migrations.get("job")
        )
        if migrations
        else None,
    )


def versions(tags: Iterable[str]) -> list[str]:
    """Tags that are versions, newest first; others behind them by name.

    Tags that registries make for referrers (`sha256-…`) are no versions.
    """
    own = [tag for tag in tags if not tag.startswith("sha256-")]
    semantic = [(version, tag) for tag in own if (version := SemVer.parse(tag))]
    newest_first = [tag for _, tag in sorted(semantic, reverse=True)]
    return newest_first + sorted(set(own) - set(newest_first))


def list_versions(
    reader: ArtifactReader,
    repository: Repository,
    limit: int | None = None,
    parallel: int = 16,
) -> Listing:
    """The bundles of a deploy registry, newest version first. Other artifacts are left out.

    With a `limit` only the newest are looked at: a tag list says nothing of what is behind it.
    """

    def look(version: str) -> Listed | None:
        try:
            manifest = find(reader, ArtifactReference(repository, version))
        except (VerificationFailed, NotFound, InvalidReference):
            return None
        annotations = manifest.annotations
        commit = annotations.get(oci.REVISION, "").rpartition(":")[2]
        return Listed(version, manifest.digest, annotations.get(oci.CREATED, ""), commit)

    names = versions(reader.tags(repository))
    listed: list[Listed] = []
    seen = 0
    with threads(parallel) as pool:
        while seen < len(names) and (limit is None or len(listed) < limit):
            count = len(names) if limit is None else limit - len(listed)
            found = pool.map(look, names[seen : seen + count])
            listed += [each for each in found if each is not None]
            seen += count
    return Listing(tuple(listed), max(len(names) - seen, 0))
