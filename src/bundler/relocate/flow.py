"""reference → the bundle, its images, what refers to them: the same digests at another place.

The version's tag comes last: who sees the version finds all that was to come with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, cast

from bundler.bundles import Manifest, locked_images
from bundler.errors import VersionExists
from bundler.model.bundle import ReleaseDocument
from bundler.model.reference import ArtifactReference, Digest, ImageReference, Repository
from bundler.model.relocation import image_place
from bundler.parallel import threads
from bundler.ports import ContentReader, ContentWriter, ManifestResolver
from bundler.relocate.copy import PARALLEL, Amount, Copied, Root, copy
from bundler.relocate.images import ImageSources, Located, locate, platforms

Status = Literal["copied", "unchanged", "planned"]
Count = Callable[[str, int], Callable[[str], None]]
"""Is told what is copied and how much of it there is; what it returns is called for each."""


@dataclass(frozen=True)
class Wanted:
    """What goes where."""

    to: Repository
    version: str | None = None
    """Its tag there; that of the release by default."""
    images: Literal["none", "all", "present"] = "none"
    """`present`: those that the source has."""
    only: tuple[ImageReference, ...] | None = None
    """These of the release's images."""
    images_to: Repository | None = None
    """Beside the bundle by default."""
    sources: ImageSources = field(default_factory=ImageSources)
    referrers: bool = False
    dry_run: bool = False

    @property
    def image_place(self) -> Repository:
        return self.images_to or image_place(self.to)


@dataclass(frozen=True)
class RelocatedImage:
    image: ImageReference
    """As the bundle names it."""
    source: Repository
    to: Repository
    digest: Digest
    platforms: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        return {
            "image": str(self.image),
            "from": str(self.source),
            "to": str(self.to),
            "digest": str(self.digest),
            "platforms": list(self.platforms),
        }


@dataclass(frozen=True)
class Relocated:
    reference: ArtifactReference
    status: Status
    image_place: Repository
    images: tuple[RelocatedImage, ...]
    copied: Amount
    skipped: Amount

    def as_dict(self) -> dict[str, Any]:
        """As schemas/result-copy.json has it."""
        return {
            "reference": str(self.reference),
            "digest": str(self.reference.digest),
            "status": self.status,
            "imagePlace": str(self.image_place),
            "images": [image.as_dict() for image in self.images],
            "copied": self.copied.as_dict(),
            "skipped": self.skipped.as_dict(),
        }


def relocate(
    source: ContentReader,
    manifest: Manifest,
    document: ReleaseDocument,
    destination: ContentWriter,
    present: ManifestResolver | None,
    wanted: Wanted,
    count: Count = lambda _what, _total: lambda _: None,
) -> Relocated:
    """Copy a release that was read through `bundler.bundles`, images first, its tag last.

    `present` tells what the destination has; None for one that begins empty. Raises VersionExists
    before anything is sent, ImagesMissing for all that are nowhere, and as `copy` does.
    """
    release = cast("Mapping[str, Any]", document.value)
    reference = ArtifactReference(wanted.to, wanted.version or release["version"], manifest.digest)
    root = Root(manifest.reference.repository, manifest.digest, wanted.to, reference.tag)
    copy_all = partial(
        copy, source, destination, referrers=wanted.referrers, dry_run=wanted.dry_run
    )
    with threads(1) as pool:
        published = pool.submit(_is_published, reference, present)
        described: tuple[RelocatedImage, ...] = ()
        images = Copied()
        if wanted.images != "none":
            published.result()
            found = _located(source, manifest, document, wanted)
            roots = [each.root(wanted.image_place) for each in found]
            images = copy_all(roots, on_total=partial(count, "images"))
            described = _described(source, found, roots, images)
        bundle = copy_all(
            [root], on_total=partial(count, "bundle"), before_sending=published.result
        )
        is_there = published.result()
    sent = images.sent + bundle.sent
    status: Status = "unchanged" if is_there and sent == Amount() else "copied"
    return Relocated(
        reference,
        "planned" if wanted.dry_run else status,
        wanted.image_place,
        described,
        sent,
        images.skipped + bundle.skipped,
    )


def _is_published(reference: ArtifactReference, present: ManifestResolver | None) -> bool:
    """Raises VersionExists for other content under the version."""
    if present is None or reference.tag is None:
        return False
    digest = present.resolve(reference.repository, reference.tag)
    if digest not in (None, reference.digest):
        raise VersionExists(
            f"{reference.repository}:{reference.tag} is published with other content ({digest})",
            hint="nothing was copied; a version is never changed: name another, DEST:VERSION",
        )
    return digest is not None


def _located(
    source: ContentReader, manifest: Manifest, document: ReleaseDocument, wanted: Wanted
) -> list[Located]:
    pinned = locked_images(manifest.reference, document)
    images = pinned.all if wanted.only is None else wanted.only
    return locate(
        source,
        images,
        wanted.sources,
        manifest.reference.repository,
        only_present=wanted.images == "present",
    )


def _described(
    source: ContentReader, found: list[Located], roots: list[Root], copied: Copied
) -> tuple[RelocatedImage, ...]:
    with threads(PARALLEL) as pool:
        named = pool.map(
            lambda root, graph: platforms(source, root.source, graph), roots, copied.graphs
        )
        return tuple(
            RelocatedImage(each.image, root.source, root.to, root.digest, runs_on)
            for each, root, runs_on in zip(found, roots, named, strict=True)
        )
