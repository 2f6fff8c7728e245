"""The permissions that applying takes: asked for before anything changes, all at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bundler.deploy.immutable import JOB
from bundler.deploy.policy import KEPT_KINDS, Policy, is_named
from bundler.deploy.readiness import NEVER_WAITED_FOR
from bundler.errors import PermissionRefused
from bundler.model.finding import Finding
from bundler.model.objects import ObjectRef, pod_spec
from bundler.model.revision import TargetState
from bundler.ports import CAUSES, DeployTarget, Need, PermissionReader

if TYPE_CHECKING:
    from bundler.deploy.plan import Wanted

_DEFAULT = Policy()
_APPLY_VERBS = ("get", "create", "patch")
_BY_NAME = ("get", "patch", "delete")
"""What may be allowed for some objects of the whole cluster, and not for all of their kind."""
_STATE_VERBS = ("get", "list", "create", "update", "delete")
_LOCK_VERBS = ("get", "create", "update")


def check(
    wanted: Wanted, stale: Iterable[ObjectRef], to: PermissionReader, policy: Policy
) -> tuple[Finding, ...]:
    """Warnings of what could be told better. Raises PermissionRefused for all that is missing."""
    required, helpful = set(required_needs(wanted, stale, policy)), set(helpful_needs(wanted))
    missing = to.missing(sorted(required | helpful))
    refused = [need for need in missing if need in required]
    if refused:
        raise PermissionRefused(
            f"{wanted.environment}/{wanted.target}: {len(refused)} "
            f"permission{'s are' if len(refused) > 1 else ' is'} missing: {_listed(refused)}",
            hint="nothing was changed; grant them to the account that applies: `bundler role` "
            "writes the role that is enough",
        )
    if not missing:
        return ()
    message = f"causes of failures may stay unknown without permission to {_listed(missing)}"
    place = f"{wanted.environment}/{wanted.target}"
    return (Finding("permission-missing", message, "warning", environment=place),)


def state_of(wanted: Wanted, to: DeployTarget, policy: Policy) -> TargetState:
    """What the target remembers. Who may not look at that is told of all that he may not."""
    try:
        return to.read()
    except PermissionRefused:
        check(wanted, (), to, policy)
        raise


def _listed(needs: Iterable[Need]) -> str:
    return ", ".join(map(str, needs))


def required_needs(
    wanted: Wanted, stale: Iterable[ObjectRef], policy: Policy = _DEFAULT
) -> Iterator[Need]:
    """Without which the release cannot be applied, waited for and recorded."""
    for ref in wanted.objects:
        yield from _needs(_APPLY_VERBS, ref)
        yield from _needs(("list",), ref) if ref.namespace else ()
        if (ref.group, ref.kind) not in NEVER_WAITED_FOR:
            yield from _needs(("list", "watch"), ref)
        if (ref.group, ref.kind) == JOB or is_named(ref, policy.recreate):
            yield from _needs(("delete",), ref)
    for ref in stale if policy.prune else ():
        if (ref.group, ref.kind) not in KEPT_KINDS or is_named(ref, policy.delete):
            yield from _needs(("get", "delete"), ref)
    if wanted.state_namespace:
        for verb in _STATE_VERBS:
            yield Need(verb, "", "ConfigMap", wanted.state_namespace)
        for verb in _LOCK_VERBS:
            yield Need(verb, "coordination.k8s.io", "Lease", wanted.state_namespace)


def helpful_needs(wanted: Wanted) -> Iterator[Need]:
    """Without which a failure has no cause but the workload's own words."""
    for namespace in {ref.namespace for ref, obj in wanted.objects.items() if pod_spec(obj)}:
        for group, kind in CAUSES:
            yield Need("list", group, kind, namespace)
            yield Need("watch", group, kind, namespace)


def later_needs(wanted: Wanted) -> Iterator[Need]:
    """What another release, a rollback or an uninstallation may need: to delete what is here."""
    for ref in wanted.objects:
        if (ref.group, ref.kind) not in KEPT_KINDS:
            yield from _needs(("delete",), ref)


def _needs(verbs: Iterable[str], ref: ObjectRef) -> Iterator[Need]:
    for verb in verbs:
        name = ref.name if verb in _BY_NAME and not ref.namespace else ""
        yield Need(verb, ref.group, ref.kind, ref.namespace, name)
