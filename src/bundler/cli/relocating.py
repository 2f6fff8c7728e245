"""What copy, save and load have in common: options, what is counted, what is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, cast

import typer

from bundler import bundles
from bundler.bundles import Manifest
from bundler.cli import output, wiring
from bundler.cli.output import Counter, short, table
from bundler.deploy.pull import pull
from bundler.deploy.verify import verify
from bundler.errors import UsageError
from bundler.model.bundle import ReleaseDocument
from bundler.model.project import Lookup
from bundler.model.reference import ArtifactReference, ImageReference, InvalidReference, Repository
from bundler.ports import ArtifactReader
from bundler.relocate.copy import Amount
from bundler.relocate.flow import Relocated
from bundler.relocate.images import ImageSources

Images = Annotated[
    bool, typer.Option("--images", help="With every image that the release pins, all platforms.")
]
Referrers = Annotated[
    bool, typer.Option("--referrers", help="With what refers to them: signatures, SBOMs.")
]
Environment = Annotated[
    str | None,
    typer.Option("--env", help="Only the images that this environment uses; implies --images."),
]
ImagesTo = Annotated[
    str | None,
    typer.Option(
        "--images-to",
        envvar="BUNDLER_IMAGES_TO",
        metavar="PLACE",
        help="Where images go: PLACE/<their whole name>; DEST/images by default.",
    ),
]
ImagesFrom = Annotated[
    str | None,
    typer.Option(
        "--images-from",
        envvar="BUNDLER_IMAGES_FROM",
        metavar="PLACE",
        help="Where images were copied to before; their own registries by default.",
    ),
]
ImagesLookup = Annotated[
    list[str] | None,
    typer.Option(
        "--images-lookup",
        metavar="PREFIX=PLACE",
        help="Where to ask for images, as images.lookup in bundler.yaml; may be repeated.",
    ),
]


def image_sources(copied_to: str | None, lookup: list[str] | None) -> ImageSources:
    if copied_to and lookup:
        raise UsageError("--images-from and --images-lookup contradict each other", hint="name one")
    return ImageSources(wiring.repository(copied_to) if copied_to else None, _lookup(lookup or []))


def _lookup(places: Sequence[str]) -> Lookup:
    """Where to ask for images, of `PREFIX=PLACE` each."""
    pairs = [text.partition("=") for text in places]
    wrong = [
        text
        for text, (prefix, _, place) in zip(places, pairs, strict=True)
        if not place or not prefix
    ]
    if wrong:
        raise UsageError(
            f"{wrong[0]!r} is not PREFIX=PLACE",
            hint="such as registry.example.com/shop=oci://mirror/shop",
        )
    return Lookup({prefix: wiring.repository(place) for prefix, _, place in pairs})


def destination(text: str) -> tuple[Repository, str | None]:
    """A repository, and the version to have there if it is said."""
    try:
        reference = ArtifactReference.parse(text)
    except InvalidReference as error:
        raise UsageError(
            str(error),
            hint="a destination is oci://HOST/NAME or ocidir://FOLDER, with or without :VERSION",
        ) from error
    if reference.digest:
        raise UsageError(f"{text}: a destination has no digest", hint="it gets the same by itself")
    if reference.repository.scheme == "ocitar":
        raise UsageError(f"{text} is a file", hint=f"bundler save REF {reference.repository.path}")
    return reference.repository, reference.tag


def opened(
    reader: ArtifactReader, reference: ArtifactReference, environment: str | None
) -> tuple[Manifest, ReleaseDocument, tuple[ImageReference, ...] | None]:
    """A release, verified as far as it is read; the images of an environment if one is named."""
    schemas = wiring.document_schemas()
    if environment is None:
        manifest = bundles.find(reader, reference)
        return manifest, bundles.release_document(reader, manifest, schemas), None
    pulled = pull(reader, reference, schemas)
    bundle = verify(pulled)
    release = cast("dict[str, Any]", bundle.release.value)
    if environment not in release["environments"]:
        raise UsageError(
            f"{release['tag']} has no environment {environment!r}",
            hint=f"it has {', '.join(release['environments'])}",
        )
    objects = [
        obj
        for (name, _), members in bundle.objects.items()
        if name == environment
        for obj in members
    ]
    return (
        pulled.manifest,
        pulled.release,
        bundles.locked_images(bundle.reference, bundle.release).used_by(objects),
    )


def count(what: str, total: int) -> Callable[[str], None]:
    return Counter(f"copied {what}", total).step if total else (lambda _: None)


def show(relocated: Relocated) -> None:
    output.show(relocated.as_dict(), _lines(relocated))


def _lines(relocated: Relocated) -> Iterator[str]:
    rows = [
        (short(each.digest), ", ".join(each.platforms) or "-", each.image.full_name)
        for each in relocated.images
    ]
    if rows:
        yield from table(rows, ("DIGEST", "PLATFORMS", f"IMAGE, IN {relocated.image_place}"))
        yield ""
    is_planned = relocated.status == "planned"
    yield f"{_amount(relocated.copied)} {'to copy' if is_planned else 'copied'}"
    if relocated.skipped != Amount():
        yield f"{_amount(relocated.skipped)} there already"
    outcome = "dry run, nothing was copied" if is_planned else relocated.status
    yield f"{outcome}: {relocated.reference}"
    if relocated.images and relocated.image_place.scheme == "oci":
        yield f"apply it with --image-registry {relocated.image_place.path}"


def _amount(amount: Amount) -> str:
    return f"{amount.blobs} blobs of {_size(amount.bytes)} and {amount.manifests} manifests"


def _size(count: int) -> str:
    """Such as `3.2 MiB`."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min((max(count, 1).bit_length() - 1) // 10, len(units) - 1)
    return f"{count / 1024**power:.1f} {units[power]}" if power else f"{count} B"
