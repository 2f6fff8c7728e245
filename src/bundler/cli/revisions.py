"""Recorded revisions, as values (docs/results.md) and as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bundler.cli.connections import Deployed
from bundler.cli.deployments import counted
from bundler.cli.output import error_value, printable, short, table
from bundler.errors import BundlerError
from bundler.model.revision import Revision, TargetState

_HEADS = (
    "REVISION", "RELEASE", "STATUS", "STARTED", "SECONDS", "DIGEST", "CHANGES", "AUTHENTICATED",
    "CLAIMED", "FROM",
)  # fmt: skip


def history_value(targets: Iterable[Deployed]) -> dict[str, Any]:
    return {
        "targets": [
            {
                "project": each.project,
                "environment": each.environment,
                "target": each.target,
                "revisions": [revision.as_dict() for revision in each.state.revisions],
            }
            for each in targets
        ]
    }


def history_lines(targets: Iterable[Deployed]) -> Iterator[str]:
    targets = tuple(targets)
    if not targets:
        yield "nothing was applied here"
    for each in targets:
        revisions = tuple(reversed(each.state.revisions))
        yield f"{each.project} {each.environment}/{each.target}"
        yield from map(printable, table([_row(revision) for revision in revisions], _HEADS))
        for revision in revisions:
            yield from (f"  revision {revision.number}: {note}" for note in _notes(revision))


def _row(revision: Revision) -> tuple[object, ...]:
    seconds = revision.duration_seconds
    return (
        revision.number,
        revision.tag,
        revision.status,
        revision.started,
        "-" if seconds is None else f"{seconds:.1f}",
        short(revision.digest),
        counted({action: n for action, n in revision.changes.items() if action != "unchanged"}),
        revision.who.authenticated or "-",
        revision.who.claimed or "-",
        revision.reference.partition("@")[0],
    )


def _notes(revision: Revision) -> Iterator[str]:
    if revision.status not in ("pending", "succeeded") and revision.outcome:
        yield printable(revision.outcome)
    if revision.who.job:
        yield printable(f"claimed job: {revision.who.job}")
    if revision.last_checked:
        yield f"applied again without changes, last at {revision.last_checked}"
    yield from remarks(revision)


def unreached_value(errors: Mapping[str, BundlerError]) -> dict[str, Any]:
    """Targets whose connections lead nowhere, by `environment/target`."""
    return {
        "unreached": [
            {"place": place, "error": error_value(error)} for place, error in errors.items()
        ]
    }


def remarks(revision: Revision) -> Iterator[str]:
    """What is not usual about a revision."""
    if revision.title:
        yield printable(revision.title)
    if revision.image_registry:
        yield printable(f"images from {revision.image_registry}")
    if revision.reason:
        yield printable(f"reason: {revision.reason}")


def last_word(revision: Revision) -> str:
    """How a run ended."""
    is_removed = revision.kind == "uninstall" and revision.status == "succeeded"
    return "uninstalled" if is_removed else revision.status


def newer(state: TargetState) -> str | None:
    """What was applied after the current release, and has not succeeded."""
    latest = state.latest
    if latest is None or latest == state.current:
        return None
    done = "uninstalled" if latest.kind == "uninstall" else "applied"
    word = f"is being {done}" if latest.status == "pending" else f"was {done}: {latest.status}"
    return printable(f"{latest.tag} {word} (revision {latest.number})")
