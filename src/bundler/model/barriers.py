"""What bars the way back to a release: migrations that ran after it and are not reversible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bundler.model.migrations import Migrations
from bundler.model.revision import Revision, TargetState, is_older


class Barrier(NamedTuple):
    """A migration that an older release would find its data behind."""

    service: str
    job: str | None
    release: str
    """Tag of the release that it came with."""

    def __str__(self) -> str:
        how = f" (Job {self.job})" if self.job else ""
        return f"{self.service}'s migration of {self.release}{how}, which is not reversible"


def ran_after(goal: Revision, state: TargetState) -> tuple[Revision, ...]:
    """What was applied after a release, or is newer than one that never ran here; oldest first.

    What has been gone back behind since then does not count any more: with it the current
    release lives as well.
    """
    ran = [each for each in state.revisions if each.kind != "uninstall"]
    successes = [r.number for r in ran if r.digest == goal.digest and r.status == "succeeded"]
    current = state.current
    return tuple(
        each
        for each in ran
        if each.digest != goal.digest
        and (each.number > successes[-1] if successes else _is_newer(each, goal))
        and not (current and each.number < current.number and _is_newer(each, current))
    )


def _is_newer(one: Revision, other: Revision) -> bool:
    return is_older(other.tag, other.commit_time, one)


def barriers(wanted: Migrations, ran: Iterable[Revision]) -> tuple[Barrier, ...]:
    """The barriers in front of a release with these migrations, each once.

    `ran` are the revisions that came after it; their migrations must be known.
    """
    found: dict[tuple[str, str], Barrier] = {}
    for revision in ran:
        for service, digest, barrier in _left_by(revision):
            known = wanted.get(service)
            if known is None or known.tree_digest != digest:
                found.setdefault((service, digest), barrier)
    return tuple(found.values())


def _left_by(revision: Revision) -> Iterator[tuple[str, str, Barrier]]:
    for service, each in (revision.migrations or {}).items():
        if each.begun and not each.reversible:
            yield service, each.tree_digest, Barrier(service, each.job, revision.tag)
