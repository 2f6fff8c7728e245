"""Third-party image → digest, asked for where the project's lookup says."""

from __future__ import annotations

from bundler.errors import NotFound
from bundler.model.project import Lookup
from bundler.model.reference import Digest, ImageReference
from bundler.ports import ManifestResolver


def resolve_external(image: ImageReference, lookup: Lookup, images: ManifestResolver) -> Digest:
    """Raises NotFound, CouldNotCheck, Unreachable."""
    place = lookup.place(image.name)
    digest = images.resolve(place, image.normalized.tag or "latest")
    if digest is None:
        raise NotFound(
            f"external image {image} is not in {place}",
            hint="correct the manifest, or say in images.lookup where to ask for it",
        )
    return digest
