"""Which of the former versions of a Deployment stay, and what stays with them."""

from __future__ import annotations

import pytest

from bundler.deploy.deletions import deletions
from bundler.deploy.policy import Policy
from bundler.deploy.versions import kept_versions
from bundler.model.inventory import Inventory
from bundler.model.objects import WAVE, WEIGHT, ObjectRef
from bundler.model.versions import KEEP_VERSIONS
from bundler.publish.versions import with_versions
from tests.fakes.cluster import FakeCluster
from tests.fakes.releases import OWNED_BY, Object, apply, deployment, job, made, release


def version(image: str, made_at: str, *, available: bool = True, keep: int = 1) -> list[Object]:
    """A Deployment that keeps versions, as published, and as it stands there; its Service."""
    obj = deployment("cart")
    metadata = {**obj["metadata"], "creationTimestamp": made_at}
    metadata["annotations"] = {**metadata["annotations"], KEEP_VERSIONS: str(keep)}
    spec = {
        "selector": {"matchLabels": {"app": "cart"}},
        "template": {
            "metadata": {"labels": {"app": "cart"}},
            "spec": {"containers": [{"name": "main", "image": image}]},
        },
    }
    status = {"conditions": [{"type": "Available", "status": str(available)}]}
    switched = made("v1", "Service", "cart", spec={"selector": {"app": "cart"}})
    versioned = {**obj, "metadata": metadata, "spec": spec, "status": status}
    return [dict(each) for each in with_versions([versioned, switched])]


def kept_of(wanted: list[Object], serving: Object, *former: Object) -> list[str]:
    """The images of the versions that stay when one is wanted while a Service leads elsewhere."""
    live = {ObjectRef.of(obj): obj for obj in (*former, serving)}
    old = sorted(ObjectRef.of(obj) for obj in former)
    recorded = Inventory(dict.fromkeys(old, "uid"))
    found = kept_versions(old, live, {ObjectRef.of(obj): obj for obj in wanted}, recorded)
    return sorted(live[ref]["spec"]["template"]["spec"]["containers"][0]["image"] for ref in found)


@pytest.mark.requirement("D-11")
def test_the_version_that_serves_stays_before_newer_ones() -> None:
    (one, to_one), (two, to_two) = version("cart:1", "2026-01-01"), version("cart:2", "2026-01-02")
    assert kept_of(version("cart:3", ""), to_one, one, two) == ["cart:1"]
    assert kept_of(version("cart:3", ""), to_two, one, two) == ["cart:2"]
    assert kept_of(version("cart:3", "", keep=2), to_one, one, two) == ["cart:1", "cart:2"]


@pytest.mark.requirement("D-11")
def test_a_version_that_is_available_stays_before_a_newer_one_that_is_not() -> None:
    """One that is not for a while, as its node is drained, stays if there is no other."""
    one, _ = version("cart:1", "2026-01-01")
    two, to_two = version("cart:2", "2026-01-02", available=False)
    three, to_three = version("cart:3", "2026-01-03")
    assert kept_of(version("cart:3", "2026-01-03"), to_three, one, two) == ["cart:1"]
    assert kept_of(version("cart:3", "2026-01-03"), to_three, two) == ["cart:2"]
    assert kept_of(version("cart:4", ""), to_two, one, two, three) == ["cart:2"]


@pytest.mark.parametrize("failing", ["search", "smoke-test"])
def test_a_version_of_a_release_that_failed_does_not_stay_also_if_it_served(failing: str) -> None:
    """Beside it a workload fails before its Service is switched, or a Job afterwards."""
    cluster = FakeCluster()
    for name in ("cart:1", "cart:2"):
        former = release(name.replace(":", "-"), version(name, "", keep=2))
        assert apply(cluster, former).error is None
    smoke_test = job("smoke-test", "shop/crashing:1", backoffLimit=0)
    smoke_test["metadata"]["annotations"] |= {WAVE: "afterwards"}
    worse = {"search": deployment("search", "shop/broken:1"), "smoke-test": smoke_test}
    failed = release("v3", [*version("cart:3", "", keep=2), worse[failing]])
    assert apply(cluster, failed).error is not None
    assert apply(cluster, former).error is None
    images = {
        obj["spec"]["template"]["spec"]["containers"][0]["image"]
        for ref, obj in cluster.objects.items()
        if ref.kind == "Deployment"
    }
    assert images == {"cart:1", "cart:2"}


def test_nothing_stays_of_a_deployment_that_keeps_no_versions_any_more() -> None:
    one, to_one = version("cart:1", "2026-01-01")
    assert kept_of([deployment("cart")], to_one, one) == []


