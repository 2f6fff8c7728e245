"""What has to be so before a release is applied: the right cluster, a fixed version, no step back.

Each guard finds; `guarded_plan` refuses what is an error, and keeps the rest with the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from bundler.deploy.plan import PlanTarget, Wanted, plan_for
from bundler.deploy.policy import Policy
from bundler.errors import PermissionRefused, Refused
from bundler.model.bundle import VerifiedBundle
from bundler.model.changeset import Plan
from bundler.model.connection import Identity
from bundler.model.finding import Finding
from bundler.model.reference import ArtifactReference, Digest
from bundler.model.revision import Revision, TargetState, is_older
from bundler.ports import Identified

_MOVING_TAGS = frozenset({"latest"})
_UNKNOWN_CLUSTER = "an account that may `get` the namespace kube-system could compare"


@dataclass(frozen=True)
class Coming:
    """What the guards need to know of a release that is to be applied."""

    tag: str
    commit_time: str
    digest: Digest
    is_protected: bool
    """Whether the environment is."""
    may_be_empty: bool = True
    """Whether it is meant to leave nothing of what is there, as no release is."""

    @classmethod
    def of(cls, bundle: VerifiedBundle, environment: str) -> Coming:
        release = cast("Mapping[str, Any]", bundle.release.value)
        protected = bool(release["environments"][environment]["protected"])
        return cls(release["tag"], release["commitTime"], bundle.digest, protected, False)


class GuardedTarget(PlanTarget, Identified, Protocol):
    """What planning with guards needs of a target."""


def guarded_plan(
    coming: Coming,
    wanted: Wanted,
    state: TargetState,
    to: GuardedTarget,
    policy: Policy,
    *,
    former: TargetState | None = None,
    is_preview: bool = False,
) -> Plan:
    """The plan of a release, with warnings. Raises Refused for what a guard forbids.

    `former` is the state that it was first planned on; a preview tells a step back, too, which
    an apply refuses.
    """
    place = f"{wanted.environment}/{wanted.target}"
    back = _steps_back(place, coming, state, policy, former)
    if is_preview:
        back = (replace(finding, severity="warning") for finding in back)
    emptied = _emptied(place, coming, wanted, state)
    found = [*_of_cluster(place, state, identity_of(to)), *back, *emptied]
    refuse_errors(found)
    plan = plan_for(wanted, state, to, policy)
    return replace(plan, warnings=(*found, *plan.warnings))


def refuse_errors(findings: Sequence[Finding]) -> None:
    """Raises Refused for those that are errors."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise Refused(str(errors[0]), hint=errors[0].hint, findings=errors)


def _emptied(place: str, coming: Coming, wanted: Wanted, state: TargetState) -> Iterator[Finding]:
    count = len(state.inventory.objects)
    if count and not (wanted.objects or coming.may_be_empty):
        yield Finding(
            "empty-release",
            f"{coming.tag} has no objects for it, and would delete the {count} that are there",
            environment=place,
            hint="see what its overlay or chart renders; no release is meant to remove everything",
        )


# --- the cluster --------------------------------------------------------------------------------


def identity_of(to: Identified) -> Identity | None:
    """Which cluster or folder it is; None where we may not know. Raises Unreachable."""
    try:
        return to.identity()
    except PermissionRefused:
        return None


def cluster_of(to: Identified) -> str | None:
    """UID of the cluster, for the record; None where it is none, or we may not know."""
    identity = identity_of(to)
    return identity.value if identity and identity.kind == "cluster" else None


def _of_cluster(place: str, state: TargetState, identity: Identity | None) -> Iterator[Finding]:
    """Whether the state that stands in a target was recorded there.

    Another cluster's is found in a restored backup, or behind a connection that leads elsewhere.
    """
    recorded = state.cluster
    if identity is None:
        compared = f": it may not be {recorded}, which is recorded" if recorded else ""
        message = f"which cluster it is cannot be read{compared}"
        yield Finding("cluster-unknown", message, "warning", None, environment=place,
                      hint=_UNKNOWN_CLUSTER)  # fmt: skip
    elif identity.kind == "cluster" and recorded and recorded != identity.value:
        yield Finding(
            "other-cluster",
            f"what is recorded there was applied to cluster {recorded}, and this is cluster "
            f"{identity.value}",
            "warning" if identity.is_expected else "error",
            environment=place,
            hint="correct the connection; where a backup was restored on purpose, "
            f"--cluster {identity.value} goes on",
        )


# --- time ---------------------------------------------------------------------------------------


def _steps_back(
    place: str, coming: Coming, state: TargetState, policy: Policy, former: TargetState | None
) -> Iterator[Finding]:
    current = state.current
    if current is None or current.digest == str(coming.digest):
        return
    if current.tag == coming.tag:
        message = (
            f"{coming.tag} is current with another content: {current.digest} would become "
            f"{coming.digest}"
        )
        yield Finding("other-content", message, "warning", environment=place)
    if is_older(coming.tag, coming.commit_time, current):
        yield _step_back(place, coming, current, policy, _is_news(current, former))


def _is_news(current: Revision, former: TargetState | None) -> bool:
    """Whether another release was current when the plan was first made."""
    if former is None:
        return False
    return former.current is None or former.current.digest != current.digest


def _step_back(
    place: str, coming: Coming, current: Revision, policy: Policy, is_overtaken: bool
) -> Finding:
    when = " was applied meanwhile, and" if is_overtaken else ", which is current,"
    is_refused = policy.allow_downgrade is False or (
        policy.allow_downgrade is None and (coming.is_protected or is_overtaken)
    )
    return Finding(
        "downgrade",
        f"{current.tag} of {current.commit_time}{when} is newer than {coming.tag} of "
        f"{coming.commit_time}",
        "error" if is_refused else "warning",
        environment=place,
        hint=_hint_back(is_overtaken) if is_refused else None,
    )


def _hint_back(is_overtaken: bool) -> str:
    if is_overtaken:  # an uninstall or a rollback may be, too
        return "run it again and look at the new plan"
    return "bundler rollback restores what was there; --allow-downgrade applies the older one"


# --- the version --------------------------------------------------------------------------------


def moving_reference(
    asked: ArtifactReference, bundle: VerifiedBundle, environment: str
) -> Finding | None:
    """A finding where a tag was asked for that may be another release tomorrow.

    A version is the tag that the release itself was published under; `latest` never is one.
    """
    release = cast("Mapping[str, Any]", bundle.release.value)
    if asked.digest is not None or asked.tag is None:
        return None
    if asked.tag == release["version"] and asked.tag.lower() not in _MOVING_TAGS:
        return None
    return Finding(
        "moving-reference",
        f"{asked.tag} is no version; it is {release['tag']} ({bundle.digest}) at this moment",
        "error" if release["environments"][environment]["protected"] else "warning",
        environment=environment,
        hint=f"name the version {release['version']}, or @{bundle.digest}",
    )
