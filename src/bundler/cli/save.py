"""`bundler save`: a published release, and its images, as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import options, output, relocating, wiring
from bundler.errors import UsageError
from bundler.model.reference import Repository
from bundler.relocate.flow import Wanted, relocate


def save(
    reference: options.ReferenceArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE.tar", help="The file to write.")],
    images: relocating.Images = False,
    environment: relocating.Environment = None,
    images_from: relocating.ImagesFrom = None,
    images_lookup: relocating.ImagesLookup = None,
    referrers: relocating.Referrers = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    deploy_registry: options.DeployRegistry = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Save a release as an OCI image layout in a tar, for networks that reach no registry.

    The file is whole or not there. bundler load, apply, inspect and pull read it.
    """
    if file.suffix != ".tar":
        raise UsageError(f"{file} does not end in .tar", hint=f"name it {file}.tar")
    registry = wiring.content_registry(plain_http)
    found = wiring.artifact_reference(reference, deploy_registry)
    manifest, document, only = relocating.opened(registry, found, environment)
    wanted = Wanted(
        Repository("ocitar", str(file)),
        images="all" if images or environment else "none",
        only=only,
        sources=relocating.image_sources(images_from, images_lookup),
        referrers=referrers,
    )
    with wiring.tar_writer(file, overwrite=force) as writer:
        saved = relocate(registry, manifest, document, writer, None, wanted, relocating.count)
    relocating.show(saved)
