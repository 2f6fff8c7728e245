"""The beginning of every command that works on a release tag."""

from __future__ import annotations

from dataclasses import replace

from bundler.cli import output, results, wiring
from bundler.publish import flow
from bundler.publish.flow import OpenedRelease, Parts


def open_release(tag: str | None, parts: Parts) -> OpenedRelease | None:
    """The release of a tag; None for a tag that is none, after telling so."""
    opened = flow.open_release(wiring.release_tag(tag), parts)
    if isinstance(opened, flow.Ignored):
        output.show(results.ignored_value(opened), results.ignored_lines(opened))
        return None
    return opened


def counted(opened: OpenedRelease, parts: Parts) -> Parts:
    """Parts that show on a terminal how many services were found."""
    counter = output.Counter("resolved", len(opened.project.services))
    return replace(parts, on_resolved=counter.step)
