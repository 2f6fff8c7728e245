"""Watches on a real control plane, also through a proxy that breaks them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bundler.adapters.cluster.connection import KubernetesConnection, connect
from bundler.adapters.cluster.kubernetes_cluster import KubernetesCluster
from bundler.errors import PermissionRefused
from bundler.model.objects import ObjectRef
from bundler.ports import ObjectWatcher, Observation
from tests.fakes.tunnel import Tunnel
from tools.control_plane import ControlPlane


@pytest.fixture
def connection(control_plane: ControlPlane) -> Iterator[KubernetesConnection]:
    with connect(kubeconfig=control_plane.kubeconfig) as connection:
        yield connection


def target_in(connection: KubernetesConnection, namespace: str) -> KubernetesCluster:
    return KubernetesCluster(
        connection, project="shop", environment="stage", target="default", namespace=namespace
    )


def watcher_of(cluster: KubernetesCluster) -> ObjectWatcher:
    assert cluster.watcher is not None
    return cluster.watcher


def config_map(namespace: str, name: str, **content: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": content}


def next_of(observations: Iterator[Observation | None], ref: ObjectRef) -> Observation:
    return next(each for each in observations if each and each.ref == ref)


def watch_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("watch ")]


def test_objects_are_observed_as_they_are_and_as_they_change(
    connection: KubernetesConnection, namespace: str
) -> None:
    cluster = target_in(connection, namespace)
    first = cluster.apply(config_map(namespace, "first", colour="red"))
    cluster.apply(config_map(namespace, "not-ours"))
    ref, absent = ObjectRef.of(first), ObjectRef("", "ConfigMap", namespace, "later")
    unknown = ObjectRef("example.com", "Wonder", namespace, "one")
    seen: list[Observation | None] = []

    def observed() -> Iterator[Observation | None]:
        for each in watcher_of(cluster).watch([ref, absent, unknown], 60):
            seen.append(each)
            yield each

    observations = observed()
    assert next_of(observations, unknown).object is None
    now = {ref: next(o for o in observations if o and o.ref == ref), absent: None}
    obj = now[ref]
    assert obj is not None
    assert obj.object is not None
    assert obj.object["kind"] == "ConfigMap"
    assert next_of(observations, absent).object is None

    cluster.apply(config_map(namespace, "later"))
    assert next_of(observations, absent).object is not None
    cluster.apply(config_map(namespace, "first", colour="blue"))
    changed = next_of(observations, ref).object
    assert changed is not None
    assert changed["data"] == {"colour": "blue"}
    cluster.delete(ref, first["metadata"]["uid"])
    assert next_of(observations, ref).object is None
    assert "not-ours" not in {each.ref.name for each in seen if each}
    observations.close()  # type: ignore[attr-defined]


def test_pods_replica_sets_and_warnings_of_the_namespace_are_observed_too(
    connection: KubernetesConnection, namespace: str
) -> None:
    cluster = target_in(connection, namespace)
    container = {"name": "app", "image": "registry.example.com/app:1"}
    pod = {"containers": [container], "nodeSelector": {"nowhere": "true"}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "app"}},
            "template": {"metadata": {"labels": {"app": "app"}}, "spec": pod},
        },
    }
    cluster.apply(deployment)
    kinds: set[str] = set()
    for observation in watcher_of(cluster).watch([ObjectRef.of(deployment)], 60):
        if observation:
            kinds.add(observation.ref.kind)
        if kinds == {"Deployment", "ReplicaSet", "Pod", "Event"}:
            break
    assert kinds == {"Deployment", "ReplicaSet", "Pod", "Event"}


def test_the_caller_can_look_at_its_clock_and_the_watch_ends(
    connection: KubernetesConnection, namespace: str
) -> None:
    cluster = target_in(connection, namespace)
    ref = ObjectRef("", "ConfigMap", namespace, "never")
    assert list(watcher_of(cluster).watch([ref], 2.5)) == [Observation(ref, None), None, None]
    assert watch_threads() == []


def test_no_thread_stays_when_the_caller_stops_early(
    connection: KubernetesConnection, namespace: str
) -> None:
    ref = ObjectRef("", "ConfigMap", namespace, "never")
    observations = watcher_of(target_in(connection, namespace)).watch([ref], 60)
    assert next(observations) == Observation(ref, None)
    assert watch_threads() == ["watch configmaps"]
    while len(watch_threads()) == 1:  # for as long as it may go well
        assert next(observations) is None
    assert len(watch_threads()) == 4
    observations.close()  # type: ignore[attr-defined]
    assert watch_threads() == []


def test_an_interruption_while_watches_start_reaches_the_caller(
    connection: KubernetesConnection, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name.startswith("watch "):
            raise KeyboardInterrupt

    watcher = watcher_of(target_in(connection, namespace))
    ref = ObjectRef("", "ConfigMap", namespace, "any")
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(iter(watcher.watch([ref], 60)))
    assert not watch_threads()


def test_a_watch_goes_on_when_its_connection_breaks(
    control_plane: ControlPlane,
    connection: KubernetesConnection,
    namespace: str,
    tmp_path: Path,
) -> None:
    ref = ObjectRef("", "ConfigMap", namespace, "settings")
    writer = target_in(connection, namespace)
    with Tunnel() as tunnel:
        document = json.loads(control_plane.kubeconfig.read_text())
        document["clusters"][0]["cluster"]["proxy-url"] = tunnel.url
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(document))
        with connect(kubeconfig=path) as tunnelled:
            observations = watcher_of(target_in(tunnelled, namespace)).watch([ref], 60)
            assert next_of(observations, ref).object is None
            for colour in ("red", "blue"):
                tunnel.cut()
                writer.apply(config_map(namespace, "settings", colour=colour))
                changed = next_of(observations, ref).object
                assert changed is not None
                assert changed["data"] == {"colour": colour}
            tunnel.cut()
            live = writer.live({ref: ""})[ref]
            writer.delete(ref, live["metadata"]["uid"])
            assert next_of(observations, ref).object is None
            observations.close()  # type: ignore[attr-defined]


def test_what_we_may_not_watch_is_told(control_plane: ControlPlane, namespace: str) -> None:
    with connect(kubeconfig=control_plane.limited_kubeconfig) as limited:
        ref = ObjectRef("", "ConfigMap", namespace, "settings")
        observations = watcher_of(target_in(limited, namespace)).watch([ref], 60)
        with pytest.raises(PermissionRefused, match="watching ConfigMap"):
            list(observations)
    assert watch_threads() == []


def bind(control_plane: ControlPlane, namespace: str, *verbs: str) -> None:
    """Let the user `limited` do so with the ConfigMaps of a namespace."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reads"}
    user = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "limited"}
    metadata = {"name": "reads"}
    control_plane.request("POST", f"{rbac}/roles", {"metadata": metadata, "rules": [rule]})
    control_plane.request(
        "POST",
        f"{rbac}/rolebindings",
        {"metadata": metadata, "roleRef": reference, "subjects": [user]},
    )


def test_who_may_list_and_not_watch_sees_all_the_same(
    control_plane: ControlPlane, connection: KubernetesConnection, namespace: str
) -> None:
    bind(control_plane, namespace, "get", "list")
    ref = ObjectRef("", "ConfigMap", namespace, "settings")
    writer = target_in(connection, namespace)
    with connect(kubeconfig=control_plane.limited_kubeconfig) as limited:
        observations = watcher_of(target_in(limited, namespace)).watch([ref], 60)
        assert next_of(observations, ref).object is None
        applied = writer.apply(config_map(namespace, "settings", colour="red"))
        while not (seen := next_of(observations, ref).object):
            pass
        assert seen["data"] == {"colour": "red"}
        writer.delete(ref, applied["metadata"]["uid"])
        while next_of(observations, ref).object:
            pass
        observations.close()  # type: ignore[attr-defined]
