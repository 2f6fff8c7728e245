"""Third-party images → digests: each asked for once, or taken over from a lock."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

from bundler.errors import ImagesMissing
from bundler.model.finding import Finding
from bundler.model.project import Lookup
from bundler.model.reference import Digest, ImageReference
from bundler.ports import ManifestResolver


class ExternalImages:
    """Resolves references as manifests write them; safe to ask from several threads."""

    def __init__(
        self, lookup: Lookup, images: ManifestResolver, known: Mapping[str, Digest]
    ) -> None:
        self._lookup = lookup
        self._images = images
        self._known = dict(known)
        self._lock = Lock()

    def resolve(self, image: ImageReference) -> Digest:
        """Raises ImagesMissing, CouldNotCheck, Unreachable."""
        if image.digest is not None:
            return image.digest
        with self._lock:
            digest = self._known.get(str(image))
            if digest is None:
                digest = self._ask(image)
                self._known[str(image)] = digest
            return digest

    def _ask(self, image: ImageReference) -> Digest:
        place = self._lookup.place(image.name)
        digest = self._images.resolve(place, image.normalized.tag or "latest")
        if digest is None:
            finding = Finding("image-missing", f"external image {image} is not in {place}")
            raise ImagesMissing(
                f"external image {image} does not exist",
                hint="correct the manifest, or say in images.lookup where to ask for it",
                findings=[finding],
            )
        return digest
