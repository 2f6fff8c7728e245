"""`index.json` of an OCI image layout: what has which tag. What other tools wrote there stays.

Source: OCI image-spec 1.1, image-layout.md and annotations.md. Manifests without a tag stand there
too, as referrers and images do that are known by their digest; those of an index stand in it alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bundler.manifests import read_json
from bundler.model.artifact import INDEX, REF_NAME
from bundler.model.reference import Digest, ImageReference, InvalidReference, is_tag

CONTAINERD_NAME = "io.containerd.image.name"
"""Where containerd, docker and podman put an image's full name."""
LAYOUT_VERSION = "1.0.0"
MARKER = json.dumps({"imageLayoutVersion": LAYOUT_VERSION}).encode()
"""The content of the file `oci-layout`."""

MAX_VALUES = 200_000
"""In memory, an object takes many times the three bytes that it has at least."""

Entry = Mapping[str, Any]


class AmbiguousTag(ValueError):
    """A tag that names several manifests."""


@dataclass(frozen=True)
class LayoutIndex:
    document: Mapping[str, Any]

    @classmethod
    def empty(cls) -> LayoutIndex:
        return cls({"schemaVersion": 2, "mediaType": INDEX, "manifests": []})

    @classmethod
    def parse(cls, content: bytes) -> LayoutIndex:
        """Raises ValueError for what no tool writes."""
        if content.count(b"{") + content.count(b"[") > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES} objects and lists")
        document = read_json(content)
        if not isinstance(document, dict):
            raise ValueError("not a JSON object")
        entries = document.get("manifests")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError("manifests is no list of objects")
        return cls(document)

    @property
    def entries(self) -> Sequence[Entry]:
        entries: Sequence[Entry] = self.document["manifests"]
        return entries

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(tag for entry in self.entries for tag in tags_of(entry)))

    def tagged(self, tag: str) -> Entry | None:
        """The entry of a tag. Raises AmbiguousTag."""
        found = {str(entry.get("digest")): entry for entry in self.entries if tag in tags_of(entry)}
        if len(found) > 1:
            raise AmbiguousTag(f"{tag!r} names {len(found)} manifests")
        return next(iter(found.values()), None)

    def named(self, digest: Digest) -> Entry | None:
        """An entry of a manifest, by whatever tag or none."""
        found = (entry for entry in self.entries if entry.get("digest") == str(digest))
        return next(found, None)

    def with_entry(self, entry: Entry) -> LayoutIndex:
        """One entry more, in place of one of the same manifest that says no more than it."""
        others = [
            other
            for other in self.entries
            if not (other.get("digest") == entry["digest"] and is_plain(other))
        ]
        return self._with([*others, entry])

    def without_plain(self, digests: Collection[Digest]) -> LayoutIndex:
        """Without entries of these manifests, except those that have a tag or say more."""
        unwanted = {str(digest) for digest in digests}
        return self._with(
            entry
            for entry in self.entries
            if not (entry.get("digest") in unwanted and is_plain(entry))
        )

    def without_tag(self, tag: str) -> LayoutIndex:
        """Without this tag; what had it stays known by its digest."""
        kept = [entry for entry in self.entries if tag not in tags_of(entry)]
        for entry in self.entries:
            if tag in tags_of(entry):
                left = _without_names(entry)
                is_known = any(other.get("digest") == left.get("digest") for other in kept)
                kept += [] if is_known and is_plain(left) else [left]
        return self._with(kept)

    def in_order(self) -> LayoutIndex:
        """The same entries in an order that does not depend on who wrote first: tags before."""
        return self._with(
            sorted(self.entries, key=lambda entry: (not [*tags_of(entry)], json.dumps(entry)))
        )

    def as_bytes(self) -> bytes:
        return json.dumps(self.document, separators=(",", ":")).encode()

    def _with(self, entries: Any) -> LayoutIndex:
        return LayoutIndex({**self.document, "manifests": list(entries)})


def is_plain(entry: Entry) -> bool:
    """Whether an entry says nothing that its manifest does not say itself."""
    return entry.keys() <= {"mediaType", "digest", "size", "artifactType"}


def _without_names(entry: Entry) -> Entry:
    annotations = entry["annotations"].items()
    left = {key: each for key, each in annotations if key not in (REF_NAME, CONTAINERD_NAME)}
    rest = {key: value for key, value in entry.items() if key != "annotations"}
    return rest | ({"annotations": left} if left else {})


def tags_of(entry: Entry) -> Iterator[str]:
    """The tags of an index entry; other tools also write full names there."""
    annotations = entry.get("annotations")
    if not isinstance(annotations, dict):
        return
    for key in (REF_NAME, CONTAINERD_NAME):
        name = annotations.get(key)
        if not isinstance(name, str):
            continue
        if key == REF_NAME and is_tag(name):
            yield name
            return
        with suppress(InvalidReference):
            if tag := ImageReference.parse(name).tag:
                yield tag
