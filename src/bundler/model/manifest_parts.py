"""What a manifest or index of any artifact names: its parts, its children, its subject.

Sources: OCI image-spec 1.1, manifest.md and image-index.md; Docker's have the same fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bundler.model.artifact import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Descriptor,
)
from bundler.model.reference import Digest

INDEXES = frozenset({INDEX, DOCKER_INDEX})
IMAGES = frozenset({MANIFEST, DOCKER_MANIFEST})
MANIFESTS = INDEXES | IMAGES


@dataclass(frozen=True)
class ManifestParts:
    media_type: str
    artifact_type: str | None
    subject: Digest | None
    children: tuple[Descriptor, ...]
    """The manifests of an index, each once."""
    blobs: tuple[Descriptor, ...]
    """All else that has to be there: config and layers, but not what lies elsewhere (`urls`)."""
    annotations: Mapping[str, str]
    platforms: tuple[str, ...]
    """Of an index's children, as far as it says."""


def manifest_parts(document: object, media_type: str | None = None) -> ManifestParts:
    """The parts of a manifest that was read as JSON.

    What it does not say of itself, `media_type` does (CVE-2021-41190). Raises ValueError for what
    is no manifest, is two kinds at once or another than it is said.
    """
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise ValueError("not a manifest of schema version 2")
    is_index = "manifests" in document
    if is_index and ("layers" in document or "config" in document):
        raise ValueError("an image and an index at once")
    media_type = _media_type(document, media_type) or (INDEX if is_index else MANIFEST)
    if media_type in (IMAGES if is_index else INDEXES):
        raise ValueError(f"not what its media type {media_type} says")
    named = _unique(_parts(document))
    manifests = MANIFESTS if is_index else frozenset()
    annotations = {} if document.get("annotations") is None else document["annotations"]
    if not isinstance(annotations, dict):
        raise ValueError("its annotations are no object")
    subject = document.get("subject")
    return ManifestParts(
        media_type,
        _artifact_type(document),
        _descriptor(subject).digest if subject is not None else None,
        tuple(each for each in named if each.media_type in manifests),
        tuple(each for each in named if each.media_type not in manifests),
        {key: value for key, value in annotations.items() if isinstance(value, str)},
        tuple(dict.fromkeys(_platforms(document))),
    )


def platform_name(value: object) -> str:
    """`linux/arm64/v8`; empty where nothing, or nothing known, is said."""
    if not isinstance(value, dict):
        return ""
    parts = [value.get(key) for key in ("os", "architecture", "variant")]
    if "unknown" in parts[:2] or not all(isinstance(part, str) and part for part in parts[:2]):
        return ""
    return "/".join(str(part) for part in parts if part)


def _media_type(document: Mapping[str, Any], expected: str | None) -> str | None:
    named = document.get("mediaType")
    if named is not None and not isinstance(named, str):
        raise ValueError("its mediaType is no string")
    if named and expected and named != expected:
        raise ValueError(f"it says it is {named!r} where {expected!r} is expected")
    return named or expected


def _artifact_type(document: Mapping[str, Any]) -> str | None:
    """As referrers are listed with: the type itself, or that of the config."""
    config = document.get("config")
    named = document.get("artifactType") or (
        config.get("mediaType") if isinstance(config, dict) else None
    )
    return named if isinstance(named, str) else None


def _parts(document: Mapping[str, Any]) -> Iterator[Descriptor]:
    if "config" in document:
        yield _descriptor(document["config"])
    for key in ("layers", "manifests"):
        entries = [] if document.get(key) is None else document[key]
        if not isinstance(entries, list):
            raise ValueError(f"{key} is no list")
        for entry in entries:
            descriptor = _descriptor(entry)
            if key == "manifests" or not entry.get("urls"):
                yield descriptor


def _descriptor(value: object) -> Descriptor:
    if not isinstance(value, dict):
        raise ValueError("a descriptor is no object")
    size, media_type = value.get("size"), value.get("mediaType")
    if type(size) is not int or size < 0:
        raise ValueError(f"a descriptor has the size {size!r}")
    if not isinstance(media_type, str) or not media_type:
        raise ValueError(f"a descriptor has the media type {media_type!r}")
    if media_type in MANIFESTS and size > MAX_MANIFEST_BYTES:
        raise ValueError(f"a manifest of {size} bytes: too large")
    return Descriptor(media_type, Digest.parse(str(value.get("digest"))), size)


def _unique(descriptors: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    return tuple({each.digest: each for each in descriptors}.values())


def _platforms(document: Mapping[str, Any]) -> Iterator[str]:
    for entry in document.get("manifests") or ():
        if name := platform_name(entry.get("platform")):
            yield name
