"""`bundler load`: what was saved, into a registry."""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import options, output, relocating, wiring
from bundler.errors import UsageError
from bundler.relocate.flow import Wanted, relocate


def load(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE.tar", help="What bundler save wrote; with :VERSION where it has several."
        ),
    ],
    dest: Annotated[
        str,
        typer.Argument(
            metavar="DEST", help="oci://HOST/NAME or ocidir://FOLDER; with :VERSION to rename it."
        ),
    ],
    images_to: relocating.ImagesTo = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Copy a release, with all images and referrers that the file holds, into a registry."""
    to, version = relocating.destination(dest)
    found = wiring.artifact_reference(file, None)
    if found.repository.scheme != "ocitar":
        raise UsageError(f"{file} is no tar file", hint="bundler copy goes between registries")
    registry = wiring.content_registry(plain_http)
    manifest, document, _only = relocating.opened(registry, found, None)
    wanted = Wanted(
        to,
        version,
        images="present",
        images_to=wiring.repository(images_to) if images_to else None,
        referrers=True,
    )
    relocating.show(
        relocate(registry, manifest, document, registry, registry, wanted, relocating.count)
    )
