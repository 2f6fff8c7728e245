"""`bundler publish`: from a release tag to a version in the deploy registry."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import options, output, results, wiring
from bundler.cli.opening import counted, open_release
from bundler.publish import flow


class OciProfile(StrEnum):
    oci = "oci"
    compat = "compat"


def publish(
    tag: options.TagArgument = None,
    repo: options.Repo = Path(),
    deploy_registry: options.DeployRegistry = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but push.")] = False,
    oci_profile: Annotated[
        OciProfile,
        typer.Option(
            "--oci-profile",
            envvar="BUNDLER_OCI_PROFILE",
            help="`compat` for registries that take images only, such as GitLab's.",
        ),
    ] = OciProfile.oci,
    wait_images: options.WaitImages = 0,
    kustomize: options.Kustomize = None,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Resolve, pin, render, validate and push a release tag as one OCI artifact.

    A version that is published already, with the same content, is `unchanged`; with other
    content it is refused.
    """
    parts = wiring.publishing(repo, kustomize, plain_http=plain_http, wait_seconds=wait_images)
    opened = open_release(tag, parts)
    if opened is None:
        return
    registry = (
        wiring.repository(deploy_registry) if deploy_registry else opened.project.deploy_registry
    )
    published = flow.publish(
        opened, counted(opened, parts), registry, dry_run=dry_run, profile=oci_profile.value
    )
    output.show_findings(published.warnings)
    output.show(results.published_value(published, dry_run), results.published_lines(published))
