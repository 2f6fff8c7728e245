"""`bundler copy`: a published release, and its images, to another registry."""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import options, output, relocating, wiring
from bundler.relocate.flow import Wanted, relocate


def copy(
    reference: options.ReferenceArgument,
    dest: Annotated[
        str,
        typer.Argument(
            metavar="DEST", help="oci://HOST/NAME or ocidir://FOLDER; with :VERSION to rename it."
        ),
    ],
    images: relocating.Images = False,
    environment: relocating.Environment = None,
    images_to: relocating.ImagesTo = None,
    images_from: relocating.ImagesFrom = None,
    images_lookup: relocating.ImagesLookup = None,
    referrers: relocating.Referrers = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be copied and stop.")
    ] = False,
    deploy_registry: options.DeployRegistry = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Copy a release by digest, its version's tag last; what is there is not sent again.

    Nothing in it changes, so apply maps the names of images that were copied: --image-registry.
    """
    to, version = relocating.destination(dest)
    registry = wiring.content_registry(plain_http)
    found = wiring.artifact_reference(reference, deploy_registry)
    manifest, document, only = relocating.opened(registry, found, environment)
    wanted = Wanted(
        to,
        version,
        "all" if images or environment else "none",
        only,
        wiring.repository(images_to) if images_to else None,
        relocating.image_sources(images_from, images_lookup),
        referrers,
        dry_run,
    )
    relocating.show(
        relocate(registry, manifest, document, registry, registry, wanted, relocating.count)
    )
