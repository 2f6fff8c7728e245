"""`bundler resolve`: which image each service of a release has, and why."""

from __future__ import annotations

from pathlib import Path

from bundler.cli import options, output, results, wiring
from bundler.cli.opening import open_release
from bundler.publish import flow


def resolve(
    tag: options.TagArgument = None,
    repo: options.Repo = Path(),
    plain_http: options.PlainHttp = False,
    _: options.OutputFormat = output.Format.text,
) -> None:
    """Find the image of every service at a release tag: all of them, or an error."""
    parts = wiring.publishing(repo, kustomize=None, plain_http=plain_http, progress=output.note)
    opened = open_release(tag, parts)
    if opened is None:
        return
    counter = output.Counter("resolved", len(opened.project.services))
    lock = flow.resolve_release(opened, parts, counter.step)
    output.show(results.lock_value(lock), results.lock_lines(lock))
