"""`bundler publish`: from a release tag to a version in the deploy registry."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import options, output, results, wiring, wiring_targets
from bundler.cli.opening import counted, open_release
from bundler.errors import ConfirmationNeeded, UsageError
from bundler.model.finding import Finding
from bundler.model.reference import ArtifactReference
from bundler.publish import flow
from bundler.publish.replacement import Replacing


class OciProfile(StrEnum):
    oci = "oci"
    compat = "compat"


Replace = Annotated[
    bool,
    typer.Option(
        "--replace", help="Give a published version other content; needs a reason, recorded."
    ),
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why it is replaced, for the record.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", envvar="BUNDLER_YES", help="Do not ask.")]


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
    replace: Replace = False,
    reason: Reason = None,
    yes: Yes = False,
    wait_images: options.WaitImages = 0,
    kustomize: options.Kustomize = None,
    helm: options.Helm = None,
    plain_http: options.PlainHttp = False,
    _: options.FindingsFormat = output.Format.text,
) -> None:
    """Resolve, pin, render, validate and push a release tag as one OCI artifact.

    A version that is published already, with the same content, is `unchanged`; with other
    content it is refused, or replaced with --replace.
    """
    replacing = _replacing(replace, reason, yes, dry_run)
    parts = wiring.publishing(
        repo, kustomize, helm, plain_http=plain_http, wait_seconds=wait_images
    )
    opened = open_release(tag, parts)
    if opened is None:
        return
    registry = (
        wiring.repository(deploy_registry) if deploy_registry else opened.project.deploy_registry
    )
    published = flow.publish(
        opened,
        counted(opened, parts),
        registry,
        dry_run=dry_run,
        profile=oci_profile.value,
        replacing=replacing,
    )
    output.show_findings(published.warnings)
    output.show(
        results.published_value(published, dry_run),
        results.published_lines(published),
        published.warnings,
    )


def _replacing(replace: bool, reason: str | None, yes: bool, dry_run: bool) -> Replacing | None:
    """How to replace a version. Raises UsageError, ConfirmationNeeded (nobody can be asked)."""
    if not replace:
        if reason is not None:
            raise UsageError("--reason says why a version is replaced", hint="add --replace")
        return None
    can_ask = sys.stdin.isatty()
    if not (yes or dry_run or can_ask):
        raise ConfirmationNeeded(
            "there is no terminal to ask on",
            hint="--yes replaces without asking, --dry-run only shows",
        )
    if reason is None and not dry_run:
        if not can_ask:
            raise ConfirmationNeeded(
                "why is the version replaced?", hint="--reason TEXT says so; it is recorded"
            )
        reason = typer.prompt("Why is the version replaced?", err=True)

    def agreed(there: ArtifactReference, differences: Sequence[Finding]) -> bool:
        output.note(f"{there} is published with other content:")
        output.show_findings(dataclasses.replace(each, severity="warning") for each in differences)
        return dry_run or yes or typer.confirm("Replace it?", err=True)

    return wiring_targets.replacing(options.one_line(reason) if reason is not None else "", agreed)
