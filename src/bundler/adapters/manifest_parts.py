"""What a manifest or index of any artifact names: its parts, its children, its subject.

Sources: OCI image-spec 1.1, manifest.md and image-index.md; Docker's have the same fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bundler.manifests import read_json
from bundler.model.artifact import INDEX, MANIFEST, Descriptor
from bundler.model.reference import Digest


@dataclass(frozen=True)
class ManifestParts:
    media_type: str
    artifact_type: str | None
    subject: Digest | None
    children: tuple[Descriptor, ...]
    """The manifests of an index."""
    blobs: tuple[Descriptor, ...]
    """Config and layers; without those that lie elsewhere (`urls`)."""
    annotations: Mapping[str, str]


def parse_manifest_parts(content: bytes, media_type: str | None = None) -> ManifestParts:
    """Raises ValueError for what is no manifest, is two kinds at once or another than it is said.

    What it does not say of itself, `media_type` does (CVE-2021-41190).
    """
    document = read_json(content)
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise ValueError("not a manifest of schema version 2")
    is_index = "manifests" in document
    if is_index and ("layers" in document or "config" in document):
        raise ValueError("an image and an index at once")
    own_type = document.get("mediaType")
    if own_type is not None and not isinstance(own_type, str):
        raise ValueError("its mediaType is no string")
    if own_type and media_type and own_type != media_type:
        raise ValueError(f"it says it is {own_type!r} where {media_type!r} is expected")
    subject = document.get("subject")
    annotations = document.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise ValueError("its annotations are no object")
    return ManifestParts(
        own_type or media_type or (INDEX if is_index else MANIFEST),
        _artifact_type(document),
        _descriptor(subject).digest if subject is not None else None,
        tuple(_descriptor(child) for child in _list(document, "manifests")),
        tuple(_blobs(document)),
        {key: value for key, value in annotations.items() if isinstance(value, str)},
    )


def _artifact_type(document: Mapping[str, Any]) -> str | None:
    """As referrers are listed with: the type itself, or that of the config."""
    config = document.get("config")
    named = document.get("artifactType") or (
        config.get("mediaType") if isinstance(config, dict) else None
    )
    return named if isinstance(named, str) else None


def _blobs(document: Mapping[str, Any]) -> Iterator[Descriptor]:
    if "config" in document:
        yield _descriptor(document["config"])
    for layer in _list(document, "layers"):
        descriptor = _descriptor(layer)
        if not layer.get("urls"):
            yield descriptor


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key) or []
    if not isinstance(value, list):
        raise ValueError(f"{key} is no list")
    return value


def _descriptor(value: object) -> Descriptor:
    if not isinstance(value, dict):
        raise ValueError("a descriptor is no object")
    size, media_type = value.get("size"), value.get("mediaType")
    if type(size) is not int or size < 0:
        raise ValueError(f"a descriptor has the size {size!r}")
    if not isinstance(media_type, str):
        raise ValueError(f"a descriptor has the media type {media_type!r}")
    return Descriptor(media_type, Digest.parse(str(value.get("digest"))), size)
