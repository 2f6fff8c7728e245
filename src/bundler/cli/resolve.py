"""`bundler resolve`: which image each service of a release has, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import explaining, options, output, results, wiring
from bundler.cli.opening import counted, open_release
from bundler.publish import flow


def resolve(
    tag: options.TagArgument = None,
    repo: options.Repo = Path(),
    explain: Annotated[
        str | None,
        typer.Option("--explain", metavar="SERVICE", help="Tell the whole story of one service."),
    ] = None,
    wait_images: options.WaitImages = 0,
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Find the image of every service at a release tag: all of them, or an error."""
    parts = wiring.publishing(repo, plain_http=plain_http, wait_seconds=wait_images)
    opened = open_release(tag, parts)
    if opened is None:
        return
    if explain:
        told = flow.explain_service(opened, parts, explain)
        output.show(explaining.value(told), explaining.lines(told))
        raise typer.Exit(told.error.exit_code if told.error else 0)
    lock = flow.resolve_release(opened, counted(opened, parts), named_externals=True)
    output.show_findings(lock.warnings)
    output.show(results.resolved_value(lock), results.lock_lines(lock))
