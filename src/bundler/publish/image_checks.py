"""What an image must prove before it is taken: its platforms, and the commit in its label.

Sources: OCI image-spec 1.1, "Image Index", "Image Configuration" and "Annotations".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bundler.errors import CouldNotCheck, NotFound
from bundler.manifests import read_json
from bundler.model.artifact import DOCKER_INDEX, INDEX, MAX_DOCUMENT_BYTES, REVISION, Descriptor
from bundler.model.finding import Finding
from bundler.model.project import Policy, RevisionLabel
from bundler.model.reference import Digest, InvalidReference, Repository
from bundler.ports import ArtifactReader

SHORTEST_COMMIT = 7
_ATTESTATION = "vnd.docker.reference.type"


@dataclass(frozen=True)
class Image:
    """What is known of an image: of one platform, or of several."""

    place: Repository
    digest: Digest
    manifest: Mapping[str, Any]

    @property
    def is_index(self) -> bool:
        media_type = self.manifest.get("mediaType")
        return media_type in (INDEX, DOCKER_INDEX) or "manifests" in self.manifest


def read(place: Repository, digest: Digest, images: ArtifactReader) -> Image:
    """Raises CouldNotCheck, also where the registry has not what it named; Unreachable."""
    try:
        content = images.manifest(place, digest)
    except NotFound as error:
        raise CouldNotCheck(
            f"{place} names {digest}, but does not have it",
            hint="the registry contradicts itself: push the image again",
        ) from error
    return Image(place, digest, _mapping(content, f"{place}@{digest}"))


def check(
    image: Image,
    images: ArtifactReader,
    platforms: Sequence[str],
    label: RevisionLabel | None = None,
    commit: str = "",
) -> tuple[Finding, ...]:
    """What is wrong with an image; without `label`, whatever commit it says it is of."""
    findings = list(_check_platforms(image, images, platforms))
    if label is not None and not label.is_ignored:
        findings += _check_revision(image, images, platforms, label, commit)
    return tuple(findings)


def revision(image: Image, images: ArtifactReader) -> str | None:
    """The commit that an image says it was built from."""
    return next(_revisions(image, images, ()), None)


# --- platforms ----------------------------------------------------------------------------------


def _check_platforms(
    image: Image, images: ArtifactReader, platforms: Sequence[str]
) -> Iterator[Finding]:
    if not platforms:
        return
    has = _platforms(image, images)
    missing = [wanted for wanted in platforms if not any(_fits(wanted, one) for one in has)]
    if missing:
        yield Finding(
            "platform-missing",
            f"{image.place}@{image.digest} is for {', '.join(has) or 'no known platform'}, "
            f"not for {', '.join(missing)}",
            hint="build it for all required platforms, or correct `platforms` in bundler.yaml",
        )


def _platforms(image: Image, images: ArtifactReader) -> tuple[str, ...]:
    if image.is_index:
        return tuple(platform for platform, _ in _children(image))
    return (_platform(_config(image, images)),)


def _children(image: Image) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The images of an index with their platforms; not the attestations that builders add."""
    entries: Any = image.manifest.get("manifests")
    for entry in entries if isinstance(entries, list) else [entries]:
        platform: Any = entry.get("platform") if isinstance(entry, dict) else ""
        if not isinstance(platform, dict | None):
            raise CouldNotCheck(
                f"{image.place}@{image.digest} is no image index that is known here"
            )
        if _ATTESTATION not in (entry.get("annotations") or ()):
            yield _platform(platform or {}), entry


def _platform(described: Mapping[str, Any]) -> str:
    steps = (described.get("os"), described.get("architecture"), described.get("variant"))
    return "/".join(str(step) for step in steps if step)


def _fits(wanted: str, has: str) -> bool:
    """`linux/arm64` is found in `linux/arm64/v8`; a wanted variant must be that variant."""
    return f"{has}/".startswith(f"{wanted}/")


# --- the revision label -------------------------------------------------------------------------


def _check_revision(
    image: Image,
    images: ArtifactReader,
    platforms: Sequence[str],
    label: RevisionLabel,
    commit: str,
) -> Iterator[Finding]:
    named = list(dict.fromkeys(_revisions(image, images, platforms)))
    place = f"{image.place}@{image.digest}"
    if not named:
        yield from _finding(
            label.missing,
            "revision-missing",
            f"{place} has no label {REVISION}: nothing proves which commit it is of",
            f"build it with --label {REVISION}=COMMIT",
        )
    for revision_named in named:
        if not _is_commit(revision_named, commit):
            yield from _finding(
                label.mismatch,
                "revision-mismatch",
                f"{place} says that it was built from {revision_named[:64]}, not from {commit}",
                "its tag was put on another image, or its build sets the label wrongly: build "
                "it again from that commit",
            )


def _is_commit(named: str, commit: str) -> bool:
    return len(named) >= SHORTEST_COMMIT and commit.startswith(named.lower())


def _finding(severity: Policy, rule: str, message: str, hint: str) -> Iterator[Finding]:
    if severity != "ignore":
        yield Finding(rule, message, severity, hint=hint)


def _revisions(image: Image, images: ArtifactReader, platforms: Sequence[str]) -> Iterator[str]:
    """What an image, and of an index the required platforms' or the first one's, say."""
    annotated = _text(image.manifest.get("annotations"))
    if annotated:
        yield annotated
    elif image.is_index:
        for entry in _checked_children(image, platforms):
            digest = _descriptor(entry, f"{image.place}@{image.digest}").digest
            child = read(image.place, digest, images)
            if not child.is_index:  # indexes of indexes are not run by anything
                yield from _revisions(child, images, ())
    else:
        labels = _config(image, images).get("config")
        if labelled := _text(labels.get("Labels") if isinstance(labels, dict) else None):
            yield labelled


def _checked_children(image: Image, platforms: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    children = list(_children(image))
    required = [child for has, child in children if any(_fits(wanted, has) for wanted in platforms)]
    return required or [child for _, child in children[:1]]


def _text(labels: object) -> str | None:
    value = labels.get(REVISION) if isinstance(labels, dict) else None
    return value if isinstance(value, str) and value else None


# --- reading ------------------------------------------------------------------------------------


def _config(image: Image, images: ArtifactReader) -> Mapping[str, Any]:
    place = f"{image.place}@{image.digest}"
    descriptor = _descriptor(image.manifest.get("config"), place)
    if descriptor.size > MAX_DOCUMENT_BYTES:
        raise CouldNotCheck(f"{place} has a configuration of {descriptor.size} bytes: too large")
    try:
        content = images.blob(image.place, descriptor)
    except NotFound as error:
        raise CouldNotCheck(
            f"{place} has lost its configuration", hint="push the image again"
        ) from error
    return _mapping(content, place)


def _descriptor(value: object, place: str) -> Descriptor:
    try:
        if isinstance(value, dict) and isinstance(value["size"], int):
            return Descriptor(str(value["mediaType"]), Digest.parse(value["digest"]), value["size"])
    except (KeyError, TypeError, InvalidReference):
        pass
    raise CouldNotCheck(f"{place} is no image manifest that is known here")


def _mapping(content: bytes, place: str) -> Mapping[str, Any]:
    try:
        value = read_json(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise CouldNotCheck(f"{place} holds something that is no JSON object")
    return value