def test_what_the_pods_of_a_kept_version_need_stays_with_it() -> None:
    one, to_one = version("cart:1", "2026-01-01")
    pod = one["spec"]["template"]["spec"]
    pod |= {
        "serviceAccountName": "cart",
        "imagePullSecrets": [{"name": "pull"}],
        "volumes": [
            {"configMap": {"name": "files"}},
            {"secret": {"secretName": "keys"}},
            {"persistentVolumeClaim": {"claimName": "data"}},
            {
                "projected": {
                    "sources": [{"configMap": {"name": "more"}}, {"secret": {"name": "tls"}}]
                }
            },
        ],
        "initContainers": [{"envFrom": [{"secretRef": {"name": "first"}}]}],
    }
    pod["containers"][0] |= {
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "env": [
            {"valueFrom": {"configMapKeyRef": {"name": "colour"}}},
            {"valueFrom": {"secretKeyRef": {"name": "token"}}},
            {"value": "plain"},
        ],
    }
    needed = {
        "ServiceAccount": {"cart"},
        "Secret": {"pull", "keys", "tls", "first", "token"},
        "PersistentVolumeClaim": {"data"},
        "ConfigMap": {"files", "more", "settings", "colour"},
    }
    namespace = one["metadata"]["namespace"]
    old = [ObjectRef("", kind, namespace, n) for kind, names in needed.items() for n in names]
    other = ObjectRef("", "ConfigMap", namespace, "other")
    deployed = ObjectRef.of(one)
    live = {deployed: one, ObjectRef.of(to_one): to_one}
    wanted = {ObjectRef.of(obj): obj for obj in version("cart:2", "")}
    recorded = Inventory({deployed: "uid"})
    found = kept_versions([*old, other, deployed], live, wanted, recorded)
    assert found.keys() == {*old, deployed}
    assert found[old[0]] == f"{deployed} needs it"


def test_with_a_version_that_is_to_be_deleted_goes_what_its_pods_need() -> None:
    one, to_one = version("cart:1", "2026-01-01")
    one["spec"]["template"]["spec"]["serviceAccountName"] = "cart"
    one["metadata"]["uid"] = "uid"
    account = made("v1", "ServiceAccount", "cart")
    live = {ObjectRef.of(obj): obj for obj in (one, account, to_one)}
    wanted = {ObjectRef.of(obj): obj for obj in version("cart:2", "")}
    old = [ObjectRef.of(one), ObjectRef.of(account)]
    recorded = Inventory({old[0]: "uid", old[1]: ""})
    for delete in (frozenset[str](), frozenset({f"Deployment/{old[0].name}"})):
        found = deletions(old, live, wanted, recorded, OWNED_BY, Policy(delete=delete))
        assert {change.action for change in found} == {"deleted" if delete else "skipped"}


# --- when Services are switched -----------------------------------------------------------------


def switched(cluster: FakeCluster, *objects: Object) -> list[str]:
    """The names of what an apply has sent, and where it waited."""
    begun = len(cluster.calls)
    result = apply(cluster, release("v2", objects))
    assert result.error is None
    told = ("apply", "delete", "watch")
    return [
        "wait" if method == "watch" else subject
        for method, subject in cluster.calls[begun:]
        if method in told and "bundler." not in subject
    ]


def test_services_are_switched_when_all_is_ready_and_before_what_comes_afterwards() -> None:
    cluster = FakeCluster()
    assert apply(cluster, release("v1", version("cart:1", ""))).error is None
    late = job("smoke-test")
    late["metadata"]["annotations"] |= {WAVE: "afterwards", WEIGHT: "-5"}
    new, to_new = version("cart:2", "")
    order = switched(cluster, new, to_new, late)
    ours = str(ObjectRef.of(new))
    assert order == [ours, "wait", "Service/shop/cart", "wait", "Job/shop/smoke-test", "wait"]


def test_services_are_switched_after_a_version_that_comes_late_itself() -> None:
    cluster = FakeCluster()
    assert apply(cluster, release("v1", version("cart:1", ""))).error is None
    new, to_new = version("cart:2", "")
    new["metadata"]["annotations"] |= {WAVE: "afterwards", WEIGHT: "3"}
    order = switched(cluster, new, to_new)
    assert order == [str(ObjectRef.of(new)), "wait", "Service/shop/cart", "wait"]


def test_a_deployment_that_keeps_no_versions_any_more_is_switched_to_when_it_is_ready() -> None:
    cluster = FakeCluster()
    former, to_former = version("cart:1", "")
    assert apply(cluster, release("v1", [former, to_former])).error is None
    plain = made("v1", "Service", "cart", spec={"selector": {"app": "cart"}})
    order = switched(cluster, deployment("cart"), plain)
    gone = str(ObjectRef.of(former))
    assert order == ["Deployment/shop/cart", "wait", "Service/shop/cart", "wait", gone]
