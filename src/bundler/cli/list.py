"""`bundler list`: what is published."""

from __future__ import annotations

from typing import Annotated

import typer

from bundler import bundles
from bundler.cli import options, output, results, wiring

SHOWN = 50


def list_(
    deploy_registry: options.DeployRegistry = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="How many versions, the newest first.")
    ] = SHOWN,
    everything: Annotated[bool, typer.Option("--all", help="All versions.")] = False,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """List the versions of a deploy registry, newest first."""
    registry = wiring.deploy_registry(deploy_registry)
    reader = wiring.artifact_registry(plain_http)
    listing = bundles.list_versions(reader, registry, None if everything else limit)
    listed = listing.versions
    output.show([version.as_dict() for version in listed], results.listed_lines(registry, listed))
    if listing.older:
        output.note(f"{listing.older} older tags are not shown: --all, or --limit N")
