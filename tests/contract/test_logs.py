"""Last lines of a container's log: the fake, and a real API server that asks a node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bundler.adapters.cluster.connection import connect
from bundler.adapters.cluster.kubernetes_cluster import KubernetesCluster
from bundler.model.objects import ObjectRef
from bundler.ports import LogReader
from tests.fakes.cluster import FakeCluster
from tools.control_plane import LOG, ControlPlane
from tools.server_process import wait_until

LINES = {False: [f"now: {line}" for line in LOG], True: [f"before: {line}" for line in LOG]}


@contextmanager
def reader_of(control_plane: ControlPlane, namespace: str, user: str) -> Iterator[LogReader]:
    path = control_plane.kubeconfig if user == "admin" else control_plane.limited_kubeconfig
    with connect(kubeconfig=path) as connection:
        target = KubernetesCluster(
            connection, project="shop", environment="stage", target="default", namespace=namespace
        )
        assert target.watcher is not None
        yield target.watcher


@pytest.fixture
def pod(control_plane: ControlPlane, namespace: str) -> ObjectRef:
    """A pod with a container `main` that crashes."""
    container = {"name": "main", "image": "registry.example.com/crashing:1"}
    path = f"/api/v1/namespaces/{namespace}/pods"
    body = {"metadata": {"name": "cart"}, "spec": {"containers": [container]}}
    control_plane.request("POST", path, body)
    wait_until(
        lambda: control_plane.request("GET", f"{path}/cart")["status"].get("containerStatuses"),
        "the pod",
        [],
    )
    return ObjectRef("", "Pod", namespace, "cart")


@pytest.fixture(params=["fake", "real"])
def reader(
    request: pytest.FixtureRequest, control_plane: ControlPlane, namespace: str
) -> Iterator[LogReader]:
    if request.param == "real":
        with reader_of(control_plane, namespace, "admin") as real:
            yield real
        return
    fake = FakeCluster()
    fake.logs = {("main", previous): lines for previous, lines in LINES.items()}
    yield fake


@pytest.mark.parametrize("previous", [False, True])
def test_the_last_lines_of_a_run_are_read(
    reader: LogReader, pod: ObjectRef, previous: bool
) -> None:
    lines = reader.last_lines(pod, "main", 2, previous=previous)
    assert list(lines) == LINES[previous][-2:]
    assert list(reader.last_lines(pod, "main", 50, previous=previous)) == LINES[previous]


def test_a_container_that_is_not_there_has_no_log(reader: LogReader, pod: ObjectRef) -> None:
    assert list(reader.last_lines(pod, "other", 5, previous=False)) == []


def test_nor_has_a_pod_that_is_gone(control_plane: ControlPlane, namespace: str) -> None:
    with reader_of(control_plane, namespace, "admin") as reader:
        gone = ObjectRef("", "Pod", namespace, "gone")
        assert list(reader.last_lines(gone, "main", 5, previous=False)) == []


def test_who_may_not_read_logs_sees_none(control_plane: ControlPlane, pod: ObjectRef) -> None:
    with reader_of(control_plane, pod.namespace, "limited") as reader:
        assert list(reader.last_lines(pod, "main", 5, previous=False)) == []
