"""target's history → the revision to go back to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bundler.errors import UsageError
from bundler.model.revision import Revision, TargetState

_SHORT_DIGEST = 12


def before(state: TargetState, place: str) -> Revision:
    """The last release that succeeded before the current one, and is another; where the last
    run did not succeed, the current one. Raises UsageError."""
    current, latest = state.current, state.latest
    if current and latest and latest.status != "succeeded":
        return current
    earlier = [
        each
        for each in _successes(state)
        if current and each.number < current.number and each.digest != current.digest
    ]
    if not earlier:
        raise UsageError(f"{place}: there is no release to go back to", hint=_had(state))
    return earlier[-1]


def named(state: TargetState, text: str, place: str) -> Revision:
    """The newest revision of a version, tag or digest: one that succeeded, if any did.

    Raises UsageError where the history has none, or several contents of one version.
    """
    found = [each for each in _releases(state) if _is_named(each, text)]
    found = [each for each in found if each.status == "succeeded"] or found
    if not found:
        raise UsageError(f"{place} never had {text}", hint=_had(state))
    if len({each.digest for each in found}) > 1:
        raise UsageError(
            f"{place} had {text} with different contents",
            hint=f"name the digest, or --to-revision: {_listed(found)}",
        )
    return found[-1]


def numbered(state: TargetState, number: int, place: str) -> Revision:
    """Raises UsageError where there is no such revision, or it installed nothing."""
    found = [each for each in _releases(state) if each.number == number]
    if not found:
        raise UsageError(f"{place} has no release of revision {number}", hint=_had(state))
    return found[0]


def _is_named(revision: Revision, text: str) -> bool:
    digits = text.removeprefix("sha256:")
    by_digest = len(digits) >= _SHORT_DIGEST and revision.digest.startswith(f"sha256:{digits}")
    return by_digest or text in (revision.version, revision.tag)


def _releases(state: TargetState) -> Sequence[Revision]:
    return [each for each in state.revisions if each.kind != "uninstall"]


def _successes(state: TargetState) -> Sequence[Revision]:
    return [each for each in _releases(state) if each.status == "succeeded"]


def _had(state: TargetState) -> str:
    releases = _releases(state)
    return f"it had {_listed(releases)}" if releases else "nothing was applied there"


def _listed(revisions: Iterable[Revision]) -> str:
    return ", ".join(
        f"{each.tag} ({each.digest.removeprefix('sha256:')[:_SHORT_DIGEST]}, "
        f"revision {each.number}, {each.status})"
        for each in reversed(list(revisions))
    )
