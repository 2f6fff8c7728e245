"""What stays of former versions of Deployments, and what is switched when a new one is ready."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from bundler.deploy.readiness import is_true
from bundler.model.changeset import Change
from bundler.model.inventory import Inventory
from bundler.model.objects import WAVES, KubernetesObject, ObjectRef, Step, pod_spec
from bundler.model.references import claims_of, references
from bundler.model.versions import family_of, selected_version, version_of, versions_to_keep

Objects = Mapping[ObjectRef, KubernetesObject]
_BEFORE_ALL = Step(WAVES.index("afterwards"), -(10**9))
"""No weight that an object can have is lower."""


def is_switched(change: Change) -> bool:
    """Whether it leads to another version from then on, or to what keeps none: that has to be
    ready first."""
    if change.desired is None or change.live is None:
        return False
    return selected_version(change.desired) != selected_version(change.live)


def switch_step(changes: Iterable[Change]) -> Step:
    """When that is done: after the workloads, and before what else comes afterwards."""
    versions = [
        Step.of(each.desired) for each in changes if each.desired and family_of(each.desired)
    ]
    last = max(versions, default=_BEFORE_ALL)
    return max(_BEFORE_ALL, last._replace(weight=last.weight + 1))


def kept_versions(
    old: Collection[ObjectRef], live: Objects, wanted: Objects, recorded: Inventory
) -> Mapping[ObjectRef, str]:
    """Of what is stale, the versions to keep and what their pods need → why.

    The version that serves goes first, then those that are available, the newest of them first.
    What came with no release that succeeded, and so has no UID yet, is no version to go back to.
    """
    # As Services are before they are switched, also those that go.
    serving = {(ref.namespace, selected_version(obj)) for ref, obj in live.items()}

    def rank(ref: ObjectRef) -> tuple[bool, bool, str]:
        obj = live[ref]
        is_serving = (ref.namespace, version_of(obj)) in serving
        made = str(obj["metadata"].get("creationTimestamp") or "")
        return is_serving, _is_available(obj), made

    versions = {
        ref: family_of(live[ref]) for ref in old if ref in live and recorded.objects.get(ref)
    }
    kept: dict[ObjectRef, str] = {}
    for deployment in wanted.values():
        if family := family_of(deployment):
            former = [ref for ref, each in versions.items() if each == family]
            for ref in sorted(former, key=rank, reverse=True)[: versions_to_keep(deployment)]:
                kept[ref] = "a version that is kept ready, to go back to"
    needs = {need: ref for ref in kept for need in _needed(live[ref])}
    return {ref: f"{needs[ref]} needs it" for ref in old if ref in needs} | kept


def _is_available(deployment: KubernetesObject) -> bool:
    """A folder knows nothing of that."""
    status = deployment.get("status")
    return not status or is_true(status, "Available")


def _needed(deployment: KubernetesObject) -> Iterator[ObjectRef]:
    """What pods would not start again without."""
    namespace = ObjectRef.of(deployment).namespace
    found = pod_spec(deployment)
    account = found[1].get("serviceAccountName") if found else None
    if account:
        yield ObjectRef("", "ServiceAccount", namespace, str(account))
    for reference in references(deployment):
        yield ObjectRef("", reference.kind, namespace, reference.name)
    for claim in claims_of(deployment):
        yield ObjectRef("", "PersistentVolumeClaim", namespace, claim)
