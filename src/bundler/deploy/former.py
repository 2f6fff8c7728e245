"""The way back, made sure of before the first change, and what bars it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from bundler.deploy.intent import migrations_of
from bundler.deploy.policy import Policy
from bundler.errors import BundlerError, MigrationBarrier, Refused, TryAgain, UsageError
from bundler.model.barriers import Barrier, barriers, ran_after
from bundler.model.bundle import VerifiedBundle
from bundler.model.finding import Finding
from bundler.model.migrations import with_begun
from bundler.model.revision import Revision, TargetState
from bundler.ports import DeployTarget, FormerReleases

_PULLABLE = "publish it there again, or --on-failure halt applies without a way back"


@dataclass(frozen=True)
class WayBack:
    """Where a failure leads to."""

    revision: Revision | None = None
    """The former release; None where there is none."""
    bundle: VerifiedBundle | None = None
    """It, ready to be applied; None where it is not restored."""
    obstacle: str = ""
    """Why there is no way back, known beforehand."""
    warnings: tuple[Finding, ...] = ()


def way_back(
    intended: Revision,
    state: TargetState,
    to: DeployTarget,
    policy: Policy,
    former: FormerReleases | None,
) -> WayBack:
    """Raises Refused, TryAgain or UsageError where the former release has to be restored if the
    coming one fails, and could not be; where it has not to, that is a warning."""
    current = state.current
    if current is None:
        return WayBack(obstacle="no release has succeeded here yet")
    if _is_same(current, intended):
        return WayBack(current, obstacle="it is the same release")
    if former is None:
        return WayBack(current, obstacle="former releases cannot be pulled here")
    if policy.on_failure == "halt":
        found = (*_barriers_ahead(intended, current, policy), *_unavailable(current, former))
        return WayBack(current, warnings=found)
    try:
        pulled = former.pull(current)
        bundle = former.decrypted(pulled, current, to)
    except BundlerError as error:
        kind = type(error) if isinstance(error, Refused | TryAgain | UsageError) else Refused
        raise kind(
            f"{current.tag}, to go back to where this release fails, cannot be had: "
            f"{error.message}",
            hint=error.hint or _PULLABLE,
            findings=error.findings,
        ) from error
    if current.migrations is None:
        recorded = migrations_of(bundle, current.environment, current.target)
        current = replace(current, migrations=recorded)
    return WayBack(current, bundle, warnings=tuple(_barriers_ahead(intended, current, policy)))


def _is_same(one: Revision, other: Revision) -> bool:
    return (one.digest, one.image_registry) == (other.digest, other.image_registry)


def _unavailable(current: Revision, former: FormerReleases) -> tuple[Finding, ...]:
    try:
        former.check(current)
    except BundlerError as error:
        place = f"{current.environment}/{current.target}"
        message = f"{current.tag}, the release there, cannot be pulled any more: {error.message}"
        hint = "should this release fail, there is no way back but another release"
        return (Finding("former-release", message, "warning", environment=place, hint=hint),)
    return ()


def _barriers_ahead(intended: Revision, current: Revision, policy: Policy) -> list[Finding]:
    """What will bar the way back once it has begun."""
    if policy.past_migrations or current.migrations is None or intended.migrations is None:
        return []
    coming = replace(
        intended, migrations=with_begun(intended.migrations, frozenset(intended.migrations))
    )
    place = f"{intended.environment}/{intended.target}"
    return [
        Finding(
            "migration-barrier",
            f"once {each}, has begun, going back to {current.tag} is refused",
            "warning",
            service=each.service,
            environment=place,
        )
        for each in barriers(current.migrations, [coming])
    ]


def foreseen(intended: Revision, state: TargetState, policy: Policy) -> tuple[Finding, ...]:
    """What can be said of barriers without pulling anything, as warnings."""
    if policy.past_migrations:
        return ()
    ahead = _barriers_ahead(intended, state.current, policy) if state.current else []
    behind = _findings(intended, barriers_before(intended, state, None))
    return (*ahead, *(replace(each, severity="warning") for each in behind))


# --- barriers -----------------------------------------------------------------------------------


def barriers_before(
    goal: Revision, state: TargetState, former: FormerReleases | None
) -> tuple[Barrier, ...]:
    """What bars the way from what ran in a target to a release.

    Releases whose migrations were not recorded are pulled. Raises what pulling raises.
    """
    ran = [_known(each, former) for each in ran_after(goal, state)]
    return barriers(_known(goal, former).migrations or {}, ran)


def _known(revision: Revision, former: FormerReleases | None) -> Revision:
    if revision.migrations is not None or former is None:
        return revision
    bundle = former.pull(revision)
    found = migrations_of(bundle, revision.environment, revision.target)
    return replace(revision, migrations=with_begun(found, frozenset(found)))


def refuse(goal: Revision, found: Sequence[Barrier]) -> NoReturn:
    """Raises MigrationBarrier, naming every one."""
    raise MigrationBarrier(
        f"{goal.environment}/{goal.target}: {goal.tag} is behind "
        + ", and ".join(str(each) for each in found),
        hint="publish a release that can work with the data as it is now; --past-migrations goes "
        "back nevertheless and leaves the data as it is",
        findings=_findings(goal, found),
    )


def _findings(goal: Revision, found: Sequence[Barrier]) -> list[Finding]:
    return [
        Finding(
            "migration-barrier",
            f"{goal.tag} is behind {each}",
            service=each.service,
            environment=f"{goal.environment}/{goal.target}",
        )
        for each in found
    ]
