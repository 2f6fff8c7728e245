"""The state and the lock that a cluster keeps, on a real control plane."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bundler.adapters.cluster import state as kubernetes_state
from bundler.adapters.cluster.connection import KubernetesConnection, connect
from bundler.adapters.cluster.kubernetes_cluster import KubernetesCluster
from bundler.adapters.cluster.lease import KubernetesLease
from bundler.adapters.cluster.state import KubernetesState, Place, find_states
from bundler.errors import Locked, PermissionRefused
from bundler.model.inventory import Inventory
from bundler.model.objects import ObjectRef
from bundler.model.revision import Revision, TargetState, Who
from tools.control_plane import ControlPlane
from tools.server_process import wait_until

STEM = "bundler.shop.stage.default"
REVISION = Revision(
    number=1,
    project="shop",
    environment="stage",
    target="default",
    tag="v1.0.0",
    version="v1.0.0",
    commit="a" * 40,
    commit_time="2026-01-02T03:04:05Z",
    digest=f"sha256:{'b' * 64}",
    reference="oci://registry.example.com/deploy/shop:v1.0.0",
    status="pending",
    started="2026-01-02T03:04:05Z",
    changes={"created": 3},
    who=Who("limited", "zoë@laptop", "https://ci.example.com/1"),
)


@pytest.fixture
def connection(control_plane: ControlPlane) -> Iterator[KubernetesConnection]:
    with connect(kubeconfig=control_plane.kubeconfig) as connection:
        yield connection


def target_in(
    connection: KubernetesConnection, namespace: str, *, target: str = "default"
) -> KubernetesCluster:
    return KubernetesCluster(
        connection, project="shop", environment="stage", target=target, namespace=namespace
    )


@pytest.fixture
def cluster(connection: KubernetesConnection, namespace: str) -> KubernetesCluster:
    return target_in(connection, namespace)


def inventory_of(namespace: str, number: int) -> Inventory:
    refs = [ObjectRef("", "ConfigMap", namespace, f"map-{n}") for n in range(number)]
    job = ObjectRef("batch", "Job", namespace, "migrate")
    return Inventory({**{ref: f"uid-{ref.name}" for ref in refs}, job: ""}, {job: "sha256:1"})


# --- state --------------------------------------------------------------------------------------


def test_nothing_was_applied_yet(cluster: KubernetesCluster) -> None:
    assert cluster.read() == TargetState()


@pytest.mark.requirement("B-115")
def test_what_is_written_is_read_by_the_next_run(
    cluster: KubernetesCluster, connection: KubernetesConnection, namespace: str
) -> None:
    inventory = inventory_of(namespace, 3)
    second = replace(REVISION, number=12, status="succeeded", duration_seconds=1.5)
    cluster.write_inventory(inventory)
    cluster.write_revision(second)
    cluster.write_revision(REVISION)
    expected = TargetState(inventory, (REVISION, second))
    assert target_in(connection, namespace).read() == expected
    assert target_in(connection, namespace, target="other").read() == TargetState()

    ended = REVISION.ended("failed", outcome="it broke")
    cluster.write_revision(ended)
    cluster.write_inventory(Inventory())
    assert target_in(connection, namespace).read() == TargetState(Inventory(), (ended, second))
    cluster.drop_revision(1)
    cluster.drop_revision(1)
    assert target_in(connection, namespace).read().revisions == (second,)


def test_an_inventory_of_any_size_is_read_as_a_whole(
    cluster: KubernetesCluster,
    connection: KubernetesConnection,
    control_plane: ControlPlane,
    namespace: str,
) -> None:
    large, larger = inventory_of(namespace, 1500), inventory_of(namespace, 2100)
    for inventory in (large, larger, large):
        cluster.write_inventory(inventory)
        assert target_in(connection, namespace).read().inventory == inventory
    cluster.write_inventory(small := inventory_of(namespace, 2))
    assert target_in(connection, namespace).read().inventory == small
    maps = control_plane.request("GET", f"/api/v1/namespaces/{namespace}/configmaps")
    names = [item["metadata"]["name"] for item in maps["items"]]
    assert [name for name in names if name.startswith("bundler.")] == [STEM], "none is left over"


def test_a_run_that_is_killed_between_two_chunks_leaves_the_old_inventory(
    cluster: KubernetesCluster, connection: KubernetesConnection, namespace: str
) -> None:
    class Killed(BaseException):
        pass

    writes = iter(range(1))

    def one_write() -> None:
        if next(writes, None) is None:
            raise Killed

    old, new = inventory_of(namespace, 1500), inventory_of(namespace, 2100)
    cluster.write_inventory(old)
    dying = KubernetesState(
        connection,
        Place("shop", "stage", "default"),
        namespace=namespace,
        before_write=one_write,
    )
    with pytest.raises(Killed):
        dying.write_inventory(new)
    next_run = target_in(connection, namespace)
    assert next_run.read().inventory == old
    next_run.write_inventory(new)
    assert target_in(connection, namespace).read().inventory == new


def test_a_revision_that_somebody_else_wrote_meanwhile_is_left_alone(
    connection: KubernetesConnection, namespace: str
) -> None:
    one, other = target_in(connection, namespace), target_in(connection, namespace)
    one.read()
    other.read()
    one.write_revision(REVISION)
    with pytest.raises(Locked, match="somebody else"):
        other.write_revision(replace(REVISION, tag="v2.0.0"))
    other.read()
    other.write_revision(REVISION.ended("succeeded"))
    with pytest.raises(Locked, match="somebody else"):
        one.write_revision(REVISION.ended("failed"))
    with pytest.raises(Locked, match="somebody else"):  # in the same words: it is not ours
        one.write_revision(REVISION.ended("succeeded"))


def test_every_target_is_found_from_the_connection_alone(
    connection: KubernetesConnection, namespace: str
) -> None:
    for target in ("us", "eu"):
        cluster = target_in(connection, namespace, target=target)
        cluster.write_revision(replace(REVISION, target=target))
    found = find_states(connection, namespace)
    assert [each[:3] for each in found] == [("shop", "stage", "eu"), ("shop", "stage", "us")]
    assert found[0][3].revisions == (replace(REVISION, target="eu"),)
    everywhere = find_states(connection)
    assert all(each in everywhere for each in found)


def test_who_may_not_look_everywhere_is_told_to_name_a_namespace(
    control_plane: ControlPlane,
) -> None:
    with (
        connect(kubeconfig=control_plane.limited_kubeconfig) as limited,
        pytest.raises(PermissionRefused) as error,
    ):
        find_states(limited)
    assert "--namespace" in (error.value.hint or "")


def test_the_namespace_of_the_state_is_made(
    connection: KubernetesConnection, control_plane: ControlPlane, namespace: str
) -> None:
    new = f"{namespace}-state"
    cluster = KubernetesCluster(
        connection,
        project="shop",
        environment="stage",
        target="default",
        namespace=namespace,
        state_namespace=new,
    )
    try:
        assert cluster.read() == TargetState()
        cluster.prepare()
        cluster.prepare()
        with cluster.held("me"):
            cluster.write_revision(REVISION)
        assert control_plane.has(f"/api/v1/namespaces/{new}/configmaps/{STEM}.v1")
    finally:
        control_plane.request("DELETE", f"/api/v1/namespaces/{new}")


def test_a_namespace_that_we_may_not_make_is_told(
    control_plane: ControlPlane, namespace: str
) -> None:
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    name = f"see-{namespace}"
    rule = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}
    control_plane.request(
        "POST", f"{rbac}/clusterroles", {"metadata": {"name": name}, "rules": [rule]}
    )
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    account = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [account]}
    control_plane.request("POST", f"{rbac}/clusterrolebindings", binding)
    token = control_plane.service_account_token(namespace, "default")
    try:
        with connect(kubeconfig=control_plane.limited_kubeconfig) as limited:
            limited._credentials._token = f"Bearer {token}"
            path = f"/api/v1/namespaces/{namespace}"
            wait_until(lambda: limited.request("GET", path).is_ok, "the binding", [])
            with pytest.raises(PermissionRefused, match="we may not create it"):
                target_in(limited, f"{namespace}-new").prepare()
    finally:
        control_plane.request("DELETE", f"{rbac}/clusterrolebindings/{name}")
        control_plane.request("DELETE", f"{rbac}/clusterroles/{name}")


# --- lock ---------------------------------------------------------------------------------------


@pytest.mark.requirement("B-112")
def test_one_of_two_applies_gets_the_lock_and_the_other_is_told_who_has_it(
    connection: KubernetesConnection, namespace: str
) -> None:
    one, other = target_in(connection, namespace), target_in(connection, namespace)
    with one.held("ci-job-7@runner/41"):
        with pytest.raises(Locked, match=r"locked by ci-job-7@runner/41 since 20"):
            other.held("zoe@laptop/42").__enter__()
        with target_in(connection, namespace, target="eu").held("zoe@laptop/42"):
            pass  # another target has its own lock
    with other.held("zoe@laptop/42"), pytest.raises(Locked, match="zoe@laptop/42"):
        one.held("ci-job-7@runner/43").__enter__()


@pytest.mark.requirement("B-112")
def test_of_many_that_start_at_once_one_gets_the_lock(
    connection: KubernetesConnection, namespace: str
) -> None:
    got: list[str] = []
    start, end = threading.Barrier(6), threading.Barrier(6)

    def run(name: str) -> None:
        lock = target_in(connection, namespace).held(name)
        start.wait()
        try:
            with lock:
                got.append(name)
                end.wait()
        except Locked:
            end.wait()

    threads = [threading.Thread(target=run, args=(f"run-{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_the_lock_is_free_after_an_interrupt(
    connection: KubernetesConnection, namespace: str
) -> None:
    one, other = target_in(connection, namespace), target_in(connection, namespace)
    with pytest.raises(KeyboardInterrupt), one.held("one"):
        raise KeyboardInterrupt
    with other.held("other"):
        pass


def lease(
    connection: KubernetesConnection, namespace: str, *, timeout: float = 0.0, duration: int = 30
) -> KubernetesLease:
    return KubernetesLease(
        connection,
        namespace=namespace,
        name=STEM,
        labels={},
        timeout=timeout,
        duration=duration,
    )


def lease_of_a_dead_run(
    control_plane: ControlPlane, namespace: str, *, renewed: str, duration: int
) -> None:
    control_plane.request(
        "POST",
        f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": STEM},
            "spec": {
                "holderIdentity": "dead",
                "leaseDurationSeconds": duration,
                "acquireTime": renewed,
                "renewTime": renewed,
            },
        },
    )


@pytest.mark.parametrize("renewed", ["2020-01-01T00:00:00.000000Z", "2090-01-01T00:00:00.000000Z"])
def test_the_lock_of_a_dead_run_is_taken_over_after_its_duration(
    connection: KubernetesConnection, control_plane: ControlPlane, namespace: str, renewed: str
) -> None:
    """By the waiter's own clock, whatever the dead run's clock said."""
    lease_of_a_dead_run(control_plane, namespace, renewed=renewed, duration=2)
    started = time.monotonic()
    with lease(connection, namespace).held("next"):
        assert time.monotonic() - started >= 2


def test_a_lock_that_is_renewed_is_not_taken_over(
    connection: KubernetesConnection, namespace: str
) -> None:
    with (
        lease(connection, namespace, duration=2).held("alive"),
        pytest.raises(Locked, match="locked by alive"),
    ):
        lease(connection, namespace, timeout=4.0).held("next").__enter__()


def test_a_lock_that_is_given_back_is_taken_by_who_waits(
    connection: KubernetesConnection, namespace: str
) -> None:
    waiting = threading.Event()
    taken = threading.Event()

    def wait() -> None:
        waiting.set()
        with lease(connection, namespace, timeout=30.0).held("next"):
            taken.set()

    thread = threading.Thread(target=wait)
    with lease(connection, namespace).held("first"):
        thread.start()
        waiting.wait()
        assert not taken.is_set()
    thread.join()
    assert taken.is_set()


def test_who_has_lost_the_lock_sends_nothing_more(
    connection: KubernetesConnection, control_plane: ControlPlane, namespace: str
) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{STEM}"
    mine = lease(connection, namespace, duration=3)
    state = KubernetesState(
        connection,
        Place("shop", "stage", "default"),
        namespace=namespace,
        before_write=mine.check,
    )
    with mine.held("me"):
        state.write_revision(REVISION)
        control_plane.request(
            "PATCH",
            path,
            {"spec": {"holderIdentity": "somebody else"}},
            content_type="application/merge-patch+json",
        )
        wait_until(lambda: mine.is_taken, "the next renewal", [])
        with pytest.raises(Locked, match=r"lost the lock .*somebody else has it"):
            state.write_revision(REVISION.ended("succeeded"))
    answer = control_plane.request("GET", path)
    assert answer["spec"]["holderIdentity"] == "somebody else", "it is not ours to give back"


def test_who_could_not_renew_the_lock_stops_before_another_may_take_it(
    control_plane: ControlPlane, namespace: str
) -> None:
    now = [100.0]
    with connect(kubeconfig=control_plane.kubeconfig) as connection:
        mine = KubernetesLease(
            connection, namespace=namespace, name=STEM, labels={}, clock=lambda: now[0]
        )
        with mine.held("me"):
            now[0] += 19
            mine.check()
            now[0] += 2
            with pytest.raises(Locked, match="could not be renewed for 21 s"):
                mine.check()


def test_whoever_has_given_the_lock_back_sends_nothing_more(
    connection: KubernetesConnection, namespace: str
) -> None:
    """A thread that was left alone by an interruption may still be about to send."""
    mine = lease(connection, namespace)
    with mine.held("me"):
        mine.check()
    with pytest.raises(Locked, match="was given back"):
        mine.check()
    with mine.held("me again"):
        mine.check()


def test_a_lease_for_longer_than_ours_is_not_waited_for_to_the_end(
    connection: KubernetesConnection, control_plane: ControlPlane, namespace: str
) -> None:
    renewed = "2026-01-01T00:00:00.000000Z"
    lease_of_a_dead_run(control_plane, namespace, renewed=renewed, duration=3600)
    with pytest.raises(Locked, match="locked by dead since 2026"):
        lease(connection, namespace, duration=1).held("next").__enter__()


def test_the_labels_of_the_state_are_those_of_the_format() -> None:
    assert Place("shop", "prod", "eu").labels == {
        "app.kubernetes.io/managed-by": "bundler",
        "app.kubernetes.io/part-of": "shop",
        "release-bundler/environment": "prod",
        "release-bundler/target": "eu",
    }
    assert kubernetes_state.STATE == "release-bundler/state"
