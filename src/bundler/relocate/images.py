"""Where the images of a release are, and where they go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bundler.errors import AccessRefused, ImagesMissing
from bundler.manifests import read_json
from bundler.model.artifact import MAX_DOCUMENT_BYTES
from bundler.model.finding import Finding
from bundler.model.manifest_parts import platform_name
from bundler.model.project import Lookup
from bundler.model.reference import Digest, ImageReference, Repository
from bundler.model.relocation import image_place, repository_of
from bundler.parallel import threads
from bundler.ports import ContentReader
from bundler.relocate.copy import PARALLEL, Root
from bundler.relocate.graph import Graph


@dataclass(frozen=True)
class ImageSources:
    """Where images are read: under one place that they were copied to, or where they came from."""

    copied_to: Repository | None = None
    lookup: Lookup = field(default_factory=lambda: Lookup({}))

    def places(self, image: ImageReference, bundles: Repository) -> tuple[Repository, ...]:
        """To be asked in this order: what lies beside the bundle comes before the origin."""
        if bundles.scheme == "ocitar":
            return (bundles,)
        if self.copied_to is not None:
            return (repository_of(self.copied_to, image.name),)
        origin = Repository("oci", image.full_name)
        looked_up = self.lookup.place(image.name)
        if looked_up != origin:
            return (looked_up,)
        return (repository_of(image_place(bundles), image.name), origin)


@dataclass(frozen=True)
class Located:
    """A pinned image and where it was found."""

    image: ImageReference
    source: Repository

    def root(self, place: Repository) -> Root:
        digest = _digest(self.image)
        return Root(self.source, digest, repository_of(place, self.image.name), tag_of(digest))


def tag_of(digest: Digest) -> str:
    """The tag of a copied image: without any, registries clear it away; no other image has it."""
    return f"sha256-{digest.hex}.image"


def locate(
    reader: ContentReader,
    images: Iterable[ImageReference],
    sources: ImageSources,
    bundles: Repository,
    *,
    only_present: bool = False,
) -> list[Located]:
    """Where each image is, by its digest; with `only_present`, of those that are somewhere.

    Raises ImagesMissing for all that are nowhere, and as the reader does.
    """
    wanted = list(images)
    with threads(PARALLEL) as pool:
        places = list(
            pool.map(lambda image: _find(reader, image, sources.places(image, bundles)), wanted)
        )
    found = [Located(image, place) for image, place in zip(wanted, places, strict=True) if place]
    missing = [image for image, place in zip(wanted, places, strict=True) if place is None]
    if missing and not only_present:
        raise ImagesMissing(
            f"{len(missing)} of {len(wanted)} images cannot be found",
            hint="save it with --images"
            if bundles.scheme == "ocitar"
            else "say where they are: --images-from PLACE, or --images-lookup PREFIX=PLACE",
            findings=[_missing(image, sources.places(image, bundles)) for image in missing],
        )
    return found


def _missing(image: ImageReference, places: Sequence[Repository]) -> Finding:
    asked = ", ".join(map(str, places))
    return Finding("image-missing", f"{image} is not in {asked}")


def _find(
    reader: ContentReader, image: ImageReference, places: Sequence[Repository]
) -> Repository | None:
    *guesses, last = places
    for guess in guesses:
        try:
            if reader.resolve(guess, _digest(image)):
                return guess
        except AccessRefused:
            continue  # how many registries answer for a repository that is not there
    return last if reader.resolve(last, _digest(image)) else None


def platforms(reader: ContentReader, source: Repository, graph: Graph) -> tuple[str, ...]:
    """What an image runs on: as its index says, or its configuration."""
    node = graph.nodes[graph.root]
    if node.children or not node.blobs or node.blobs[0].size > MAX_DOCUMENT_BYTES:
        return node.platforms
    try:
        name = platform_name(read_json(reader.blob(source, node.blobs[0])))
    except ValueError:
        return ()
    return (name,) if name else ()


def _digest(image: ImageReference) -> Digest:
    if image.digest is None:
        raise TypeError(f"{image} is not pinned")
    return image.digest
